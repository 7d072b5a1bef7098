//! Reads a qcow2 header, by QEMU's `docs/interop/qcow2.txt`.

use std::io::{Read, Seek};

use super::{Compression, Inspected, Limits, Qcow2Details, Source, quantity};
use crate::api::DiskFormat;
use crate::image::error::{ImageError, printable};

pub(super) const MAGIC: &[u8] = b"QFI\xfb";

const V2_LENGTH: u64 = 72;
const V3_LENGTH: u64 = 104;

const DIRTY: u32 = 0;
const CORRUPT: u32 = 1;
const DATA_FILE: u32 = 2;
const COMPRESSION: u32 = 3;
const EXTENDED_L2: u32 = 4;
const KNOWN_FEATURES: u64 = 0b1_1111;

const EXT_END: u32 = 0;
const EXT_FEATURE_NAMES: u32 = 0x6803_f857;
const EXT_DATA_FILE: u32 = 0x4441_5441;

/// QEMU's own limits for the tables, in bytes.
const MAX_L1: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE: u64 = 8 << 20;

/// Bits 9 to 55 of an L1 entry are the offset of an L2 table.
const L1_OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

/// The fixed part of the header, as it stands in the file.
struct Header {
    version: u32,
    backing_offset: u64,
    backing_length: u32,
    cluster_bits: u32,
    virtual_size: u64,
    encryption: u32,
    l1_entries: u32,
    l1_offset: u64,
    refcount_offset: u64,
    refcount_clusters: u32,
    snapshots: u32,
    features: u64,
    refcount_order: u32,
    length: u64,
    compression: u8,
}

/// Checks every field and refuses what could name another file or what we do not understand.
pub(super) fn inspect(
    source: &mut Source<'_, impl Read + Seek>,
    limits: &Limits,
) -> Result<Inspected, ImageError> {
    let header = Header::read(source)?;
    header.check_shape()?;
    let extensions = header.extensions(source)?;
    header.refuse_other_files(source, &extensions)?;
    header.refuse_features(&extensions)?;
    limits.check(header.virtual_size)?;
    header.check_tables(source)?;
    Ok(Inspected {
        format: DiskFormat::Qcow2,
        virtual_size: quantity(header.virtual_size)?,
        size: quantity(source.size)?,
        qcow2: Some(Qcow2Details {
            version: header.version,
            cluster_size: header.cluster_size(),
            compression: header.compression()?,
            extended_l2: header.has(EXTENDED_L2),
        }),
        partitions: None,
    })
}

impl Header {
    fn read(source: &mut Source<'_, impl Read + Seek>) -> Result<Self, ImageError> {
        source.require("header", 0, V2_LENGTH)?;
        let bytes = source.at(0, 112)?;
        let version = u32_at(&bytes, 4);
        match version {
            2 => {}
            3 => source.require("header", 0, V3_LENGTH)?,
            other => return Err(ImageError::Version(other)),
        }
        let v3 = version == 3;
        let length = if v3 {
            u64::from(u32_at(&bytes, 100))
        } else {
            V2_LENGTH
        };
        Ok(Self {
            version,
            backing_offset: u64_at(&bytes, 8),
            backing_length: u32_at(&bytes, 16),
            cluster_bits: u32_at(&bytes, 20),
            virtual_size: u64_at(&bytes, 24),
            encryption: u32_at(&bytes, 32),
            l1_entries: u32_at(&bytes, 36),
            l1_offset: u64_at(&bytes, 40),
            refcount_offset: u64_at(&bytes, 48),
            refcount_clusters: u32_at(&bytes, 56),
            snapshots: u32_at(&bytes, 60),
            features: if v3 { u64_at(&bytes, 72) } else { 0 },
            refcount_order: if v3 { u32_at(&bytes, 96) } else { 4 },
            length,
            compression: if v3 && length > V3_LENGTH {
                bytes.get(104).copied().unwrap_or(0)
            } else {
                0
            },
        })
    }

    const fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    const fn has(&self, feature: u32) -> bool {
        self.features & (1 << feature) != 0
    }

    fn check_shape(&self) -> Result<(), ImageError> {
        let malformed = |what| Err(ImageError::Malformed(what));
        if !(9..=21).contains(&self.cluster_bits) {
            return malformed("clusters are 512 bytes to 2 MiB");
        }
        if self.refcount_order > 6 {
            return malformed("reference counts have at most 64 bits");
        }
        if self.version == 3 && (self.length < V3_LENGTH || !self.length.is_multiple_of(8)) {
            return malformed("the header's own length is impossible");
        }
        if self.length > self.cluster_size() {
            return malformed("the header is longer than a cluster");
        }
        Ok(())
    }

    /// Returns the header extensions, which end before the backing file's name or the first
    /// cluster's end.
    fn extensions(
        &self,
        source: &mut Source<'_, impl Read + Seek>,
    ) -> Result<Vec<(u32, Vec<u8>)>, ImageError> {
        let end = match self.backing_offset {
            0 => self.cluster_size(),
            offset => offset.min(self.cluster_size()),
        };
        let area = source.at(self.length, end.saturating_sub(self.length))?;
        let mut rest = area.as_slice();
        let mut found = Vec::new();
        while rest.len() >= 8 {
            let (kind, length) = (u32_at(rest, 0), u32_at(rest, 4) as usize);
            if kind == EXT_END {
                break;
            }
            let Some(data) = rest.get(8..).and_then(|r| r.get(..length)) else {
                return Err(ImageError::Malformed("a header extension is too long"));
            };
            found.push((kind, data.to_vec()));
            let padded = 8 + length.next_multiple_of(8);
            rest = rest.get(padded..).unwrap_or_default();
        }
        Ok(found)
    }

