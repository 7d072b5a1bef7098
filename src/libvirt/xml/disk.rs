//! `<disk>`: root disks, data volumes and the seed's CD-ROM.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::iothread::iothread_of;
use super::{Present, XmlError, read, write};
use crate::api::{CacheMode, DiscardMode, IoMode, VolumeAttachment};

/// A disk or CD-ROM of a domain (formatdomain.html, "Hard drives, floppy disks, CDROMs").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskXml {
    /// What the source is: `file`, `block`, `network`…
    #[serde(rename = "@type")]
    pub source_type: String,
    /// `disk` or `cdrom`.
    #[serde(rename = "@device", default = "disk")]
    pub device: String,
    /// Format and treatment of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DiskDriver>,
    /// Where the data is; absent for an empty CD-ROM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DiskSource>,
    /// What libvirt found the source to be an overlay of. Only read.
    #[serde(rename = "backingStore", default, skip_serializing)]
    pub backing: Option<BackingStore>,
    /// Where the guest finds it.
    pub target: DiskTarget,
    /// Serial that the guest sees (`/dev/disk/by-id/virtio-SERIAL`): 20 characters for virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Whether the guest cannot write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readonly: Option<Present>,
    /// Whether other domains may have it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shareable: Option<Present>,
    /// Name libvirt gives the device. Only read.
    #[serde(default, skip_serializing)]
    pub alias: Option<Alias>,
}

/// `<driver>` of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskDriver {
    /// `qemu`.
    #[serde(rename = "@name", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Format, never guessed: `qcow2` or `raw`.
    #[serde(rename = "@type", default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// How the host's page cache is used.
    #[serde(rename = "@cache", default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// How QEMU does its input and output.
    #[serde(rename = "@io", default, skip_serializing_if = "Option::is_none")]
    pub io: Option<String>,
    /// What becomes of the guest's TRIM: `unmap` or `ignore`.
    #[serde(rename = "@discard", default, skip_serializing_if = "Option::is_none")]
    pub discard: Option<String>,
    /// Whether written zeroes become holes.
    #[serde(
        rename = "@detect_zeroes",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub detect_zeroes: Option<String>,
    /// Number of the thread that serves it.
    #[serde(rename = "@iothread", default, skip_serializing_if = "Option::is_none")]
    pub iothread: Option<u32>,
}

/// `<source>` of a disk; which fields are there follows from the disk's type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSource {
    /// Path of a `file`.
    #[serde(rename = "@file", default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Path of a `block` device.
    #[serde(rename = "@dev", default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// Pool of a `volume`; only read, since AppArmor's helper cannot resolve it.
    #[serde(rename = "@pool", default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Volume in the pool.
    #[serde(rename = "@volume", default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Protocol of a `network` source, as `rbd`.
    #[serde(rename = "@protocol", default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Name in a `network` source.
    #[serde(rename = "@name", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Servers of a `network` source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<SourceHost>,
}

/// A server of a network source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceHost {
    /// Name or address.
    #[serde(rename = "@name")]
    pub name: String,
    /// Port.
    #[serde(rename = "@port", default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// One link of a backing chain; the last one has no source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct BackingStore {
    /// What the source is.
    #[serde(rename = "@type", default)]
    pub source_type: Option<String>,
    /// Format.
    #[serde(default)]
    pub format: Option<Format>,
    /// Where the data is.
    #[serde(default)]
    pub source: Option<DiskSource>,
    /// The next link.
    #[serde(rename = "backingStore", default)]
    pub backing: Option<Box<Self>>,
}

/// `<format type='qcow2'/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// The format.
    #[serde(rename = "@type")]
    pub format: String,
}

/// `<target>` of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskTarget {
    /// Name that libvirt knows the disk by, as `vda`; the guest may name it otherwise.
    #[serde(rename = "@dev")]
    pub dev: String,
    /// `virtio`, `scsi`, `sata`…
    #[serde(rename = "@bus", default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
}

/// `<alias name='…'/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The name.
    #[serde(rename = "@name")]
    pub name: String,
}

fn disk() -> String {
    "disk".to_owned()
}

