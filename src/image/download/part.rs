//! The file that is coming: its bytes so far, their digest, and what they are a part of.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::lock::Lock;
use super::transfer::{Failure, Head, Range};
use super::{Downloaded, Progress, Watch};
use crate::image::digest::{Checksum, Hasher};
use crate::image::error::DownloadError;

/// What `NAME.part.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    url: String,
    validator: String,
    total: Option<u64>,
}

/// A file that is coming. While it lives, no other process writes it.
pub(super) struct Part {
    dest: PathBuf,
    path: PathBuf,
    sidecar: PathBuf,
    _lock: Lock,
    file: File,
    hasher: Hasher,
    expected: Option<Checksum>,
    received: u64,
    resumed: u64,
    validator: Option<String>,
    total: Option<u64>,
}

impl Part {
    /// Opens the part of `dest`, keeping what an earlier run brought from the same state of `url`.
    pub(super) fn open(
        url: &str,
        dest: &Path,
        expected: Option<&Checksum>,
        watch: &Watch<'_>,
    ) -> Result<Self, DownloadError> {
        let beside = |suffix: &str| {
            let mut name = dest.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let lock = Lock::take(beside(".lock"), url, watch)?;
        let path = beside(".part");
        let file = open_private(&path).map_err(|e| local(&path, e))?;
        let mut part = Self {
            dest: dest.to_owned(),
            sidecar: beside(".part.json"),
            _lock: lock,
            file,
            hasher: Hasher::new(expected),
            expected: expected.cloned(),
            received: 0,
            resumed: 0,
            validator: None,
            total: None,
            path,
        };
        match part.origin(url) {
            Some(origin) => part.take_over(origin)?,
            None => part.restart(None, None)?,
        }
        Ok(part)
    }

    fn origin(&self, url: &str) -> Option<Origin> {
        let json = fs::read(&self.sidecar).ok()?;
        let origin: Origin = serde_json::from_slice(&json).ok()?;
        (origin.url == url).then_some(origin)
    }

    /// Hashes what is there already.
    fn take_over(&mut self, origin: Origin) -> Result<(), DownloadError> {
        let mut piece = vec![0; 1 << 20];
        loop {
            let count = self
                .file
                .read(&mut piece)
                .map_err(|e| local(&self.path, e))?;
            if count == 0 {
                break;
            }
            self.hasher.update(&piece[..count]);
            self.received += count as u64;
        }
        self.resumed = self.received;
        self.validator = Some(origin.validator);
        self.total = origin.total;
        Ok(())
    }

    /// Begins again with an empty file.
    pub(super) fn restart(
        &mut self,
        validator: Option<String>,
        total: Option<u64>,
    ) -> Result<(), DownloadError> {
        let emptied = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|e| local(&self.path, e))?;
        self.hasher = Hasher::new(self.expected.as_ref());
        self.received = 0;
        self.resumed = 0;
        self.validator = validator;
        self.total = total;
        Ok(())
    }

    /// Returns the file if another process brought it while we waited for the lock.
    pub(super) fn finished_by_another(&mut self) -> Result<Option<Downloaded>, DownloadError> {
        let Some(expected) = self.expected.clone() else {
            return Ok(None);
        };
        let Ok(mut there) = File::open(&self.dest) else {
            return Ok(None);
        };
        let mut hasher = Hasher::new(Some(&expected));
        let mut piece = vec![0; 1 << 20];
        let mut size = 0;
        loop {
            let count = there.read(&mut piece).map_err(|e| local(&self.dest, e))?;
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
            size += count as u64;
        }
        let (sha256, actual) = hasher.finish();
        if actual != expected {
            return Ok(None);
        }
        self.remove();
        Ok(Some(Downloaded {
            path: self.dest.clone(),
            sha256,
            size,
            verified: Some(expected),
        }))
    }

    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    pub(super) const fn was_resumed(&self) -> bool {
        self.resumed > 0
    }

    pub(super) const fn progress(&self) -> Progress {
        Progress {
            received: self.received,
            total: self.total,
            resumed: self.resumed,
        }
    }

    /// Returns what to ask for; the whole when the rest could not be told from another state.
    pub(super) fn range(&self) -> Option<Range> {
        let validator = self.validator.clone()?;
        (self.received > 0).then_some(Range {
            from: self.received,
            validator,
        })
    }

    /// Takes the server's answer: `None` means that all is here already.
    pub(super) fn begin(
        &mut self,
        url: &str,
        head: &Head,
        limit: u64,
    ) -> Result<Option<()>, Failure> {
        if head.status == 416 && head.total == Some(self.received) {
            self.total = head.total;
            return Ok(None);
        }
        let goes_on = head.status == 206
            && head.from == Some(self.received)
            && (self.total.is_none() || head.total == self.total);
        if !goes_on {
            self.restart(head.validator.clone(), head.total)?;
            if head.status != 200 {
                // An answer that fits nothing; the next attempt asks for the whole.
                let url = url.to_owned();
                let source = "the server's range does not fit".into();
                return Err(Failure::Passing(DownloadError::Network { url, source }));
            }
        }
        if self.total.is_some_and(|total| total > limit) {
            let url = url.to_owned();
            return Err(Failure::Final(DownloadError::TooLarge { url, limit }));
        }
        self.check_room()?;
        self.write_origin(url)?;
        Ok(Some(()))
    }

