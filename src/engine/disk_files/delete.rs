//! Deleting files of pools, wherever they are.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::cannot;
use crate::engine::interrupted;
use crate::error::{Error, Kind, Result};
use crate::libvirt::Volume;
use crate::observe::World;
use crate::plan::instance::VolumeRef;

/// Returns whether a file of a pool may be there: `false` only where that can be seen.
///
/// # Errors
/// When the connection is broken.
pub(in crate::engine) fn is_there(world: &World, file: &VolumeRef) -> Result<bool> {
    let host = world.host()?;
    let pool = match host.pool(&file.pool) {
        Err(e) if e.is_not_found() => return Ok(false),
        other => other?,
    };
    let Some(folder) = pool.folder()?.filter(|_| host.is_local()) else {
        return Ok(true);
    };
    let seen = fs::symlink_metadata(Path::new(&folder).join(&file.name));
    Ok(!seen.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound))
}

/// Returns the files of a pool with certain names, whether libvirt knows them or not where the caller
/// sees them.
///
/// # Errors
/// What libvirt refuses.
pub(in crate::engine) fn named(
    world: &World,
    pool: &str,
    matches: &dyn Fn(&str) -> bool,
) -> Result<Vec<VolumeRef>> {
    let host = world.host()?;
    let found = match host.pool(pool) {
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        other => other?,
    };
    let folder = found.folder()?.filter(|_| host.is_local());
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
    let names: Vec<String> = match entries {
        Some(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect(),
        None => found.volumes()?.into_iter().map(|v| v.name).collect(),
    };
    let named = names.into_iter().filter(|name| matches(name));
    Ok(named
        .map(|name| VolumeRef {
            pool: pool.to_owned(),
            name,
        })
        .collect())
}

/// Deletes a file of a pool, wherever it is, whether libvirt knows it or not.
///
/// # Errors
/// What libvirt or the system refuses.
pub(in crate::engine) fn delete(world: &World, file: &VolumeRef) -> Result<()> {
    let host = world.host()?;
    let pool = match host.pool(&file.pool) {
        Ok(pool) => pool,
        // With the pool everything in it is gone.
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let known = || -> Result<bool> {
        match pool.find_volume(&file.name)? {
            Some(found) => delete_known(&found).map(|()| true),
            None => Ok(false),
        }
    };
    let deleted = known()?;
    if let Some(folder) = pool.folder()?.filter(|_| host.is_local()) {
        let path = Path::new(&folder).join(&file.name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(cannot("remove", &path, e));
            }
            _ => return Ok(()),
        }
    }
    if !deleted {
        pool.refresh()?;
        known()?;
    }
    Ok(())
}

/// How long to wait for the daemon to end what it writes.
const DAEMON_WAIT: Duration = Duration::from_secs(120);

/// The daemon deletes nothing that it is still writing, and cannot be told to stop: it comes to an end.
fn delete_known(volume: &Volume) -> Result<()> {
    let deadline = Instant::now() + DAEMON_WAIT;
    loop {
        match volume.delete() {
            Err(e) if e.message().contains("still being allocated") => {
                let writing = format!("libvirt is still writing {}", volume.name);
                interrupted().map_err(|signal| signal.caused_by(&writing))?;
                if Instant::now() >= deadline {
                    return Err(Error::new(Kind::Busy, writing).hint("kvmctl reconcile"));
                }
                thread::sleep(Duration::from_millis(100));
            }
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => return Ok(()),
        }
    }
}
