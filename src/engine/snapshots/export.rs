//! Exporting: a stored disk becomes a file that stands alone.

use super::super::volumes::{ExportRequest, export_file, refuse_present};
use super::{lock, verify, whole};
use crate::api::{DiskFormat, ObjectKey, Reporter, VolumeSpec};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::store::{SnapshotDiskRecord, SnapshotRecord, VolumeRecord};

/// Writes a disk of a snapshot to a file: whole, or not at all.
///
/// # Errors
/// Usage for a file that is there, or where it is not said which disk; a snapshot that is not what was
/// stored.
pub fn export(
    world: &World,
    key: &ObjectKey,
    disk: Option<&str>,
    request: &ExportRequest,
    reporter: &dyn Reporter,
) -> Result<()> {
    let _object = lock(world, key)?;
    let record = whole(world, key)?;
    super::refuse_memory(key, &record)?;
    let disk = choose(key, &record, disk)?;
    // Before all of it is read.
    refuse_present(&request.file, request.overwrite)?;
    verify::stored_disk(world, key, &record, &disk.name, reporter)?;
    let stored = VolumeRecord {
        name: record.name.clone(),
        uid: record.uid,
        labels: Default::default(),
        annotations: Default::default(),
        applied: Default::default(),
        generation: 1,
        created: record.created,
        file: disk.file.clone(),
        format: DiskFormat::Qcow2,
        spec: VolumeSpec::default(),
    };
    export_file(world, key, &stored, request, reporter)
}

/// Finds the disk that is meant: by its name, or by its volume's, or the only one.
///
/// # Errors
/// Usage, with the disks there are.
pub(in crate::engine) fn choose<'r>(
    key: &ObjectKey,
    record: &'r SnapshotRecord,
    wanted: Option<&str>,
) -> Result<&'r SnapshotDiskRecord> {
    let names = || {
        let short = |d: &SnapshotDiskRecord| {
            d.volume
                .as_ref()
                .map_or_else(|| d.name.clone(), ToString::to_string)
        };
        record
            .disks
            .iter()
            .map(short)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (wanted, record.disks.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(
            Error::usage(format!("{key} has several disks: {}", names()))
                .hint("--disk says which one"),
        ),
        (Some(wanted), disks) => {
            let by_volume =
                |d: &&SnapshotDiskRecord| d.volume.as_ref().is_some_and(|v| v.as_str() == wanted);
            let found = disks.iter().find(|d| d.name == wanted);
            found
                .or_else(|| disks.iter().find(by_volume))
                .ok_or_else(|| {
                    Error::usage(format!("{key} has no disk {wanted:?}"))
                        .caused_by(format!("it has: {}", names()))
                })
        }
    }
}
