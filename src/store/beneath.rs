//! Opening a file beneath a directory, following no symbolic link on the way.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::StoreError;

/// Opens `rel` beneath `start`; `LOOP`, `XDEV` or `NOTDIR` for a link or a way out.
pub(super) fn open(start: impl AsFd, rel: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&start, rel, flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Old kernels do not have the call; some sandboxes refuse it.
            Err(Errno::NOSYS | Errno::PERM) => return open_stepwise(start, rel, flags, mode),
            done => return Ok(done?),
        }
    }
}

/// Says what stands where a directory should be.
pub(super) fn not_a_directory(path: &Path) -> StoreError {
    match rustix::fs::lstat(path) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
            StoreError::Symlink(path.to_owned())
        }
        _ => StoreError::WrongType {
            path: path.to_owned(),
            expected: "directory",
        },
    }
}

/// What `openat2` does, one component at a time.
pub(super) fn open_stepwise(
    start: impl AsFd,
    rel: &str,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let (parents, last) = rel.rsplit_once('/').unwrap_or(("", rel));
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = rustix::fs::openat(start, ".", step, Mode::empty())?;
    if rel.starts_with('/') || rel.split('/').any(|part| part == "..") {
        return Err(Errno::XDEV.into());
    }
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        here = rustix::fs::openat(&here, part, step, Mode::empty()).map_err(|e| match e {
            // With NOFOLLOW and DIRECTORY a link to a directory is "not a directory".
            Errno::NOTDIR => Errno::LOOP,
            other => other,
        })?;
    }
    let opened = rustix::fs::openat(&here, last, flags | OFlags::NOFOLLOW, mode);
    match opened {
        Err(Errno::NOTDIR) if flags.contains(OFlags::DIRECTORY) => Err(Errno::LOOP.into()),
        done => Ok(done?),
    }
}
