//! Snapshots are known by their sidecars, in whichever pool.

use super::super::rebuild::trimmed;
use crate::error::Result;
use crate::libvirt::Pool;
use crate::observe::World;
use crate::store::{SIDECAR, STORE_WAIT, SnapshotRecord};

/// Brings back the records of a pool that the store has lost, and returns their names.
///
/// # Errors
/// What libvirt or the store refuses.
pub(in crate::engine) fn rebuild(world: &World, pool: &Pool) -> Result<Vec<String>> {
    let store = world.store()?;
    let mut names = Vec::new();
    for sidecar in pool.volumes()? {
        if !sidecar.name.ends_with(SIDECAR) {
            continue;
        }
        let mut text = Vec::new();
        sidecar.download(&mut text, 0, 1 << 20)?;
        let Ok(record) = serde_json::from_slice::<SnapshotRecord>(trimmed(&text)) else {
            continue;
        };
        let here = record
            .sidecar()
            .is_some_and(|f| f.volume == sidecar.name && f.pool == pool.name);
        if !here || store.get::<SnapshotRecord>(&record.name)?.is_some() {
            continue;
        }
        let _lock = store.lock(STORE_WAIT)?;
        store.put(&record)?;
        names.push(record.name.to_string());
    }
    Ok(names)
}
