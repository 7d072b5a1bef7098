//! `<domaincheckpoint>`: a moment since which QEMU notes which parts of the disks change.

use serde::{Deserialize, Serialize};

use super::{XmlError, read, write};

/// A checkpoint (formatcheckpoint.html).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointXml {
    /// Its name; the bitmaps in the disks have the same.
    pub name: String,
    /// Which disks, every one of the domain's.
    #[serde(default)]
    pub disks: CheckpointDisksXml,
}

/// `<disks>` of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDisksXml {
    /// The disks.
    #[serde(default, rename = "disk")]
    pub disks: Vec<CheckpointDiskXml>,
}

/// One disk of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDiskXml {
    /// Name that libvirt knows the disk by, as `vda`.
    #[serde(rename = "@name")]
    pub name: String,
    /// `bitmap` or `no`.
    #[serde(
        rename = "@checkpoint",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub checkpoint: Option<String>,
}

impl CheckpointXml {
    /// Makes a checkpoint of some disks of all that a domain has.
    pub fn new<'d>(name: &str, all: impl Iterator<Item = &'d str>, of: &[&str]) -> Self {
        let disk = |name: &str| CheckpointDiskXml {
            name: name.to_owned(),
            checkpoint: Some(if of.contains(&name) { "bitmap" } else { "no" }.to_owned()),
        };
        Self {
            name: name.to_owned(),
            disks: CheckpointDisksXml {
                disks: all.map(disk).collect(),
            },
        }
    }

    /// Reads what libvirt wrote.
    ///
    /// # Errors
    /// [`XmlError::Read`].
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        read("domaincheckpoint", text)
    }

    /// Writes it for libvirt.
    ///
    /// # Errors
    /// [`XmlError`] for characters that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        write("domaincheckpoint", self)
    }

    /// Returns whether changes of a disk are noted since.
    pub fn notes(&self, disk: &str) -> bool {
        let mut disks = self.disks.disks.iter();
        disks.any(|d| d.name == disk && d.checkpoint.as_deref() == Some("bitmap"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_disks_that_were_asked_for_are_noted() {
        let made = CheckpointXml::new("kvmctl-1", ["vda", "vdb", "sda"].into_iter(), &["vdb"]);
        let read = CheckpointXml::from_xml(&made.to_xml().unwrap()).unwrap();
        assert_eq!(read, made);
        let noted = ["vda", "vdb", "sda"].map(|disk| read.notes(disk));
        assert_eq!(noted, [false, true, false]);
    }
}
