//! Copies of volumes: by qemu-img where their files are this caller's to read and write, since it can
//! be told to stop; by libvirt's daemon elsewhere, which can neither be told that nor say how far it is.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::fs::{Access, access};

use crate::api::{DiskFormat, Kind};
use crate::engine::disk_files::{self, Told};
use crate::engine::interrupted;
use crate::error::{Error, Result};
use crate::host::{ImagePath, QemuImg};
use crate::libvirt::xml::volume::VolumeXml;
use crate::libvirt::{Pool, Volume};
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::store::VolumeRecord;

/// How often one looks how much there is.
const LOOK: Duration = Duration::from_millis(200);

/// Returns where qemu-img can read a volume and all that stands behind it; `None` where it cannot.
///
/// # Errors
/// When the volume is gone.
pub(super) fn readable(
    world: &World,
    volume: &Volume,
    format: DiskFormat,
) -> Result<Option<ImagePath>> {
    if !world.host()?.is_local() || QemuImg::find().is_err() {
        return Ok(None);
    }
    let path = volume.path()?;
    let can_read = |path: &str| access(Path::new(path), Access::READ_OK).is_ok();
    let behind = match format {
        // It has nothing, whatever a guest wrote in it.
        DiskFormat::Raw => Vec::new(),
        DiskFormat::Qcow2 => crate::observe::chain(world.host()?, &path),
    };
    let all = can_read(&path) && behind.iter().all(|path| can_read(path));
    Ok(ImagePath::new(&path).ok().filter(|_| all))
}

/// Returns what a volume takes on the host, with all that stands behind it, in bytes.
///
/// # Errors
/// When it is gone.
pub(super) fn allocated_with_base(
    world: &World,
    volume: &Volume,
    format: DiskFormat,
) -> Result<u64> {
    let mut total = volume.info()?.allocation;
    if format == DiskFormat::Raw {
        return Ok(total);
    }
    for path in crate::observe::chain(world.host()?, &volume.path()?) {
        let base = world.host()?.volume_by_path(&path);
        total += base.and_then(|b| b.info()).map_or(0, |i| i.allocation);
    }
    Ok(total)
}

/// Lets the daemon copy a volume into a pool, and tells how far it is where the new file can be seen.
/// What it is still writing when a signal comes has to be deleted when it has ended.
///
/// # Errors
/// What libvirt refuses; the caller's signal.
pub(super) fn by_daemon(
    world: &World,
    pool: &Pool,
    new: &VolumeXml,
    original: &Volume,
    told: &Told<'_>,
) -> Result<Volume> {
    told.reporter.phase(told.key, told.label);
    let local = world.host()?.is_local();
    let folder = pool.folder()?.filter(|_| local);
    let seen = folder.map(|folder| PathBuf::from(folder).join(&new.name));
    let total = allocated_with_base(world, original, DiskFormat::Qcow2)?;
    let (telling, ended) = mpsc::channel();
    let (pool, new, original) = (pool.clone(), new.clone(), original.clone());
    // Nobody waits for it when a signal comes: the call cannot be taken back.
    thread::spawn(move || telling.send(pool.copy_volume(&new, &original)));
    loop {
        match ended.recv_timeout(LOOK) {
            Ok(copied) => return Ok(copied?),
            Err(RecvTimeoutError::Timeout) => interrupted()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::failed("the copy ended without a word"));
            }
        }
        if let Some(found) = seen.as_ref().and_then(|file| fs::metadata(file).ok()) {
            let done = (found.blocks() * 512).min(total);
            told.reporter
                .progress(told.key, told.label, done, Some(total));
        }
    }
}

/// Removes the copies that the daemon made for exports which ended before it did.
///
/// # Errors
/// What libvirt or the store refuses.
pub(super) fn sweep(world: &World) -> Result<()> {
    let store = world.store()?;
    let records: Vec<VolumeRecord> = store.all()?;
    let pools: BTreeSet<&str> = records.iter().map(|r| r.file.pool.as_str()).collect();
    for name in pools {
        let pool = match world.host()?.pool(name) {
            Ok(pool) if pool.is_active()? => pool,
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => continue,
        };
        let all: BTreeSet<String> = pool.volumes()?.into_iter().map(|v| v.name).collect();
        for record in records.iter().filter(|r| r.file.pool == name) {
            let copy = record.copy_for_export();
            let working = || store.is_locked(Kind::Volume, record.name.as_str());
            if all.contains(&copy) && !working() {
                let pool = record.file.pool.clone();
                disk_files::delete(world, &VolumeRef { pool, name: copy })?;
            }
        }
    }
    Ok(())
}