impl DiskXml {
    /// Makes a virtio disk of a file, with TRIM handed down to it.
    pub fn virtio(path: &Path, format: &str, target: &str, serial: Option<String>) -> Self {
        // Volumes of LVM lie there, and files do not.
        let block = path.starts_with("/dev") && !path.starts_with("/dev/shm");
        let source = if block {
            DiskSource::block(path)
        } else {
            DiskSource::file(path)
        };
        Self {
            source_type: if block { "block" } else { "file" }.to_owned(),
            device: disk(),
            driver: Some(DiskDriver {
                name: Some("qemu".to_owned()),
                format: Some(format.to_owned()),
                cache: None,
                io: None,
                discard: Some("unmap".to_owned()),
                detect_zeroes: None,
                iothread: None,
            }),
            source: Some(source),
            backing: None,
            target: DiskTarget {
                dev: target.to_owned(),
                bus: Some("virtio".to_owned()),
            },
            serial,
            readonly: None,
            shareable: None,
            alias: None,
        }
    }

    /// Returns the disk, treated as an attachment asks for.
    #[must_use]
    pub fn treated(mut self, wish: &VolumeAttachment) -> Self {
        let driver = self.driver.get_or_insert_default();
        driver.cache = wish.cache.map(|c: CacheMode| c.to_string());
        driver.io = wish.io.map(|i: IoMode| i.to_string());
        let discard = wish.discard.unwrap_or(DiscardMode::Unmap);
        driver.discard = Some(discard.to_string());
        driver.iothread = iothread_of(wish, &self.target.dev);
        self.readonly = wish.read_only.unwrap_or(false).then_some(Present {});
        self.shareable = wish.is_shared().then_some(Present {});
        self
    }

    /// Makes a CD-ROM on the virtio-scsi controller: many cloud kernels have no AHCI.
    ///
    /// Without a medium the drive is empty.
    pub fn cdrom(medium: Option<&Path>, target: &str) -> Self {
        Self {
            source_type: "file".to_owned(),
            device: "cdrom".to_owned(),
            driver: Some(DiskDriver {
                name: Some("qemu".to_owned()),
                format: Some("raw".to_owned()),
                cache: None,
                io: None,
                discard: None,
                detect_zeroes: None,
                iothread: None,
            }),
            source: medium.map(DiskSource::file),
            backing: None,
            target: DiskTarget {
                dev: target.to_owned(),
                bus: Some("scsi".to_owned()),
            },
            serial: None,
            readonly: Some(Present {}),
            shareable: None,
            alias: None,
        }
    }

    /// Returns the drive with another medium.
    #[must_use]
    pub fn with_medium(&self, medium: &Path) -> Self {
        Self {
            source: Some(DiskSource::file(medium)),
            backing: None,
            ..self.clone()
        }
    }

    /// Reads a `<disk>`.
    ///
    /// # Errors
    /// [`XmlError::Read`] when it is not one.
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        read("disk", text)
    }

    /// Writes a `<disk>`, as attaching and changing devices wants it.
    ///
    /// # Errors
    /// [`XmlError`] when a text holds a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        write("disk", self)
    }

    /// Returns whether it is a CD-ROM drive.
    pub fn is_cdrom(&self) -> bool {
        self.device == "cdrom"
    }

    /// Returns the path of a file or block device.
    pub fn path(&self) -> Option<&str> {
        self.source.as_ref()?.path()
    }

    /// Returns the format, as `qcow2`.
    pub fn format(&self) -> Option<&str> {
        self.driver.as_ref()?.format.as_deref()
    }

    /// Returns the paths of the backing chain, the nearest first; known while the domain runs.
    pub fn backing_chain(&self) -> Vec<&str> {
        let mut chain = Vec::new();
        let mut link = self.backing.as_ref();
        while let Some(at) = link {
            chain.extend(at.source.as_ref().and_then(DiskSource::path));
            link = at.backing.as_deref();
        }
        chain
    }
}

impl DiskSource {
    fn block(path: &Path) -> Self {
        Self {
            dev: Some(path.to_string_lossy().into_owned()),
            ..Self::default()
        }
    }

    fn file(path: &Path) -> Self {
        Self {
            file: Some(path.to_string_lossy().into_owned()),
            ..Self::default()
        }
    }

    /// Returns the path of a file or block device.
    pub fn path(&self) -> Option<&str> {
        self.file.as_deref().or(self.dev.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_round_trip() {
        let disk = DiskXml::virtio(
            Path::new("/pool/we b&<>\"'.qcow2"),
            "qcow2",
            "vda",
            Some("0123456789abcdef0123".to_owned()),
        );
        assert_eq!(DiskXml::from_xml(&disk.to_xml().unwrap()).unwrap(), disk);
        let empty = DiskXml::cdrom(None, "sda");
        assert_eq!(DiskXml::from_xml(&empty.to_xml().unwrap()).unwrap(), empty);
        assert!(empty.is_cdrom() && empty.path().is_none());
    }
}
