//! A copy that libvirt's daemon makes: one call, which says nothing until its end.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::engine::disk_files::Told;
use crate::error::Result;
use crate::libvirt::xml::volume::VolumeXml;
use crate::libvirt::{Pool, PoolSort, Volume};
use crate::observe::World;

/// How often one looks how much there is.
const LOOK: Duration = Duration::from_millis(200);

/// Lets the daemon copy a volume into a pool, and tells how far it is where the new file can be seen.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn daemon_copy(
    world: &World,
    pool: &Pool,
    new: &VolumeXml,
    original: &Volume,
    told: &Told<'_>,
) -> Result<Volume> {
    told.reporter.phase(told.key, told.label);
    let seen = match world.host()?.is_local() && pool.sort()? == PoolSort::Files {
        true => Some(PathBuf::from(pool.path()?).join(&new.name)),
        false => None,
    };
    let total = allocated_with_base(world, original)?;
    thread::scope(|scope| {
        let (copying, ended) = mpsc::channel::<()>();
        if let Some(file) = &seen {
            scope.spawn(move || watch(file, total, &ended, told));
        }
        let copied = pool.copy_volume(new, original);
        drop(copying);
        Ok(copied?)
    })
}

fn watch(file: &Path, total: u64, ended: &mpsc::Receiver<()>, told: &Told<'_>) {
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if let Ok(found) = fs::metadata(file) {
            let done = (found.blocks() * 512).min(total);
            told.reporter
                .progress(told.key, told.label, done, Some(total));
        }
    }
}

fn allocated_with_base(world: &World, volume: &Volume) -> Result<u64> {
    let mut total = volume.info()?.allocation;
    for path in crate::observe::chain(world.host()?, &volume.path()?) {
        let base = world.host()?.volume_by_path(&path);
        total += base.and_then(|b| b.info()).map_or(0, |i| i.allocation);
    }
    Ok(total)
}
