//! The end of a backup job, told by libvirt.

use std::time::{Duration, Instant};

use super::Backup;
use crate::api::{ObjectKey, Reporter};
use crate::engine::interrupted;
use crate::error::{Error, Result};
use crate::libvirt::{Domain, Event, EventKind, EventWaiter, JobOperation, Waited};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(500);

/// How long QEMU may take to let go of the files.
const CLOSING: Duration = Duration::from_secs(60);

/// Waits for the end of the job, and tells how far it is. The files are then whole and closed.
///
/// # Errors
/// Why it failed; that the guest stopped meanwhile; an interrupt.
pub(super) fn for_end(
    domain: &Domain,
    events: &EventWaiter,
    backup: &Backup<'_>,
    reporter: &dyn Reporter,
) -> Result<()> {
    let key = backup.key;
    reporter.phase(key, "copying the disks");
    loop {
        interrupted()?;
        match events.next(Instant::now() + TICK) {
            Waited::Event(Event { kind, .. }) => match kind {
                EventKind::BackupEnded { well: true } => return closed(domain, backup),
                EventKind::BackupEnded { well: false } => return Err(failed(domain)),
                EventKind::Stopped(_) => return Err(stopped(domain)),
                _ => {}
            },
            Waited::TimedOut => tell(domain, key, reporter)?,
            Waited::Closed => {
                return Err(Error::failed(
                    "the connection to libvirt broke while the disks were copied",
                ));
            }
        }
    }
}

/// The event is sent before QEMU has closed the files. What libvirt is asked of a disk it answers after.
fn closed(domain: &Domain, backup: &Backup<'_>) -> Result<()> {
    let deadline = Instant::now() + CLOSING;
    for disk in backup.disks {
        while domain.block_job(disk.target)?.is_some() {
            if Instant::now() >= deadline {
                return Err(Error::failed(format!(
                    "QEMU does not let go of the copy of disk {}",
                    disk.target
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn tell(domain: &Domain, key: &ObjectKey, reporter: &dyn Reporter) -> Result<()> {
    match domain.running_job()? {
        Some(job) if job.operation == JobOperation::Backup && job.total > 0 => {
            reporter.progress(key, "copying", job.done, Some(job.total));
        }
        // It has just ended, and its event is on the way; or it is gone with the domain.
        _ if !domain.state()?.is_active() => return Err(stopped(domain)),
        _ => {}
    }
    Ok(())
}

fn failed(domain: &Domain) -> Error {
    let why = domain.last_job_error();
    let error = Error::failed(format!(
        "QEMU could not copy the disks of {:?}",
        domain.name()
    ));
    match why {
        Some(why) if why.contains("No space left") => {
            error.caused_by(why).hint("kvmctl pools list")
        }
        Some(why) => error.caused_by(why),
        None => error.hint("the reason may be in the log of libvirt, and is often a full pool"),
    }
}

fn stopped(domain: &Domain) -> Error {
    Error::conflict(format!(
        "{:?} stopped while its disks were copied",
        domain.name()
    ))
    .hint("take it again: a stopped instance needs no backup job")
}