    fn refuse_other_files(
        &self,
        source: &mut Source<'_, impl Read + Seek>,
        extensions: &[(u32, Vec<u8>)],
    ) -> Result<(), ImageError> {
        if self.backing_offset != 0 || self.backing_length != 0 {
            let length = u64::from(self.backing_length).min(1023);
            let name = source.at(self.backing_offset, length)?;
            let name = printable(&name);
            return Err(ImageError::BackingFile { name });
        }
        // QEMU ignores the name without the feature bit; that it is there is reason enough.
        let name = extensions.iter().find(|(kind, _)| *kind == EXT_DATA_FILE);
        if self.has(DATA_FILE) || name.is_some() {
            let name = name.map(|(_, name)| printable(name));
            return Err(ImageError::ExternalDataFile { name });
        }
        Ok(())
    }

    fn refuse_features(&self, extensions: &[(u32, Vec<u8>)]) -> Result<(), ImageError> {
        let unknown = self.features & !KNOWN_FEATURES;
        if unknown != 0 {
            let bits = (0..64).filter(|bit| unknown & (1 << bit) != 0);
            let names = bits.map(|bit| feature_name(bit, extensions)).collect();
            return Err(ImageError::UnknownFeatures(names));
        }
        match self.encryption {
            0 => {}
            1 => return Err(ImageError::Encrypted("AES")),
            2 => return Err(ImageError::Encrypted("LUKS")),
            _ => return Err(ImageError::Encrypted("unknown method")),
        }
        if self.has(CORRUPT) {
            return Err(ImageError::Corrupt);
        }
        if self.has(DIRTY) {
            return Err(ImageError::Dirty);
        }
        if self.snapshots != 0 {
            return Err(ImageError::InternalSnapshots(self.snapshots));
        }
        self.compression().map(|_| ())
    }

    const fn compression(&self) -> Result<Compression, ImageError> {
        match (self.compression, self.has(COMPRESSION)) {
            (0, false) => Ok(Compression::Zlib),
            (1, true) => Ok(Compression::Zstd),
            (0, true) | (1, false) => Err(ImageError::Malformed(
                "the compression type contradicts the feature bit",
            )),
            (other, _) => Err(ImageError::Compression(other)),
        }
    }

    /// The tables must lie within the file and cover the disk; a cut download fails here.
    fn check_tables(&self, source: &mut Source<'_, impl Read + Seek>) -> Result<(), ImageError> {
        let malformed = |what| Err(ImageError::Malformed(what));
        let cluster = self.cluster_size();
        let l1_bytes = u64::from(self.l1_entries) * 8;
        let refcount_bytes = u64::from(self.refcount_clusters) * cluster;
        if l1_bytes > MAX_L1 || refcount_bytes > MAX_REFCOUNT_TABLE {
            return malformed("a table is larger than QEMU accepts");
        }
        if refcount_bytes == 0 {
            return malformed("there is no reference count table");
        }
        let aligned = |offset: u64| offset != 0 && offset.is_multiple_of(cluster);
        if !aligned(self.l1_offset) || !aligned(self.refcount_offset) {
            return malformed("a table does not begin at a cluster");
        }
        let entry = if self.has(EXTENDED_L2) { 16 } else { 8 };
        let per_l1_entry = cluster * (cluster / entry);
        if u64::from(self.l1_entries) < self.virtual_size.div_ceil(per_l1_entry) {
            return malformed("the L1 table is too small for the disk");
        }
        source.require("L1 table", self.l1_offset, l1_bytes)?;
        source.require(
            "reference count table",
            self.refcount_offset,
            refcount_bytes,
        )?;
        for entry in source.at(self.l1_offset, l1_bytes)?.chunks_exact(8) {
            let l2 = u64_at(entry, 0) & L1_OFFSET_MASK;
            if l2 != 0 {
                source.require("L2 table", l2, cluster)?;
            }
        }
        Ok(())
    }
}

/// Returns the name that the image's own table gives an incompatible feature, or its number.
fn feature_name(bit: u32, extensions: &[(u32, Vec<u8>)]) -> String {
    let table = extensions
        .iter()
        .find(|(kind, _)| *kind == EXT_FEATURE_NAMES);
    let entries = table.map_or(&[][..], |(_, data)| data).chunks_exact(48);
    let named = entries
        .filter(|entry| entry[0] == 0 && u32::from(entry[1]) == bit)
        .map(|entry| entry[2..].split(|b| *b == 0).next().unwrap_or_default())
        .next();
    match named {
        Some(name) => format!("bit {bit} ({})", printable(name)),
        None => format!("bit {bit}"),
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let field = bytes.get(offset..).and_then(|b| b.first_chunk::<4>());
    field.map_or(0, |b| u32::from_be_bytes(*b))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let field = bytes.get(offset..).and_then(|b| b.first_chunk::<8>());
    field.map_or(0, |b| u64::from_be_bytes(*b))
}
