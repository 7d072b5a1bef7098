//! Says what a file is, by our own reading, before any tool opens it.
//!
//! `qemu-img info` follows what a crafted header names (CVE-2024-4467, CVE-2024-32498), so what we
//! cannot prove harmless here is refused. The raw format has no magic: a file is taken as raw only
//! when it has an MBR or GPT and none of the magics we know.

mod foreign;
mod partitions;
mod qcow2;

use std::io::{self, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

pub use foreign::Foreign;
pub use partitions::PartitionTable;

use super::error::ImageError;
use crate::api::{DiskFormat, Quantity};

/// The most a virtual disk may have: 64 TiB. A 100 TiB image is a file of 1.8 MB.
pub const MAX_VIRTUAL_SIZE: u64 = 64 << 40;

/// What is accepted.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest disk, in bytes.
    pub max_virtual_size: u64,
    /// What the pool has room for, in bytes; `None` when the disk may outgrow the pool.
    pub room: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_virtual_size: MAX_VIRTUAL_SIZE,
            room: None,
        }
    }
}

impl Limits {
    /// Returns the limits for a pool with `free` bytes, of which 1 GiB or a twentieth, whichever is
    /// less, is left for others.
    pub fn for_pool(free: u64) -> Self {
        let margin = (free / 20).min(1 << 30);
        Self {
            room: Some(free - margin),
            ..Self::default()
        }
    }

    pub(super) const fn check(&self, virtual_size: u64) -> Result<(), ImageError> {
        let limit = self.max_virtual_size;
        if virtual_size > limit {
            return Err(ImageError::TooLarge {
                virtual_size,
                limit,
            });
        }
        match self.room {
            Some(room) if virtual_size > room => Err(ImageError::DoesNotFit { virtual_size, room }),
            _ => Ok(()),
        }
    }
}

/// How the clusters of a qcow2 image are compressed, where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// DEFLATE, the default.
    Zlib,
    /// Zstandard; needs QEMU 5.1.
    Zstd,
}

/// What a file was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    /// The format, to be recorded and always passed on.
    pub format: DiskFormat,
    /// Size that a guest sees.
    pub virtual_size: Quantity,
    /// Size of the file.
    pub size: Quantity,
    /// Version (2 or 3), compression and cluster size, for qcow2.
    pub qcow2: Option<Qcow2Details>,
    /// Partition table, for raw.
    pub partitions: Option<PartitionTable>,
}

/// What is particular to qcow2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcow2Details {
    /// Version of the format, 2 or 3.
    pub version: u32,
    /// Bytes in a cluster.
    pub cluster_size: u64,
    /// Compression of clusters.
    pub compression: Compression,
    /// Whether clusters are divided (extended L2 entries; needs QEMU 5.2).
    pub extended_l2: bool,
}

/// Reads the header of `image` and says what it is.
///
/// At most some megabytes at the beginning and 512 bytes at the end are read; the position is left
/// anywhere.
///
/// # Errors
/// [`ImageError`] with the reason why it is not taken.
pub fn inspect(image: &mut (impl Read + Seek), limits: &Limits) -> Result<Inspected, ImageError> {
    let mut source = Source::new(image)?;
    if source.size == 0 {
        return Err(ImageError::Empty);
    }
    if source.at(0, 4)? == qcow2::MAGIC {
        return qcow2::inspect(&mut source, limits);
    }
    if let Some(kind) = foreign::recognise(&mut source)? {
        return Err(ImageError::Foreign(kind));
    }
    raw(&mut source, limits)
}

fn raw(
    source: &mut Source<'_, impl Read + Seek>,
    limits: &Limits,
) -> Result<Inspected, ImageError> {
    let Some(partitions) = partitions::find(source)? else {
        let first = source.at(0, 8)?;
        let hex: Vec<String> = first.iter().map(|b| format!("{b:02x}")).collect();
        let begins = hex.join(" ");
        return Err(ImageError::Unrecognised { begins });
    };
    if !source.size.is_multiple_of(512) {
        let end = source.size.next_multiple_of(512);
        return Err(source.truncated("last sector", end));
    }
    limits.check(source.size)?;
    Ok(Inspected {
        format: DiskFormat::Raw,
        virtual_size: quantity(source.size)?,
        size: quantity(source.size)?,
        qcow2: None,
        partitions: Some(partitions),
    })
}

/// A file of known size that is read in pieces.
struct Source<'a, R> {
    image: &'a mut R,
    size: u64,
}

impl<'a, R: Read + Seek> Source<'a, R> {
    fn new(image: &'a mut R) -> Result<Self, ImageError> {
        let size = image.seek(SeekFrom::End(0)).map_err(unreadable)?;
        Ok(Self { image, size })
    }

    /// Returns up to `length` bytes from `offset`; fewer where the file ends.
    fn at(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        if offset < self.size {
            self.image
                .seek(SeekFrom::Start(offset))
                .map_err(unreadable)?;
            let mut piece = self.image.by_ref().take(length);
            piece.read_to_end(&mut bytes).map_err(unreadable)?;
        }
        Ok(bytes)
    }

    const fn truncated(&self, what: &'static str, end: u64) -> ImageError {
        let size = self.size;
        ImageError::Truncated { what, end, size }
    }

    /// Checks that `length` bytes from `offset` lie within the file.
    fn require(&self, what: &'static str, offset: u64, length: u64) -> Result<(), ImageError> {
        let end = offset
            .checked_add(length)
            .ok_or(ImageError::Malformed("an offset overflows"))?;
        if end > self.size {
            return Err(self.truncated(what, end));
        }
        Ok(())
    }
}

fn quantity(bytes: u64) -> Result<Quantity, ImageError> {
    Quantity::from_bytes(bytes).ok_or(ImageError::Malformed("the disk has no size"))
}

fn unreadable(source: io::Error) -> ImageError {
    ImageError::Io {
        doing: "read",
        source,
    }
}

#[cfg(test)]
mod tests;