    /// Refuses before the disk is full, where the size is known.
    fn check_room(&self) -> Result<(), DownloadError> {
        let needed = self.total.unwrap_or(0).saturating_sub(self.received);
        let room = rustix::fs::fstatvfs(&self.file)
            .map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        if needed > room {
            return Err(self.no_space(needed));
        }
        Ok(())
    }

    fn no_space(&self, needed: u64) -> DownloadError {
        let dir = self.dest.parent().unwrap_or(&self.dest).to_owned();
        DownloadError::NoSpace { dir, needed }
    }

    fn write_origin(&self, url: &str) -> Result<(), DownloadError> {
        let Some(validator) = self.validator.clone() else {
            let _ = fs::remove_file(&self.sidecar);
            return Ok(());
        };
        let origin = Origin {
            url: url.to_owned(),
            validator,
            total: self.total,
        };
        let json = serde_json::to_vec(&origin).unwrap_or_default();
        let written = open_private(&self.sidecar).and_then(|mut file| {
            file.set_len(0)?;
            file.write_all(&json)
        });
        written.map_err(|e| local(&self.sidecar, e))
    }

    pub(super) fn append(&mut self, url: &str, bytes: &[u8], limit: u64) -> Result<(), Failure> {
        let after = self.received + bytes.len() as u64;
        if after > limit || self.total.is_some_and(|total| after > total) {
            let url = url.to_owned();
            let limit = self.total.unwrap_or(limit);
            return Err(Failure::Final(DownloadError::TooLarge { url, limit }));
        }
        self.file
            .write_all(bytes)
            .map_err(|error| match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    let needed = self.total.unwrap_or(after).saturating_sub(self.received);
                    self.no_space(needed)
                }
                _ => local(&self.path, error),
            })?;
        self.hasher.update(bytes);
        self.received = after;
        Ok(())
    }

    pub(super) fn check_whole(&self, url: &str) -> Result<(), Failure> {
        match self.total {
            Some(expected) if self.received < expected => {
                let (url, got) = (url.to_owned(), self.received);
                let cut = DownloadError::CutShort { url, got, expected };
                Err(Failure::Passing(cut))
            }
            _ => Ok(()),
        }
    }

    /// Removes what could only do harm after this error; the rest stays for the next run.
    pub(super) fn give_up(&self, error: DownloadError) -> DownloadError {
        use DownloadError::{NoSpace, NotFound, TooLarge, WrongSum};
        let harmful = matches!(error, NoSpace { .. } | TooLarge { .. } | WrongSum { .. });
        let nothing = self.received == 0 && matches!(error, NotFound { .. });
        if harmful || nothing || self.received == 0 {
            self.remove();
        }
        error
    }

    fn remove(&self) {
        let _ = fs::remove_file(&self.sidecar);
        let _ = fs::remove_file(&self.path);
    }

    pub(super) fn sum_is_right(&self) -> bool {
        let (_, actual) = self.hasher.clone().finish();
        self.expected.as_ref().is_none_or(|e| *e == actual)
    }

    /// Verifies the whole and gives it its name.
    pub(super) fn finish(self, url: &str) -> Result<Downloaded, DownloadError> {
        let (sha256, actual) = self.hasher.clone().finish();
        if let Some(expected) = self.expected.clone()
            && expected != actual
        {
            let url = url.to_owned();
            return Err(self.give_up(DownloadError::WrongSum {
                url,
                expected,
                actual,
            }));
        }
        self.publish().map_err(|e| local(&self.dest, e))?;
        Ok(Downloaded {
            path: self.dest.clone(),
            sha256,
            size: self.received,
            verified: self.expected.clone(),
        })
    }

    fn publish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.dest)?;
        let _ = fs::remove_file(&self.sidecar);
        match self.dest.parent() {
            Some(dir) if dir != Path::new("") => File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    }
}

pub(super) fn open_private(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits();
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.cast_signed())
        .open(path)
}

pub(super) fn local(path: &Path, source: io::Error) -> DownloadError {
    let path = path.to_owned();
    DownloadError::Local { path, source }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn part(dir: &Path) -> Part {
        let stop = AtomicBool::new(false);
        let watch = Watch {
            stop: &stop,
            progress: &mut |_| {},
        };
        Part::open("https://a.org/f", &dir.join("f"), None, &watch).unwrap()
    }

    fn head(total: Option<u64>) -> Head {
        Head {
            status: 200,
            total,
            from: Some(0),
            validator: Some("\"one\"".into()),
        }
    }

    fn assert_no_space(failure: Result<(), Failure>, part: Part, dir: &Path) {
        let Err(Failure::Final(error)) = failure else {
            panic!("{failure:?}")
        };
        assert!(matches!(error, DownloadError::NoSpace { .. }), "{error}");
        part.give_up(error);
        drop(part);
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_fit_is_refused_before_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = part(dir.path());
        let begun = part.begin("https://a.org/f", &head(Some(1 << 62)), u64::MAX);
        assert_no_space(begun.map(|_| ()), part, dir.path());
    }

    #[test]
    fn a_disk_that_fills_up_is_said_and_not_kept_full() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = part(dir.path());
        part.begin("https://a.org/f", &head(None), u64::MAX)
            .unwrap();
        part.append("https://a.org/f", b"some", u64::MAX).unwrap();
        part.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let full = part.append("https://a.org/f", b"more", u64::MAX);
        assert_no_space(full, part, dir.path());
    }
}
