//! The lock of the host's firewall. There is one firewall for all contexts and their stores, so
//! beside the store's own lock root takes one of the host's.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::Store;
use super::error::{Result, StoreError};
use super::lock::ObjectLock;

/// In a directory that only root may write, so that nobody else can hold it or plant it.
const PATH: &str = "/run/kvmctl-firewall.lock";
const PAUSE: Duration = Duration::from_millis(5);

/// Held while one change of the rules is made.
#[derive(Debug)]
#[must_use = "the lock is let go when this is dropped"]
pub struct FirewallLock<'a> {
    host: Option<File>,
    store: ObjectLock<'a>,
}

impl FirewallLock<'_> {
    /// Returns the lock as a file: whoever has it open holds the lock, also when we are no more.
    ///
    /// # Errors
    /// When no more files can be open.
    pub fn share(&self) -> std::io::Result<File> {
        self.host.as_ref().unwrap_or(self.store.file()).try_clone()
    }
}

impl Store {
    /// Locks the rules of the host's firewall, for as long as one change of them takes.
    ///
    /// # Errors
    /// [`StoreError::Busy`] with the holder after `wait`.
    pub fn lock_firewall(&self, wait: Duration) -> Result<FirewallLock<'_>> {
        let begin = Instant::now();
        let store = ObjectLock::acquire(self.writable()?, "firewall", wait)?;
        let host = match open() {
            Some(file) => Some(locked(file, begin, wait)?),
            None => None,
        };
        Ok(FirewallLock { host, store })
    }
}

/// Opens the host's file; nothing for a caller who is not root, or on a host without /run.
fn open() -> Option<OwnedFd> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(PATH, flags, Mode::RUSR | Mode::WUSR).ok()
}

fn locked(file: OwnedFd, begin: Instant, wait: Duration) -> Result<File> {
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file.into()),
            Err(_) if begin.elapsed() < wait => thread::sleep(PAUSE),
            Err(_) => {
                return Err(StoreError::Busy {
                    what: "the host's firewall".to_owned(),
                    holder: None,
                    waited: begin.elapsed(),
                });
            }
        }
    }
}
