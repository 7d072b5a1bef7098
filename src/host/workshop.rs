//! Directories for work that needs files with names: private, and gone with whoever made them.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// A directory of a random name, 0700, that is removed with all that is in it; held locked, so that
/// the one of a killed process can be told and removed.
#[derive(Debug)]
pub struct Workshop {
    dir: tempfile::TempDir,
    _lock: File,
}

impl Workshop {
    /// Makes one in `parent`, its name beginning with `prefix`.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(parent: &Path, prefix: &str) -> std::io::Result<Self> {
        loop {
            let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
            // A sweeper may take it for abandoned before we have locked it.
            if let Ok(lock) = File::open(dir.path()) {
                flock(&lock, FlockOperation::LockShared)?;
                if dir.path().exists() {
                    return Ok(Self { dir, _lock: lock });
                }
            }
        }
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Removes those of killed processes of this user. What cannot be removed stays.
    pub fn sweep(parent: &Path, prefix: &str) {
        let Ok(entries) = std::fs::read_dir(parent) else {
            return;
        };
        for entry in entries.flatten() {
            let ours = entry.file_name().to_string_lossy().starts_with(prefix);
            if ours && is_own_directory(&entry.path()) {
                remove_abandoned(&entry.path());
            }
        }
    }
}

/// A link is not followed, and other users' directories are theirs.
fn is_own_directory(path: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == me)
}

fn remove_abandoned(path: &Path) {
    let Ok(dir) = File::open(path) else {
        return;
    };
    // Held until it is gone.
    if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = std::fs::remove_dir_all(path);
    }
}
