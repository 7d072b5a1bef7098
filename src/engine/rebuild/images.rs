//! The records of images.

use super::{Rebuilt, trimmed};
use crate::api::Uid;
use crate::error::Result;
use crate::image::ImageRecord;
use crate::observe::{StoredImage, World};
use crate::store::STORE_WAIT;

/// Images are known by their sidecars in the pool.
pub(super) fn rebuild(world: &World, rebuilt: &mut Rebuilt) -> Result<()> {
    let host = world.host()?;
    let pool = match host.pool(&world.settings().pool) {
        Ok(pool) => pool,
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    pool.refresh()?;
    let store = world.store()?;
    for volume in pool.volumes()? {
        if !is_sidecar(&volume.name) {
            continue;
        }
        let mut text = Vec::new();
        volume.download(&mut text, 0, 1 << 20)?;
        let Ok(image) = serde_json::from_slice::<ImageRecord>(trimmed(&text)) else {
            continue;
        };
        if store.get::<StoredImage>(&image.name)?.is_some() {
            continue;
        }
        rebuilt.images.push(image.name.to_string());
        let lock = store.lock(STORE_WAIT)?;
        store.put(&StoredImage {
            uid: Uid::random(),
            pool: pool.name.clone(),
            image,
            labels: Default::default(),
            annotations: Default::default(),
            applied: Default::default(),
        })?;
        drop(lock);
    }
    Ok(())
}

/// Tells whether the pool has images although the store knows of none: somebody has lost the store.
pub(in crate::engine) fn images_forgotten(world: &World) -> bool {
    let known = world
        .store_for_reading()
        .and_then(|store| Ok(store.keys::<StoredImage>()?));
    let volumes = || -> Result<bool> {
        let pool = world.host()?.pool(&world.settings().pool)?;
        Ok(pool.volumes()?.iter().any(|v| is_sidecar(&v.name)))
    };
    // It is only a hint: what cannot be looked at says nothing.
    known.is_ok_and(|known| known.is_empty()) && volumes().unwrap_or(false)
}

fn is_sidecar(volume: &str) -> bool {
    volume.starts_with("kvmctl-image-") && volume.ends_with(".json")
}
