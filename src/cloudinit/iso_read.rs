//! Reads a seed medium back: the top-level files of an ISO 9660 image by their Joliet names.
//!
//! Whoever can write into the pool can write the image, so every number in it is checked before
//! it is used, and sizes are bounded. (ECMA-119; Joliet specification 1.)

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use super::error::CloudInitError;

const SECTOR: usize = 2048;
/// Where the volume descriptors begin, in sectors.
const FIRST_DESCRIPTOR: usize = 16;
const MAX_DESCRIPTORS: usize = 32;
const MAX_FILES: usize = 64;
/// No seed is larger; in bytes.
const MAX_IMAGE: u64 = 64 << 20;

/// What was found on a medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Medium {
    /// Volume label.
    pub label: String,
    /// Files at the top level, by their Joliet names.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Reads an image of at most 64 MiB from its beginning.
///
/// # Errors
/// [`CloudInitError::Iso`] when it cannot be read or is no such image.
pub fn read_from(source: &mut (impl Read + Seek)) -> Result<Medium, CloudInitError> {
    let unreadable = |_| CloudInitError::Iso("it cannot be read");
    source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let mut limited = source.take(MAX_IMAGE + 1);
    limited.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_IMAGE {
        return Err(CloudInitError::Iso("it is too large"));
    }
    read(&bytes)
}

/// Reads an image.
///
/// # Errors
/// [`CloudInitError::Iso`] when it is no such image, or a number in it points outside.
pub fn read(image: &[u8]) -> Result<Medium, CloudInitError> {
    let mut label = None;
    let mut root = None;
    for number in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + MAX_DESCRIPTORS {
        let descriptor = slice(image, number * SECTOR, SECTOR)?;
        if descriptor.get(1..6) != Some(b"CD001") {
            return Err(CloudInitError::Iso("it is not ISO 9660"));
        }
        match descriptor.first() {
            Some(1) => label = Some(ascii(slice(descriptor, 40, 32)?)),
            Some(2) if is_joliet(descriptor) => root = Some(slice(descriptor, 156, 34)?),
            Some(255) => break,
            _ => {}
        }
    }
    let root = root.ok_or(CloudInitError::Iso("it has no Joliet names"))?;
    Ok(Medium {
        label: label.unwrap_or_default(),
        files: files(image, extent(image, root)?)?,
    })
}

fn is_joliet(descriptor: &[u8]) -> bool {
    matches!(descriptor.get(88..91), Some(b"%/@" | b"%/C" | b"%/E"))
}

fn ascii(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// Reads the records of a directory. None crosses a sector; the rest of a sector is zero.
fn files(image: &[u8], directory: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, CloudInitError> {
    let mut files = BTreeMap::new();
    for sector in directory.chunks(SECTOR) {
        let mut rest = sector;
        while let Some(length @ 1..) = rest.first().map(|b| usize::from(*b)) {
            let record = slice(rest, 0, length)?;
            if let Some((name, bytes)) = file(image, record)? {
                files.insert(name, bytes.to_vec());
            }
            if files.len() > MAX_FILES {
                return Err(CloudInitError::Iso("it has too many files"));
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    Ok(files)
}

/// Reads one record; directories, itself and its parent among them, give nothing.
fn file<'a>(image: &'a [u8], record: &[u8]) -> Result<Option<(String, &'a [u8])>, CloudInitError> {
    const DIRECTORY: u8 = 2;
    const MORE_EXTENTS: u8 = 128;
    let flags = slice(record, 25, 1)?[0];
    if flags & DIRECTORY != 0 {
        return Ok(None);
    }
    if flags & MORE_EXTENTS != 0 {
        return Err(CloudInitError::Iso("a file on it is in pieces"));
    }
    let length = usize::from(slice(record, 32, 1)?[0]);
    let name = ucs2(slice(record, 33, length)?);
    let name = name.split(';').next().unwrap_or_default().to_owned();
    if name.is_empty() || name.contains('/') || name.chars().any(char::is_control) {
        return Err(CloudInitError::Iso("a file on it has an impossible name"));
    }
    Ok(Some((name, extent(image, record)?)))
}

/// Returns the bytes that a record points to.
fn extent<'a>(image: &'a [u8], record: &[u8]) -> Result<&'a [u8], CloudInitError> {
    let sector = little_endian(slice(record, 2, 4)?);
    let length = little_endian(slice(record, 10, 4)?);
    if length == 0 {
        return Ok(&[]);
    }
    let start = sector.checked_mul(SECTOR).ok_or(OUTSIDE)?;
    slice(image, start, length)
}

const OUTSIDE: CloudInitError = CloudInitError::Iso("it is cut short, or points outside itself");

fn slice(bytes: &[u8], start: usize, length: usize) -> Result<&[u8], CloudInitError> {
    let end = start.checked_add(length).ok_or(OUTSIDE)?;
    bytes.get(start..end).ok_or(OUTSIDE)
}

fn little_endian(bytes: &[u8]) -> usize {
    let byte = |value: usize, b: &u8| value << 8 | usize::from(*b);
    bytes.iter().rev().fold(0, byte)
}

fn ucs2(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|c| u16::from_be_bytes([c[0], c[1]]));
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A made-up image with one file, laid out by hand.
    fn image(name: &str, body: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 20 * SECTOR];
        let mut descriptor = |sector: usize, kind: u8| {
            image[sector * SECTOR] = kind;
            image[sector * SECTOR + 1..][..5].copy_from_slice(b"CD001");
        };
        descriptor(16, 1);
        descriptor(17, 2);
        descriptor(18, 255);
        image[16 * SECTOR + 40..][..6].copy_from_slice(b"cidata");
        image[17 * SECTOR + 88..][..3].copy_from_slice(b"%/E");
        let record = |sector: u32, length: usize, flags: u8, name: &[u8]| {
            let mut record = vec![0; 33];
            record[2..6].copy_from_slice(&sector.to_le_bytes());
            record[10..14].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
            record[25] = flags;
            record[32] = u8::try_from(name.len()).unwrap();
            record.extend(name);
            record[0] = u8::try_from(record.len()).unwrap();
            record
        };
        let root = record(19, SECTOR, 2, &[0]);
        image[17 * SECTOR + 156..][..34].copy_from_slice(&root);
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let entry = [root, record(20, body.len(), 0, &name)].concat();
        image[19 * SECTOR..][..entry.len()].copy_from_slice(&entry);
        image.extend(body);
        image
    }

    #[test]
    fn a_file_is_read_by_its_joliet_name() {
        let medium = read(&image("user-data;1", b"hello")).unwrap();
        assert_eq!(medium.label.trim_end_matches('\0'), "cidata");
        assert_eq!(medium.files["user-data"], b"hello");
        let mut cursor = std::io::Cursor::new(image("a", b""));
        assert_eq!(read_from(&mut cursor).unwrap().files["a"], b"");
    }

    #[test]
    fn cut_short_at_any_place_it_is_an_error_or_whole() {
        let whole = image("user-data", &[7; 3000]);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        assert!(read(&image("../etc/passwd", b"x")).is_err());
        assert!(read(&image("a\u{1b}", b"x")).is_err());
    }

    proptest! {
        #[test]
        fn damaged_images_do_no_harm(
            damage in prop::collection::vec((16 * SECTOR..20 * SECTOR + 64, any::<u8>()), 1..40),
        ) {
            let mut bytes = image("user-data", &[7; 64]);
            for (at, value) in damage {
                bytes[at] = value;
            }
            let _ = read(&bytes);
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let _ = read(&bytes);
        }
    }
}
