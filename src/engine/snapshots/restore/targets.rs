//! What the disks of a snapshot are now, whether there is room beside them, and that they stay as they
//! are.

use std::collections::BTreeMap;

use crate::api::{DiskFormat, Kind, Name, ObjectKey, Quantity};
use crate::engine::disk_files::{self, Folder};
use crate::engine::snapshots::OBJECT_WAIT;
use crate::engine::volumes;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::store::{
    FileRecord, InstanceRecord, ObjectLock, SnapshotDiskRecord, SnapshotRecord, VolumeRecord,
};

/// A disk that is to be what it was.
pub(super) struct Target {
    pub(super) stored: SnapshotDiskRecord,
    pub(super) file: FileRecord,
    pub(super) path: String,
    /// Size that it has now, where it is there.
    pub(super) size: Option<u64>,
    pub(super) volume: Option<Name>,
}

/// Finds what the disks of a snapshot are now.
pub(super) fn targets(
    world: &World,
    key: &ObjectKey,
    record: &SnapshotRecord,
) -> Result<Vec<Target>> {
    let store = world.store_for_reading()?;
    let all: Vec<VolumeRecord> = store.all()?;
    let mut targets = Vec::new();
    for stored in &record.disks {
        let (file, volume) = match stored.uid {
            Some(uid) => match all.iter().find(|v| v.uid == uid) {
                Some(volume) => (volume.file.clone(), Some(volume.name.clone())),
                None => return Err(gone(key, &stored_name(stored))),
            },
            None => {
                let owner = store.get::<InstanceRecord>(&record.source.uid)?;
                let has = owner.is_some_and(|o| o.files.contains(&stored.source));
                if !has {
                    return Err(gone(key, &record.source.to_string()));
                }
                (stored.source.clone(), None)
            }
        };
        let pool = volumes::pool(world, &file.pool)?;
        let size = match pool.find_volume(&file.volume)? {
            Some(found) => Some(match stored.format {
                DiskFormat::Raw => found.length()?,
                DiskFormat::Qcow2 => found.info()?.capacity,
            }),
            None => None,
        };
        targets.push(Target {
            stored: stored.clone(),
            path: format!("{}/{}", pool.path()?, file.volume),
            file,
            size,
            volume,
        });
    }
    Ok(targets)
}

fn stored_name(disk: &SnapshotDiskRecord) -> String {
    let volume = disk.volume.as_ref().map(|v| format!("volume/{v}"));
    volume.unwrap_or_else(|| disk.name.clone())
}

fn gone(key: &ObjectKey, what: &str) -> Error {
    Error::conflict(format!("{what}, which {key} was taken of, is gone")).hint(format!(
        "kvmctl snapshots restore {} --to NEW makes a new volume of it",
        key.name
    ))
}

/// Checks that what is unpacked has room beside what is there.
pub(super) fn room(world: &World, targets: &[Target]) -> Result<()> {
    let mut needed: BTreeMap<&str, u64> = Default::default();
    for target in targets {
        let bytes = target.stored.allocated.map_or(0, Quantity::bytes);
        *needed.entry(target.file.pool.as_str()).or_default() += bytes;
    }
    for (pool, needed) in needed {
        let pool = Folder::open(world, pool)?.pool;
        disk_files::has_room(&pool, needed)
            .map_err(|e| e.caused_by("the disks as they are stay until the new ones are whole"))?;
    }
    Ok(())
}

/// Keeps others from changing the volumes, and from starting guests where none is to be stopped first.
pub(super) fn hold<'w>(
    world: &'w World,
    targets: &[Target],
    at_rest: Option<&SnapshotRecord>,
) -> Result<Vec<ObjectLock<'w>>> {
    let store = world.store()?;
    let mut locks = match at_rest {
        Some(_) => hold_users(world, targets)?,
        None => Vec::new(),
    };
    let mut volumes: Vec<&Name> = targets.iter().filter_map(|t| t.volume.as_ref()).collect();
    volumes.sort();
    for name in volumes {
        locks.push(store.lock_object(Kind::Volume, name.as_str(), OBJECT_WAIT)?);
    }
    Ok(locks)
}

pub(super) fn hold_users<'w>(world: &'w World, targets: &[Target]) -> Result<Vec<ObjectLock<'w>>> {
    let uses = world.disk_uses()?;
    let users = uses
        .iter()
        .filter(|u| targets.iter().any(|t| t.path == u.path));
    let mut names: Vec<&str> = users
        .filter(|u| u.at.managed)
        .map(|u| u.at.domain.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let store = world.store()?;
    let lock = |name: &str| Ok(store.lock_object(Kind::Instance, name, OBJECT_WAIT)?);
    names.into_iter().map(lock).collect()
}
