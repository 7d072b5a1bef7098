//! Finds the partition table of a raw disk, the only sign that it is one.

use std::io::{Read, Seek};

use super::Source;
use crate::image::error::ImageError;

/// The kind of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionTable {
    /// Master boot record.
    Mbr,
    /// GUID partition table.
    Gpt,
}

/// Returns the partition table of the disk, if it has one.
pub(super) fn find(
    source: &mut Source<'_, impl Read + Seek>,
) -> Result<Option<PartitionTable>, ImageError> {
    for sector_size in [512, 4096] {
        if source.at(sector_size, 8)? == b"EFI PART" {
            return Ok(Some(PartitionTable::Gpt));
        }
    }
    let sector = source.at(0, 512)?;
    Ok(is_mbr(&sector).then_some(PartitionTable::Mbr))
}

/// A boot sector with at least one partition, whose boot flags are such; the boot sector of a bare
/// FAT or NTFS has the signature too, but text where the partitions would be.
fn is_mbr(sector: &[u8]) -> bool {
    let (Some(entries), Some(b"\x55\xaa")) = (sector.get(446..510), sector.get(510..512)) else {
        return false;
    };
    let flags_sound = entries.chunks(16).all(|entry| entry[0] & 0x7f == 0);
    let used = |entry: &[u8]| entry[4] != 0 && entry[12..16] != [0; 4];
    flags_sound && entries.chunks(16).any(used)
}
