//! Files that are often given in place of a disk image, known by their magic.

use std::fmt;
use std::io::{Read, Seek};

use super::Source;
use crate::image::error::ImageError;

/// A format that we know and do not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// QCOW, QEMU's first format.
    Qcow1,
    /// VMware's, also as a bare text descriptor, which names other files (CVE-2022-47951).
    Vmdk,
    /// Virtual PC's.
    Vhd,
    /// Hyper-V's.
    Vhdx,
    /// VirtualBox's.
    Vdi,
    /// QEMU's enhanced disk.
    Qed,
    /// Parallels'.
    Parallels,
    /// Apple's disk image.
    Dmg,
    /// A LUKS container.
    Luks,
    /// A CD.
    Iso,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with xz.
    Xz,
    /// Compressed with Zstandard.
    Zstd,
    /// Compressed with bzip2.
    Bzip2,
    /// A ZIP archive.
    Zip,
    /// A 7-Zip archive.
    SevenZip,
    /// A tar archive; OVA files are one.
    Tar,
    /// A web page.
    Html,
    /// A detached signature or a signed text.
    Pgp,
}

impl Foreign {
    /// Returns what to do about it, where there is something.
    pub(in crate::image) fn remedy(self) -> Option<String> {
        let unpack = |tool: &str| Some(format!("unpack it first: {tool} -dk FILE"));
        match self {
            Self::Qcow1 => convert("qcow"),
            Self::Vmdk => convert("vmdk"),
            Self::Vhd => convert("vpc"),
            Self::Vhdx => convert("vhdx"),
            Self::Vdi => convert("vdi"),
            Self::Qed => convert("qed"),
            Self::Parallels => convert("parallels"),
            Self::Dmg => convert("dmg"),
            Self::Gzip => unpack("gzip"),
            Self::Xz => unpack("xz"),
            Self::Zstd => unpack("zstd"),
            Self::Bzip2 => unpack("bzip2"),
            Self::Zip => Some("unpack it first: unzip FILE".into()),
            Self::SevenZip => Some("unpack it first: 7z x FILE".into()),
            Self::Tar => Some("unpack it first: tar -xf FILE".into()),
            Self::Iso => Some(
                "an installation CD has no cloud-init; take the publisher's cloud image (qcow2)"
                    .into(),
            ),
            Self::Html => {
                Some("the download gave a web page; copy the link of the file itself".into())
            }
            Self::Luks | Self::Pgp => None,
        }
    }
}

fn convert(format: &str) -> Option<String> {
    Some(format!(
        "convert an image you trust: qemu-img convert -f {format} -O qcow2 FILE IMAGE.qcow2"
    ))
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qcow1 => "a QCOW version 1 image",
            Self::Vmdk => "a VMDK image",
            Self::Vhd => "a VHD image",
            Self::Vhdx => "a VHDX image",
            Self::Vdi => "a VDI image",
            Self::Qed => "a QED image",
            Self::Parallels => "a Parallels image",
            Self::Dmg => "a DMG image",
            Self::Luks => "an encrypted LUKS container",
            Self::Iso => "an ISO 9660 CD image",
            Self::Gzip => "compressed with gzip",
            Self::Xz => "compressed with xz",
            Self::Zstd => "compressed with zstd",
            Self::Bzip2 => "compressed with bzip2",
            Self::Zip => "a ZIP archive",
            Self::SevenZip => "a 7-Zip archive",
            Self::Tar => "a tar archive",
            Self::Html => "a web page",
            Self::Pgp => "a PGP message",
        })
    }
}

const AT_START: &[(&[u8], Foreign)] = &[
    (b"KDMV", Foreign::Vmdk),
    (b"COWD", Foreign::Vmdk),
    (b"# Disk DescriptorFile", Foreign::Vmdk),
    (b"conectix", Foreign::Vhd),
    (b"vhdxfile", Foreign::Vhdx),
    (b"QED\0", Foreign::Qed),
    (b"WithoutFreeSpace", Foreign::Parallels),
    (b"WithouFreSpacExt", Foreign::Parallels),
    (b"LUKS\xba\xbe", Foreign::Luks),
    (b"\x1f\x8b", Foreign::Gzip),
    (b"\xfd7zXZ\0", Foreign::Xz),
    (b"\x28\xb5\x2f\xfd", Foreign::Zstd),
    (b"BZh", Foreign::Bzip2),
    (b"PK\x03\x04", Foreign::Zip),
    (b"7z\xbc\xaf\x27\x1c", Foreign::SevenZip),
    (b"-----BEGIN PGP", Foreign::Pgp),
];

/// Recognises a format by its magic; qcow2 itself is not looked for.
pub(super) fn recognise(
    source: &mut Source<'_, impl Read + Seek>,
) -> Result<Option<Foreign>, ImageError> {
    let head = source.at(0, 1024)?;
    let known = AT_START.iter().find(|(magic, _)| head.starts_with(magic));
    if let Some((_, kind)) = known {
        return Ok(Some(*kind));
    }
    if head.starts_with(b"QFI\xfb") {
        return Ok(Some(Foreign::Qcow1));
    }
    // VDI has 64 bytes of free text first.
    if head.get(64..68) == Some(b"\x7f\x10\xda\xbe") {
        return Ok(Some(Foreign::Vdi));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(Some(Foreign::Tar));
    }
    if is_markup(&head) {
        return Ok(Some(Foreign::Html));
    }
    // The volume descriptors of a CD begin at sector 16; a bootable one has an MBR before them.
    if source.at(16 * 2048 + 1, 5)? == b"CD001" {
        return Ok(Some(Foreign::Iso));
    }
    let tail = source.at(source.size.saturating_sub(512), 512)?;
    Ok(match tail.get(..4) {
        // A fixed-size VHD is a raw disk with a footer.
        Some(b"cone") if tail.starts_with(b"conectix") => Some(Foreign::Vhd),
        Some(b"koly") => Some(Foreign::Dmg),
        _ => None,
    })
}

fn is_markup(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = head.trim_ascii_start();
    [&b"<!doctype"[..], b"<html", b"<?xml", b"<head", b"<!--"]
        .iter()
        .any(|tag| {
            text.get(..tag.len())
                .is_some_and(|t| t.eq_ignore_ascii_case(tag))
        })
}
