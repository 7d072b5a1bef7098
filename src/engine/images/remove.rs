//! Removing: only what nothing stands on.

use crate::api::{Kind, Name};
use crate::error::{Error, Result};
use crate::observe::{StoredImage, World};
use crate::store::{InstanceRecord, STORE_WAIT, VolumeRecord};

/// Names of the images in the pool that no instance stands on.
///
/// # Errors
/// If the store or the pool cannot be read.
pub fn unused(world: &World) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    for image in world.cached_images()? {
        let Some(name) = image.metadata.name else {
            continue;
        };
        if dependents(world, name.as_str())?.is_empty() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Volumes and instances that stand on an image: what the store knows, and what the pool shows.
///
/// # Errors
/// If the store or the pool cannot be read.
pub fn dependents(world: &World, name: &str) -> Result<Vec<String>> {
    let Some(stored) = world.stored_image(name)? else {
        return Ok(Vec::new());
    };
    let key = Name::new(name).map_err(|e| Error::usage(e.to_string()))?;
    let status = world.image(&key)?.status.unwrap_or_default();
    let mut users: Vec<String> = status
        .used_by
        .iter()
        .map(|n| format!("instance/{n}"))
        .collect();
    let pool = world.host()?.pool(&stored.pool)?;
    let Some(base) = pool.find_volume(stored.image.volume().as_str())? else {
        return Ok(users);
    };
    let path = base.path()?;
    let records: Vec<VolumeRecord> = world.store_for_reading()?.all()?;
    for volume in pool.volumes()? {
        if volume.backing_path()?.as_deref() == Some(path.as_str()) {
            let name = volume.name.clone();
            if let Some(record) = records.iter().find(|r| r.file.volume == name) {
                users.push(format!("volume/{}", record.name));
            } else if !users
                .iter()
                .any(|u| name.starts_with(u.trim_start_matches("instance/")))
            {
                users.push(format!("volume {name}"));
            }
        }
    }
    Ok(users)
}

/// Deletes an image.
///
/// # Errors
/// Conflict, naming what stands on it; `NotFound`.
pub fn delete(world: &World, name: &Name) -> Result<()> {
    let _lock = world
        .store()?
        .lock_object(Kind::Image, name.as_str(), STORE_WAIT)?;
    let stored = world.store()?.get::<StoredImage>(name)?.ok_or_else(|| {
        Error::not_found(format!("image {:?} not found", name.as_str())).hint("kvmctl get images")
    })?;
    let volume = stored.image.volume();
    let shared = world
        .store_for_reading()?
        .all::<StoredImage>()?
        .iter()
        .any(|other| other.image.name != *name && other.image.volume() == volume);
    let mut users = dependents(world, name.as_str())?;
    if shared {
        // The content stays under its other name: only who asked for this one needs it.
        let records: Vec<InstanceRecord> = world.store_for_reading()?.all()?;
        let asked = records
            .iter()
            .filter(|r| r.spec.image.as_deref() == Some(name.as_str()));
        let asked: Vec<String> = asked.map(|r| format!("instance/{}", r.name)).collect();
        users.retain(|u| asked.contains(u));
    }
    if !users.is_empty() {
        let error = Error::conflict(format!(
            "image {:?} is used by {}",
            name.as_str(),
            users.join(", ")
        ));
        // What is no instance is a volume that somebody made on it by hand.
        let instances: Vec<&str> = users
            .iter()
            .filter_map(|u| u.strip_prefix("instance/"))
            .collect();
        let volumes: Vec<&str> = users
            .iter()
            .filter_map(|u| u.strip_prefix("volume/"))
            .collect();
        let named = [("instances", instances), ("volumes", volumes)];
        let hints = named.iter().filter(|(_, names)| !names.is_empty());
        return Err(hints.fold(error, |error, (noun, names)| {
            error.hint(format!("kvmctl {noun} delete {}", names.join(" ")))
        }));
    }
    if !shared {
        let pool = world.host()?.pool(&stored.pool)?;
        for name in [volume.sidecar(), volume.to_string()] {
            if let Some(found) = pool.find_volume(&name)? {
                found.delete()?;
            }
        }
    }
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    store.remove::<StoredImage>(name)?;
    Ok(())
}
