//! What a new volume is filled with: a file that only we can write to.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

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

    /// Returns how many bytes of it are no holes.
    pub(super) fn dense_bytes(&self) -> u64 {
        // One that cannot be looked at cannot be read either, and that is told then.
        self.file.metadata().map_or(0, |m| m.blocks() * 512)
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
