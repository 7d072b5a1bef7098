//! Disks of a guest that runs, as they were at one moment.
//!
//! QEMU copies them itself while the guest goes on writing (libvirt's backup job): the guest stands
//! still for none of it. Its filesystems are frozen only while the job begins.

mod begin;
mod freeze;
mod leftover;
mod wait;

use std::path::Path;

use crate::api::{Consistency, DiskFormat, ObjectKey, Reporter, Timestamp, Uid};
use crate::error::{Error, Result};
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::{Domain, EventWaiter};
use crate::observe::World;

pub use freeze::answer as answer_guard;
pub(super) use leftover::{abandon, forget_checkpoint};

/// One disk to be copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackupDisk<'a> {
    /// Name that libvirt knows it by, as `vda`.
    pub target: &'a str,
    /// Where the copy goes, a qcow2 file that is not there yet.
    pub file: &'a Path,
    /// Format of the disk: changes are noted in qcow2 only.
    pub format: DiskFormat,
    /// Its name in the snapshot.
    pub name: &'a str,
    /// Whether the earlier snapshot has it.
    pub known: bool,
}

/// Disks to be copied as they are at one moment.
#[derive(Debug)]
pub(super) struct Backup<'a> {
    /// The snapshot, for who is told.
    pub key: &'a ObjectKey,
    /// The domain.
    pub domain: Uid,
    /// The disks.
    pub disks: &'a [BackupDisk<'a>],
    /// What state the filesystems must be in.
    pub consistency: Consistency,
    /// Checkpoint to make at that moment.
    pub checkpoint: Option<String>,
    /// Checkpoint since which changes are enough.
    pub since: Option<String>,
}

/// What has been copied.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    /// The moment that it shows.
    pub at: Timestamp,
    /// `crash` or `filesystem`.
    pub consistency: Consistency,
    /// Milliseconds for which the guest's filesystems were frozen.
    pub frozen_ms: Option<u64>,
    /// The checkpoint of that moment, where one could be made.
    pub checkpoint: Option<String>,
    /// Names of the disks of which only changes were copied. Such a file names the live disk as its
    /// base: it must be given another one before it is opened.
    pub incremental: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Copies the disks, and returns when the files are whole.
///
/// # Errors
/// A conflict for another job on the domain, or for filesystems that cannot be frozen where they must
/// be. The guest then runs as before; the files may be there in part.
pub(super) fn back_up(
    world: &World,
    backup: &Backup<'_>,
    reporter: &dyn Reporter,
) -> Result<Taken> {
    let host = world.host()?;
    let domain = host.domain_by_uid(backup.domain)?;
    let live = domain.live()?;
    refuse_busy(&domain, &live, backup)?;
    let events = EventWaiter::new(host, [backup.domain])?;
    let taken = begin::begin(world, &domain, &live, backup, reporter)?;
    let waited = wait::for_end(&domain, &events, backup, reporter);
    if let Err(error) = waited {
        let staged: Vec<String> = backup.disks.iter().filter_map(file_name).collect();
        let checkpoint = taken.checkpoint.as_deref();
        return Err(
            match abandon(world, backup.domain, &staged, checkpoint, false) {
                Ok(()) => error,
                Err(left) => error.caused_by(format!("could not take it back: {left}")),
            },
        );
    }
    Ok(taken)
}

fn file_name(disk: &BackupDisk<'_>) -> Option<String> {
    let name = disk.file.file_name()?.to_str()?;
    Some(name.to_owned())
}

/// What somebody else does with the domain is not disturbed.
fn refuse_busy(domain: &Domain, live: &DomainXml, backup: &Backup<'_>) -> Result<()> {
    let (key, name) = (backup.key, domain.name());
    if !domain.state()?.is_active() {
        return Err(Error::conflict(format!(
            "cannot take {key}: {name:?} has stopped meanwhile"
        )));
    }
    let busy = |what: &str| {
        Error::conflict(format!(
            "cannot take {key}: a {what} of somebody else's runs on {name:?}"
        ))
    };
    if let Some(job) = domain.running_job()? {
        return Err(busy(job.operation.as_str())
            .hint(format!("virsh domjobinfo {name}"))
            .hint("try again when it has ended"));
    }
    for disk in backup.disks {
        let has = live.targets().any(|target| target == disk.target);
        if !has {
            return Err(Error::conflict(format!(
                "cannot take {key}: {name:?} has no disk {} any more",
                disk.target
            )));
        }
        if let Some(job) = domain.block_job(disk.target)? {
            let job = format!("{job} of disk {}", disk.target);
            return Err(busy(&job).hint(format!("virsh blockjob {name} {}", disk.target)));
        }
    }
    Ok(())
}
