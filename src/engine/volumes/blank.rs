//! What a volume is made as before it is filled, and whether there is room for what will fill it.

use crate::api::Preallocation;
use crate::engine::disk_files;
use crate::error::Result;
use crate::libvirt::xml::volume::VolumeXml;
use crate::libvirt::{Filling, Pool};
use crate::plan::volume::NewVolume;

/// Returns what a volume is made as before it is filled. One that takes all its room at once is as
/// large as it will be.
pub(super) fn blank(new: &NewVolume, format: &str, bytes: u64) -> VolumeXml {
    match new.preallocation {
        Preallocation::Falloc => {
            let whole = new.capacity.map_or(bytes, |c| c.bytes().max(bytes));
            VolumeXml::empty(&new.volume.name, format, whole).with_allocation(whole)
        }
        _ => VolumeXml::empty(&new.volume.name, format, bytes),
    }
}

/// Only a new file reads as zeroes where nothing was written; other room holds what was there before.
pub(super) const fn filling(new: &NewVolume) -> Filling {
    match new.preallocation {
        Preallocation::Falloc => Filling::Dense,
        _ => Filling::Sparse,
    }
}

/// An upload that fills the pool would end the daemon.
pub(super) fn has_room(pool: &Pool, bytes: u64) -> Result<()> {
    pool.refresh()?;
    let available = pool.info()?.available;
    if bytes <= available {
        return Ok(());
    }
    let mib = |n: u64| n.div_ceil(1 << 20);
    Err(disk_files::full(&pool.name).caused_by(format!(
        "{} MiB are needed, and {} MiB are free",
        mib(bytes),
        available >> 20
    )))
}
