//! One writer for a file that is coming.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::Watch;
use super::part::{local, open_private};
use crate::image::error::DownloadError;

/// A lock file that lives as long as the download and dies with the process.
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    pub(super) fn take(path: PathBuf, url: &str, watch: &Watch<'_>) -> Result<Self, DownloadError> {
        loop {
            let file = open_private(&path).map_err(|e| local(&path, e))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // The holder before us may have removed the very file that we waited for.
                Ok(()) if same_file(&file, &path) => return Ok(Self { path, _file: file }),
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => watch.pause(Duration::from_millis(200)),
                Err(error) => return Err(local(&path, error.into())),
            }
            if watch.stopped() {
                let url = url.to_owned();
                return Err(DownloadError::Interrupted { url });
            }
        }
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
