//! Locks that die with their process.
//!
//! `flock` on files of their own, never on the data. The holder writes who it is into the file, for
//! the message of whoever waits in vain. An object's lock file is removed when it is let go, so a
//! waiter that wakes up with a removed file starts again with the new one.
//!
//! Order: objects first, in the order of their keys; the store last and for milliseconds only.

use std::fmt;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::error::{Result, StoreError};
use super::file::Dir;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The first words of its command line, without any value.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

impl Holder {
    fn me() -> Self {
        let args = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
        Self {
            pid: std::process::id(),
            command: public_words(args),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (pid, command) = text.trim_end().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            command: command.to_owned(),
        })
    }
}

/// The program and at most three words: what follows may hold secrets (`-e PASSWORD=…`).
fn public_words(args: impl Iterator<Item = String>) -> String {
    let mut args = args;
    let program = args.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let plain = |word: &String| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
            && !word.starts_with('-')
    };
    let words = args.take_while(plain).take(3);
    let all: Vec<String> = std::iter::once(program).chain(words).collect();
    all.join(" ")
}

/// The lock of the whole store: for reading and writing a few files that belong together.
#[derive(Debug)]
#[must_use = "the lock is let go when this is dropped"]
pub struct StoreLock {
    file: File,
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // So that nobody reads our name after us; the lock itself goes with the file handle.
        let _ = rustix::fs::ftruncate(&self.file, 0);
    }
}

/// The lock of one object, held during long work.
#[derive(Debug)]
#[must_use = "the lock is let go when this is dropped"]
pub struct ObjectLock<'a> {
    dir: &'a Dir,
    rel: String,
    // Closed after `drop` has removed the name.
    file: File,
}

impl Drop for ObjectLock<'_> {
    fn drop(&mut self) {
        // A name that stays behind costs nothing: the next holder takes it over.
        if let Ok(parent) = self
            .dir
            .open_beneath("locks", OFlags::DIRECTORY | OFlags::RDONLY)
        {
            let name = self.rel.trim_start_matches("locks/");
            let _ = rustix::fs::unlinkat(&parent, name, AtFlags::empty());
        }
    }
}

impl StoreLock {
    pub(super) fn acquire(dir: &Dir, wait: Duration) -> Result<Self> {
        let file = acquire(dir, "store.lock", "the store", wait)?;
        Ok(Self { file })
    }
}

impl<'a> ObjectLock<'a> {
    pub(super) fn acquire(dir: &'a Dir, what: &str, wait: Duration) -> Result<Self> {
        let rel = format!("locks/{}", file_name(what));
        let file = acquire(dir, &rel, what, wait)?;
        Ok(Self { dir, rel, file })
    }

    /// Returns the file whose `flock` it is, which holds as long as anybody has it open.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }
}

/// A file name for `instance/web`, or for whatever name a domain of others has.
fn file_name(what: &str) -> String {
    let name = what.replacen('/', ".", 1);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if name.len() <= 100 && name.bytes().all(plain) {
        return name;
    }
    use sha2::Digest;
    let digest = sha2::Sha256::digest(what.as_bytes());
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("x_{hex}")
}

fn acquire(dir: &Dir, rel: &str, what: &str, wait: Duration) -> Result<File> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let file = dir.open_or_make(rel, OFlags::empty())?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if still_named(dir, rel, &file) => return sign(dir, rel, file),
            Ok(()) | Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                let waited = begin.elapsed();
                if waited >= wait {
                    return Err(StoreError::Busy {
                        what: what.to_owned(),
                        holder: holder(dir, rel),
                        waited,
                    });
                }
                thread::sleep(pause.min(wait.saturating_sub(waited)));
                pause = (pause * 2).min(Duration::from_millis(16));
            }
            Err(e) => return Err(dir.error("lock", rel, e)),
        }
    }
}

