//! A directory whose files are read and written as if somebody else were trying to get in between.
//!
//! Everything is opened relative to one handle and beneath it, and no symbolic link is followed
//! (`fs.protected_symlinks` is off on many hosts). A file is replaced as a whole: temporary file,
//! fsync, rename, fsync of the directory. A temporary file is held with `flock` by its writer, so
//! whatever is found unlocked was left by a dead one and is swept, without guessing at process ids.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir as ReadDir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::beneath;
use super::error::{Result, StoreError};
use super::parsed::Parsed;

/// No file of ours is larger; a larger one is not ours.
const MAX_FILE: u64 = 64 << 20;
/// How the names of files that are being written begin.
const TEMP_PREFIX: &str = ".tmp-";

/// How much a write must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The power cut: fsync of file and directory.
    Power,
    /// The death of the process only: for caches, which are discarded when they do not parse.
    Process,
}

/// A directory, by handle.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Where temporary files are made: a directory beneath, on the same file system.
    temp: &'static str,
    shared: bool,
    pub(super) parsed: Parsed,
}

impl Dir {
    /// Opens a directory; `None` when there is nothing.
    ///
    /// # Errors
    /// [`StoreError::Symlink`] or [`StoreError::WrongType`] when it is no directory, or what the
    /// system says.
    pub fn open(path: &Path, temp: &'static str) -> Result<Option<Self>> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(beneath::not_a_directory(path)),
            Err(e) => return Err(StoreError::system("read", path, e)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|e| StoreError::system("read", path, e))?;
        Ok(Some(Self {
            fd,
            path: path.to_owned(),
            temp,
            shared: stat.st_mode & 0o2020 == 0o2020,
            parsed: Parsed::default(),
        }))
    }

