//! `<domainsnapshot>`: the state of a whole domain, its memory among it, kept in its disks.

use serde::Serialize;

use super::{XmlError, write};

/// A snapshot that lies in the disks themselves (formatsnapshot.html).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotXml {
    /// Its name; the snapshots in the disks have the same.
    pub name: String,
    /// Where the memory goes.
    pub memory: KeptXml,
    /// Where the disks' content goes, for every disk of the domain.
    pub disks: SnapshotDisksXml,
}

/// Where something is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptXml {
    /// `internal` or `no`.
    #[serde(rename = "@snapshot")]
    pub place: &'static str,
}

/// `<disks>` of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotDisksXml {
    /// The disks.
    #[serde(rename = "disk")]
    pub disks: Vec<SnapshotDiskXml>,
}

/// One disk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotDiskXml {
    /// Name that libvirt knows the disk by, as `vda`.
    #[serde(rename = "@name")]
    pub name: String,
    /// `internal` or `no`.
    #[serde(rename = "@snapshot")]
    pub place: &'static str,
}

impl SnapshotXml {
    /// Makes a snapshot of memory and of all disks that a guest can write to.
    pub fn internal<'d>(name: &str, disks: impl Iterator<Item = (&'d str, bool)>) -> Self {
        let disk = |(name, written): (&str, bool)| SnapshotDiskXml {
            name: name.to_owned(),
            place: if written { "internal" } else { "no" },
        };
        Self {
            name: name.to_owned(),
            memory: KeptXml { place: "internal" },
            disks: SnapshotDisksXml {
                disks: disks.map(disk).collect(),
            },
        }
    }

    /// Writes it for libvirt.
    ///
    /// # Errors
    /// [`XmlError`] for characters that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        write("domainsnapshot", self)
    }
}