/// Returns whether an object's lock is held; one that cannot be looked at counts as free.
pub(super) fn is_held(dir: &Dir, what: &str) -> bool {
    let rel = format!("locks/{}", file_name(what));
    let Ok(file) = dir.open_beneath(&rel, OFlags::RDONLY | OFlags::NONBLOCK) else {
        return false;
    };
    // Shared and for a moment: two that look do not see each other, and a taker tries again.
    let tried = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared);
    tried == Err(Errno::WOULDBLOCK)
}

/// Returns whether the name still leads to the file that we have locked.
fn still_named(dir: &Dir, rel: &str, file: &File) -> bool {
    let named = dir.open_beneath(rel, OFlags::PATH);
    let same = |named: &std::os::fd::OwnedFd| -> Result<bool, Errno> {
        let (a, b) = (rustix::fs::fstat(file.as_fd())?, rustix::fs::fstat(named)?);
        Ok(a.st_ino == b.st_ino && a.st_dev == b.st_dev)
    };
    named.is_ok_and(|fd| same(&fd).unwrap_or(false))
}

fn sign(dir: &Dir, rel: &str, mut file: File) -> Result<File> {
    let me = Holder::me();
    let io = |e: std::io::Error| dir.error("lock", rel, e);
    file.set_len(0).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    // A full disk must not keep anybody from deleting: the signature is only for messages.
    let _ = file.write_all(format!("{} {}\n", me.pid, me.command).as_bytes());
    Ok(file)
}

fn holder(dir: &Dir, rel: &str) -> Option<Holder> {
    let bytes = dir.read(rel).ok()??;
    Holder::parse(&String::from_utf8_lossy(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> String {
        public_words(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn a_signature_holds_no_value() {
        assert_eq!(
            words("/usr/bin/kvmctl instances create web -e A=b"),
            "kvmctl instances create web"
        );
        assert_eq!(
            words("kvmctl create secret db PASSWORD=x"),
            "kvmctl create secret db"
        );
        assert_eq!(words("kvmctl label PASSWORD=x"), "kvmctl label");
    }

    #[test]
    fn any_name_becomes_a_file_name() {
        assert_eq!(file_name("instance/web"), "instance.web");
        for odd in [
            "instance/../../etc",
            "instance/a b",
            "instance/ü",
            &"x".repeat(300),
        ] {
            let name = file_name(odd);
            assert!(name.starts_with("x_") && name.len() == 34, "{odd}: {name}");
        }
    }

    #[test]
    fn a_lock_excludes_names_its_holder_and_ends_with_it() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(tmp.path(), "tmp").unwrap().unwrap();
        let held = ObjectLock::acquire(&dir, "instance/web", Duration::ZERO).unwrap();
        let other = ObjectLock::acquire(&dir, "instance/db", Duration::ZERO).unwrap();
        let error =
            ObjectLock::acquire(&dir, "instance/web", Duration::from_millis(30)).unwrap_err();
        let StoreError::Busy { holder, waited, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(holder.as_ref().unwrap().pid, std::process::id());
        assert!(*waited >= Duration::from_millis(30));
        assert!(
            error
                .to_string()
                .starts_with("instance/web is locked by process ")
        );
        assert_eq!(crate::error::Error::from(error).kind().exit_code(), 7);
        drop((held, other));
        assert!(dir.list("locks").unwrap().is_empty(), "no lock file stays");
        let _again = ObjectLock::acquire(&dir, "instance/web", Duration::ZERO).unwrap();
    }

    /// The file is removed and made anew all the time; never may two threads be inside.
    #[test]
    fn removal_and_new_making_let_nobody_in_twice() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let tmp = tempfile::tempdir().unwrap();
        let (inside, turns) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let dir = Dir::open(tmp.path(), "tmp").unwrap().unwrap();
                    for _ in 0..50 {
                        let lock =
                            ObjectLock::acquire(&dir, "instance/web", Duration::from_secs(60));
                        let _lock = lock.unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        turns.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(turns.into_inner(), 600);
    }
}
