//! The records of volumes.

use super::{Rebuilt, trimmed};
use crate::api::{DiskFormat, Name, Quantity, Timestamp, Uid, VolumeSpec};
use crate::error::Result;
use crate::libvirt::{Pool, PoolSort};
use crate::observe::World;
use crate::store::{FileRecord, STORE_WAIT, VolumeRecord};

/// Volumes are known by their sidecars.
pub(super) fn rebuild(world: &World, pool: &Pool, rebuilt: &mut Rebuilt) -> Result<()> {
    let store = world.store()?;
    if pool.sort()? == PoolSort::Logical {
        return rebuild_logical(world, pool, rebuilt);
    }
    // Sidecars need not be known to it.
    pool.refresh()?;
    for sidecar in pool.volumes()? {
        let Some(file) = sidecar.name.strip_suffix(".json") else {
            continue;
        };
        if file.starts_with("kvmctl-image-") || pool.find_volume(file)?.is_none() {
            continue;
        }
        let mut text = Vec::new();
        sidecar.download(&mut text, 0, 1 << 20)?;
        let Ok(record) = serde_json::from_slice::<VolumeRecord>(trimmed(&text)) else {
            continue;
        };
        let here = record.file.volume == file && record.file.pool == pool.name;
        if !here || store.get::<VolumeRecord>(&record.name)?.is_some() {
            continue;
        }
        let _lock = store.lock(STORE_WAIT)?;
        store.put(&record)?;
        rebuilt.volumes.push(record.name.to_string());
    }
    Ok(())
}

/// Logical volumes are known by their names, `NAME.UID.raw`: labels are lost.
fn rebuild_logical(world: &World, pool: &Pool, rebuilt: &mut Rebuilt) -> Result<()> {
    let store = world.store()?;
    for volume in pool.volumes()? {
        let parts: Vec<&str> = volume.name.split('.').collect();
        let [name, uid, "raw"] = parts.as_slice() else {
            continue;
        };
        let (Ok(name), Ok(uid)) = (Name::new(*name), uid.parse::<Uid>()) else {
            continue;
        };
        if store.get::<VolumeRecord>(&name)?.is_some() {
            continue;
        }
        let record = VolumeRecord {
            name,
            uid,
            labels: Default::default(),
            annotations: Default::default(),
            applied: Default::default(),
            generation: 1,
            created: Timestamp::now(),
            file: FileRecord {
                pool: pool.name.clone(),
                volume: volume.name.clone(),
            },
            format: DiskFormat::Raw,
            spec: VolumeSpec {
                size: Quantity::from_bytes(volume.info()?.capacity),
                pool: Some(pool.name.clone()),
                ..VolumeSpec::default()
            },
        };
        let _lock = store.lock(STORE_WAIT)?;
        store.put(&record)?;
        rebuilt.volumes.push(record.name.to_string());
    }
    Ok(())
}
