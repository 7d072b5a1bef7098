//! Checks that what is stored is what was stored.

use std::fs::File;

use super::super::disk_files::{Folder, Told};
use super::{lock, whole};
use crate::api::{DiskFormat, Kind, ObjectKey, Quantity, Reporter, Uid};
use crate::error::{Error, Result};
use crate::host::QemuImg;
use crate::image::{Limits, inspect};
use crate::observe::World;
use crate::store::{SnapshotDiskRecord, SnapshotRecord};

/// What was found to be sound.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The files that were read; none where it lies in the disks of its instance.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Reads a snapshot whole, with what it stands on, and compares it with what was stored; then
/// `qemu-img check` looks at its tables.
///
/// # Errors
/// `NotFound`; what is damaged, and how.
pub fn verify(world: &World, key: &ObjectKey, reporter: &dyn Reporter) -> Result<Verified> {
    let _object = lock(world, key)?;
    let record = whole(world, key)?;
    if record.spec.memory == Some(true) {
        return within_disks(world, key, &record);
    }
    let mut verified = Verified { files: 0, bytes: 0 };
    for link in chain(world, &record)? {
        for disk in &link.disks {
            file(world, key, &link, disk, reporter)?;
            let folder = Folder::open(world, &disk.file.pool)?;
            let path = folder.at(&disk.file.volume)?;
            let report = QemuImg::find()?.check(&path)?;
            if !report.is_sound() {
                let error = damaged(&link, disk).caused_by(format!(
                    "qemu-img check: {} corruptions, {} errors",
                    report.corruptions, report.check_errors
                ));
                return Err(error);
            }
            verified.files += 1;
            verified.bytes += disk.stored_size.map_or(0, Quantity::bytes);
        }
    }
    Ok(verified)
}

/// What lies in the disks of an instance has no sum: it can only be there or not.
fn within_disks(world: &World, key: &ObjectKey, record: &SnapshotRecord) -> Result<Verified> {
    let host = world.host()?;
    let domain = record.domain.map(|uid| host.domain_by_uid(uid));
    let there = match domain {
        Some(Ok(domain)) => domain.snapshots()?.contains(&record.name_in_libvirt()),
        Some(Err(e)) if !e.is_not_found() => return Err(e.into()),
        _ => false,
    };
    match there {
        true => Ok(Verified { files: 0, bytes: 0 }),
        false => Err(Error::failed(format!(
            "{key} is lost: libvirt does not have it in the disks of {} any more",
            record.source
        ))
        .hint(format!("kvmctl delete {key}"))),
    }
}

/// Checks that the files of a snapshot, and of those it stands on, are what was stored.
///
/// # Errors
/// What is damaged, and how.
pub(in crate::engine) fn stored(
    world: &World,
    key: &ObjectKey,
    record: &SnapshotRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    for link in chain(world, record)? {
        for disk in &link.disks {
            file(world, key, &link, disk, reporter)?;
        }
    }
    Ok(())
}

/// As [`stored`], for one disk.
///
/// # Errors
/// What is damaged, and how.
pub(in crate::engine) fn stored_disk(
    world: &World,
    key: &ObjectKey,
    record: &SnapshotRecord,
    name: &str,
    reporter: &dyn Reporter,
) -> Result<()> {
    for link in chain(world, record)? {
        for disk in link.disks.iter().filter(|d| d.name == name) {
            file(world, key, &link, disk, reporter)?;
        }
    }
    Ok(())
}

/// Returns a snapshot and those that it stands on, the nearest first.
fn chain(world: &World, record: &SnapshotRecord) -> Result<Vec<SnapshotRecord>> {
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let mut chain = vec![record.clone()];
    let mut parent: Option<Uid> = record.parent;
    while let Some(uid) = parent {
        let Some(link) = all.iter().find(|r| r.uid == uid) else {
            return Err(Error::failed(format!(
                "snapshot/{} stands on a snapshot that is gone",
                record.name
            )));
        };
        if chain.iter().any(|c| c.uid == link.uid) {
            return Err(Error::failed(
                "the snapshots stand on each other in a circle",
            ));
        }
        chain.push(link.clone());
        parent = link.parent;
    }
    Ok(chain)
}

/// Reads a file before any tool does: first that it is what we write at all, then that it is the very
/// file that was stored.
fn file(
    world: &World,
    key: &ObjectKey,
    record: &SnapshotRecord,
    disk: &SnapshotDiskRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    let folder = Folder::open(world, &disk.file.pool)?;
    let name = &disk.file.volume;
    if !folder.has(name) {
        return Err(damaged(record, disk).caused_by(format!("{name} is not there")));
    }
    if !disk.incremental {
        sniff(&folder, name).map_err(|e| damaged(record, disk).caused_by(e))?;
    }
    let length = folder.length(name)?;
    if let Some(wanted) = disk.stored_size.filter(|size| size.bytes() != length) {
        let why = format!("it has {length} bytes instead of {}", wanted.bytes());
        return Err(damaged(record, disk).caused_by(why));
    }
    let label = format!("verifying {}", disk.name);
    let told = Told {
        key,
        label: &label,
        reporter,
    };
    let sum = folder.sha256(name, &told)?.to_string();
    match &disk.sha256 {
        Some(wanted) if *wanted == sum => Ok(()),
        Some(wanted) => Err(damaged(record, disk)
            .caused_by(format!("its SHA-256 is {sum}, and {wanted} was stored"))),
        None => Err(damaged(record, disk).caused_by("its SHA-256 was never noted")),
    }
}

fn sniff(folder: &Folder, name: &str) -> Result<()> {
    let path = folder.at(name)?;
    let opened = File::open(path.as_path());
    let mut file = opened.map_err(|e| Error::failed(format!("cannot read {path}")).caused_by(e))?;
    let found = inspect(&mut file, &Limits::default()).map_err(Error::from)?;
    match found.format {
        DiskFormat::Qcow2 => Ok(()),
        DiskFormat::Raw => Err(Error::failed("it is not a qcow2 file")),
    }
}

fn damaged(record: &SnapshotRecord, disk: &SnapshotDiskRecord) -> Error {
    let key = ObjectKey::new(Kind::Snapshot, record.name.clone());
    Error::failed(format!(
        "{key} is damaged: disk {} is not what was stored",
        disk.name
    ))
    .hint(format!("kvmctl describe {key}"))
}
