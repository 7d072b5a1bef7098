//! What a volume is made as before it is filled.

use crate::api::Preallocation;
use crate::libvirt::Filling;
use crate::libvirt::xml::volume::VolumeXml;
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
