//! `<domainbackup>`: a copy of disks at one moment, which QEMU writes while the guest runs.

use serde::{Deserialize, Serialize};

use super::disk::Format;
use super::{XmlError, read, write};

/// A backup job (formatbackup.html) in push mode: QEMU itself writes the copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupXml {
    /// `push` or `pull`; push when absent.
    #[serde(rename = "@mode", default = "push")]
    pub mode: String,
    /// Which disks, every one of the domain's.
    pub disks: BackupDisksXml,
}

/// `<disks>` of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDisksXml {
    /// The disks.
    #[serde(default, rename = "disk")]
    pub disks: Vec<BackupDiskXml>,
}

/// One disk of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDiskXml {
    /// Name that libvirt knows the disk by, as `vda`.
    #[serde(rename = "@name")]
    pub name: String,
    /// `yes` or `no`.
    #[serde(rename = "@backup", default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// What the copy is: `file`.
    #[serde(rename = "@type", default, skip_serializing_if = "Option::is_none")]
    pub target_type: Option<String>,
    /// `full` or `incremental`.
    #[serde(
        rename = "@backupmode",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub mode: Option<String>,
    /// Checkpoint since which changes are copied.
    #[serde(
        rename = "@incremental",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub since: Option<String>,
    /// Format of the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Format>,
    /// Where the copy goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<BackupTargetXml>,
}

/// `<target file='…'/>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupTargetXml {
    /// Path of the file on the host.
    #[serde(rename = "@file", default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

fn push() -> String {
    "push".to_owned()
}

impl BackupXml {
    /// Makes a backup of the given disks and no other.
    pub fn push(disks: Vec<BackupDiskXml>) -> Self {
        Self {
            mode: push(),
            disks: BackupDisksXml { disks },
        }
    }

    /// Reads what libvirt wrote.
    ///
    /// # Errors
    /// [`XmlError::Read`].
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        read("domainbackup", text)
    }

    /// Writes it for libvirt.
    ///
    /// # Errors
    /// [`XmlError`] for characters that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        write("domainbackup", self)
    }

    /// Returns the files that the job writes.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let targets = self.disks.disks.iter().filter_map(|d| d.target.as_ref());
        targets.filter_map(|t| t.file.as_deref())
    }
}

impl BackupDiskXml {
    /// Makes a copy of a disk to a new qcow2 file: of all of it, or of what changed since a checkpoint.
    pub fn copy(name: &str, file: &str, since: Option<&str>) -> Self {
        let mode = since.map_or("full", |_| "incremental");
        Self {
            name: name.to_owned(),
            backup: Some("yes".to_owned()),
            target_type: Some("file".to_owned()),
            mode: Some(mode.to_owned()),
            since: since.map(str::to_owned),
            driver: Some(Format {
                format: "qcow2".to_owned(),
            }),
            target: Some(BackupTargetXml {
                file: Some(file.to_owned()),
            }),
        }
    }

    /// Leaves a disk out. A disk that is not named is copied.
    pub fn leave_out(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            backup: Some("no".to_owned()),
            target_type: None,
            mode: None,
            since: None,
            driver: None,
            target: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_writes_is_read_back() {
        let told = "<domainbackup mode='push'><disks>\
            <disk name='vda' backup='yes' type='file' backupmode='full' index='5'>\
            <driver type='qcow2'/><target file='/pool/a.raw'/></disk>\
            <disk name='sda' backup='no'/></disks></domainbackup>";
        let read = BackupXml::from_xml(told).unwrap();
        assert_eq!(read.files().collect::<Vec<_>>(), ["/pool/a.raw"]);
        let pull = "<domainbackup mode='pull'><server transport='tcp' name='h' port='1'/><disks>\
            <disk name='vda' backup='yes' type='file' exportname='x'><driver type='qcow2'/>\
            <scratch file='/s'/></disk></disks></domainbackup>";
        let read = BackupXml::from_xml(pull).unwrap();
        assert_eq!((read.mode.as_str(), read.files().count()), ("pull", 0));
    }

    #[test]
    fn a_job_is_written_as_it_is_read() {
        let made = BackupXml::push(vec![
            BackupDiskXml::copy("vda", "/pool/a&b<c>'d\".raw", None),
            BackupDiskXml::copy("vdb", "/pool/b.raw", Some("kvmctl-1")),
            BackupDiskXml::leave_out("sda"),
        ]);
        assert_eq!(BackupXml::from_xml(&made.to_xml().unwrap()).unwrap(), made);
        let evil = BackupXml::push(vec![BackupDiskXml::copy("vda", "/a\u{1}", None)]);
        assert!(evil.to_xml().is_err());
    }
}