    /// Returns where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns owner and permission bits.
    ///
    /// # Errors
    /// What the system says.
    pub fn owner_and_mode(&self) -> Result<(u32, u32)> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|e| self.error("read", "", e))?;
        Ok((stat.st_uid, stat.st_mode & 0o7777))
    }

    /// Returns the mode of files in it: 0660 where a group shares it, else 0600.
    pub fn file_mode(&self) -> Mode {
        Mode::from_raw_mode(if self.shared { 0o660 } else { 0o600 })
    }

    fn dir_mode(&self) -> Mode {
        Mode::from_raw_mode(if self.shared { 0o2770 } else { 0o700 })
    }

    /// Makes sure that the caller may write.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] or [`StoreError::NoPermission`].
    pub fn check_writable(&self) -> Result<()> {
        use rustix::fs::Access;
        rustix::fs::accessat(
            &self.fd,
            ".",
            Access::WRITE_OK | Access::EXEC_OK,
            AtFlags::EACCESS,
        )
        .map_err(|e| self.error("write", "", e))
    }

    pub(super) fn error(
        &self,
        doing: &'static str,
        rel: &str,
        e: impl Into<io::Error>,
    ) -> StoreError {
        StoreError::system(doing, &self.full(rel), e)
    }

    pub(super) fn full(&self, rel: &str) -> PathBuf {
        if rel.is_empty() {
            self.path.clone()
        } else {
            self.path.join(rel)
        }
    }

    /// Opens `rel` beneath the directory, following no symbolic link.
    ///
    /// # Errors
    /// The system's; `LOOP` or `XDEV` for a link or a way out.
    pub fn open_beneath(&self, rel: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let mode = match flags.contains(OFlags::CREATE) {
            true => self.file_mode(),
            false => Mode::empty(),
        };
        beneath::open(&self.fd, rel, flags, mode)
    }

    /// Opens or makes the subdirectory `rel`; an empty `rel` is the directory itself.
    fn subdir(&self, rel: &str) -> Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let here = if rel.is_empty() { "." } else { rel };
        match self.open_beneath(here, flags) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
                return Err(beneath::not_a_directory(&self.full(rel)));
            }
            done => return done.map_err(|e| self.error("open", rel, e)),
        }
        if let Some((parent, _)) = rel.rsplit_once('/') {
            self.subdir(parent)?;
        }
        let io = |e: Errno| self.error("write", rel, e);
        match rustix::fs::mkdirat(&self.fd, rel, self.dir_mode()) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(io(e)),
        }
        let fd = self
            .open_beneath(rel, flags)
            .map_err(|e| self.error("open", rel, e))?;
        self.settle_mode(fd.as_fd(), self.dir_mode()).map_err(io)?;
        rustix::fs::fsync(&self.fd).map_err(io)?;
        Ok(fd)
    }

    /// Gives a file or directory of the caller's the mode that it should have, whatever the umask.
    fn settle_mode(&self, fd: impl AsFd, mode: Mode) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        let ours = stat.st_uid == rustix::process::geteuid().as_raw();
        if ours && stat.st_mode & 0o7777 != mode.as_raw_mode() {
            rustix::fs::fchmod(&fd, mode)?;
        }
        Ok(())
    }

    /// Opens `rel` for reading and writing, making it (and its directory) where it is not.
    pub(super) fn open_or_make(&self, rel: &str, extra: OFlags) -> Result<File> {
        if let Some((parent, _)) = rel.rsplit_once('/') {
            self.subdir(parent)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | extra;
        let fd = self
            .open_beneath(rel, flags)
            .map_err(|e| self.error("open", rel, e))?;
        self.settle_mode(&fd, self.file_mode())
            .map_err(|e| self.error("open", rel, e))?;
        Ok(File::from(fd))
    }

    /// Reads a whole file; `None` when there is none.
    ///
    /// # Errors
    /// What the system says; [`StoreError::WrongType`] for a pipe, device or directory.
    pub fn read(&self, rel: &str) -> Result<Option<Vec<u8>>> {
        let io = |e: io::Error| self.error("read", rel, e);
        let fd = match self.open_beneath(rel, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(e)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|e| io(e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StoreError::WrongType {
                path: self.full(rel),
                expected: "regular file",
            });
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size > MAX_FILE {
            return Err(self.damaged(rel, format!("it has {size} bytes")));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
        File::from(fd)
            .take(MAX_FILE)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        Ok(Some(bytes))
    }

    pub(super) fn damaged(&self, rel: &str, what: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            path: self.full(rel),
            what: what.into(),
        }
    }

    /// Replaces a file by `bytes`, as a whole or not at all.
    ///
    /// # Errors
    /// What the system says; the old file is then still there, or the whole new one where only the
    /// last fsync failed.
    pub fn write(&self, rel: &str, bytes: &[u8], durability: Durability) -> Result<()> {
        let io = |e: Errno| self.error("write", rel, e);
        let (parent, name) = rel.rsplit_once('/').unwrap_or(("", rel));
        let target = self.subdir(parent)?;
        let temp = self.subdir(self.temp)?;
        // Once in a long while a sweeper gets at the file before we have locked it.
        for _ in 0..8 {
            let temp_name = format!("{TEMP_PREFIX}{}", uuid::Uuid::new_v4().simple());
            let written = self
                .write_temp(&temp, &temp_name, bytes, durability)
                .and_then(|_held| rustix::fs::renameat(&temp, &temp_name, &target, name));
            match written {
                Ok(()) => {
                    if durability == Durability::Power {
                        rustix::fs::fsync(&target).map_err(io)?;
                    }
                    return Ok(());
                }
                Err(Errno::NOENT | Errno::WOULDBLOCK) => {}
                Err(e) => {
                    // The write has failed already; a leftover is swept later.
                    let _ = rustix::fs::unlinkat(&temp, &temp_name, AtFlags::empty());
                    return Err(io(e));
                }
            }
        }
        Err(io(Errno::NOENT))
    }

    /// Writes the temporary file and returns it, still locked.
    fn write_temp(
        &self,
        temp: &OwnedFd,
        name: &str,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(temp, name, flags | OFlags::CLOEXEC, self.file_mode())?;
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
        self.settle_mode(&fd, self.file_mode())?;
        let mut file = File::from(fd);
        file.write_all(bytes)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        if durability == Durability::Power {
            rustix::fs::fsync(&file)?;
        }
        Ok(file)
    }

    /// Removes a file; returns whether there was one.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, rel: &str) -> Result<bool> {
        let io = |e: Errno| self.error("remove", rel, e);
        let (parent, name) = rel.rsplit_once('/').unwrap_or((".", rel));
        let fd = match self.open_beneath(parent, OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(fd) => fd,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(self.error("remove", rel, e)),
        };
        match rustix::fs::unlinkat(&fd, name, AtFlags::empty()) {
            Ok(()) => rustix::fs::fsync(&fd).map(|()| true).map_err(io),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(io(e)),
        }
    }

    /// Renames `from` to `to` if it is still the file that the caller has open and locked.
    pub(super) fn rename_if_same(&self, from: &str, to: &str, open: &File) -> Result<()> {
        let io = |e: Errno| self.error("rename", from, e);
        let ours = rustix::fs::fstat(open).map_err(io)?;
        match rustix::fs::statat(&self.fd, from, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino) => {
                rustix::fs::renameat(&self.fd, from, &self.fd, to).map_err(io)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(io(e)),
        }
    }

    /// Returns the names in a subdirectory, sorted, without the hidden ones.
    ///
    /// # Errors
    /// What the system says; a missing directory is empty.
    pub fn list(&self, rel: &str) -> Result<Vec<String>> {
        let mut names = self.all_names(rel)?;
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        Ok(names)
    }

    fn all_names(&self, rel: &str) -> Result<Vec<String>> {
        let fd = match self.open_beneath(rel, OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(fd) => fd,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.error("read", rel, e)),
        };
        let io = |e: Errno| self.error("read", rel, e);
        let mut names = Vec::new();
        for entry in ReadDir::new(fd).map_err(io)? {
            let entry = entry.map_err(io)?;
            if let Ok(name) = entry.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// Removes the temporary files of dead writers; returns how many.
    ///
    /// # Errors
    /// What the system says.
    pub fn sweep(&self) -> Result<usize> {
        let mut swept = 0;
        for name in self.all_names(self.temp)? {
            let rel = format!("{}/{name}", self.temp);
            if !name.starts_with(TEMP_PREFIX) {
                continue;
            }
            // One that has gone meanwhile, or is another user's, is not ours to sweep.
            let Ok(fd) = self.open_beneath(&rel, OFlags::RDONLY | OFlags::NONBLOCK) else {
                continue;
            };
            let dead = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok();
            if dead && self.remove(&rel)? {
                swept += 1;
            }
        }
        Ok(swept)
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
