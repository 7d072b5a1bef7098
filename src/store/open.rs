//! Opening a store: whose it is, who may write to it, which schema it has.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::paths::SYSTEM_STORE;

use super::error::{Result, StoreError};
use super::file::Dir;
use super::shared::{group_id, make_shared};
use super::version;
use super::{Access, Store};

/// Where temporary files are made, beneath the store.
pub(super) const TEMP: &str = "tmp";

/// Bits that nobody but owner and sharing group may have.
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITE: u32 = 0o020;
const SETGID: u32 = 0o2000;

impl Store {
    /// Opens the store at `path`.
    ///
    /// For writing it is made where it does not exist, by root or in the caller's own state
    /// directory; what dead writers left is swept, and an older schema brought up to date.
    ///
    /// # Errors
    /// Any [`StoreError`]; nothing was changed then.
    pub fn open(path: impl Into<PathBuf>, access: Access) -> Result<Self> {
        let path = path.into();
        let dir = match (Dir::open(&path, TEMP)?, access) {
            (None, Access::Read) => None,
            (None, Access::Write) => {
                make(&path)?;
                Dir::open(&path, TEMP)?
            }
            (dir, _) => dir,
        };
        if let Some(dir) = &dir {
            check_owner(dir)?;
            if access == Access::Write {
                dir.check_writable()?;
            }
            version::check(dir, access)?;
            if access == Access::Write {
                dir.sweep()?;
            }
        }
        Ok(Self { path, access, dir })
    }
}

/// Refuses a directory that another user owns or may change.
fn check_owner(dir: &Dir) -> Result<()> {
    let (owner, mode) = dir.owner_and_mode()?;
    let caller = rustix::process::geteuid().as_raw();
    let path = dir.path().to_owned();
    if owner != 0 && owner != caller {
        return Err(StoreError::Foreign {
            path,
            owner,
            caller,
        });
    }
    let shared_by_root = owner == 0 && mode & SETGID != 0;
    if mode & OTHERS_WRITE != 0 || (mode & GROUP_WRITE != 0 && !shared_by_root) {
        return Err(StoreError::Writable { path, mode });
    }
    Ok(())
}

/// Makes the directory: shared with the libvirt group where root makes the system's, else private.
fn make(path: &Path) -> Result<()> {
    if path == Path::new(SYSTEM_STORE) {
        if !rustix::process::geteuid().is_root() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        return make_shared(path, group_id("libvirt"));
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| StoreError::system("make", path, e))
}
