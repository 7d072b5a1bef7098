//! What a new volume is filled with: a file that only we can write to.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use crate::host::Workshop;
use crate::image::Staged;

/// A file, and the directory that goes with it.
pub(super) struct Content {
    file: File,
    _workshop: Option<Workshop>,
}

impl Content {
    /// Takes a file of a directory.
    pub(super) const fn new(file: File, workshop: Workshop) -> Self {
        let _workshop = Some(workshop);
        Self { file, _workshop }
    }

    /// Returns it from its beginning.
    ///
    /// # Errors
    /// When it cannot be rewound.
    pub(super) fn reader(&mut self) -> io::Result<&mut File> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(&mut self.file)
    }
}

impl From<Staged> for Content {
    fn from(staged: Staged) -> Self {
        Self {
            file: staged.into_file(),
            _workshop: None,
        }
    }
}
