//! `<volume>`: a storage volume.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk::Format;
use super::{Amount, XmlError, read, write};

/// A storage volume (formatstorage.html).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeXml {
    /// Name in its pool: the file name in a directory.
    pub name: String,
    /// Size that a guest sees.
    pub capacity: Amount,
    /// Size that is taken at once; none when absent, for formats that can grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<Amount>,
    /// Format, path and rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<VolumeTarget>,
    /// What it is an overlay of.
    #[serde(
        rename = "backingStore",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub backing: Option<VolumeBacking>,
}

/// `<target>` of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeTarget {
    /// Path on the host. Only read: libvirt makes it of pool and name.
    #[serde(default, skip_serializing)]
    pub path: Option<String>,
    /// Format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Who may read and write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
}

/// `<permissions>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Octal mode, as `0600`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Number of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// Number of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
}

/// `<backingStore>` of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeBacking {
    /// Path of the base; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its format; always written, never guessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

impl Permissions {
    /// Makes permissions of a mode; the owner is whoever the daemon runs as.
    pub fn mode(octal: &str) -> Self {
        Self {
            mode: Some(octal.to_owned()),
            owner: None,
            group: None,
        }
    }
}

impl VolumeXml {
    /// Makes an empty volume (`capacity` in bytes) that only its owner may read.
    pub fn empty(name: &str, format: &str, capacity: u64) -> Self {
        Self {
            name: name.to_owned(),
            capacity: Amount::bytes(capacity),
            // A raw file would otherwise be written out in full.
            allocation: Some(Amount::bytes(0)),
            target: Some(VolumeTarget {
                path: None,
                format: Some(Format {
                    format: format.to_owned(),
                }),
                permissions: Some(Permissions::mode("0600")),
            }),
            backing: None,
        }
    }

    /// As [`VolumeXml::empty`], with all its room taken when it is made: libvirtd 11.3 ends when the
    /// pool fills up in the middle of an upload.
    pub fn reserved(name: &str, format: &str, capacity: u64) -> Self {
        Self::empty(name, format, capacity).with_allocation(capacity)
    }

    /// Makes a qcow2 overlay of a base whose format is known.
    pub fn overlay(name: &str, capacity: u64, base: &Path, base_format: &str) -> Self {
        Self {
            backing: Some(VolumeBacking {
                path: Some(base.to_string_lossy().into_owned()),
                format: Some(Format {
                    format: base_format.to_owned(),
                }),
            }),
            ..Self::empty(name, "qcow2", capacity)
        }
    }

    /// Gives it other permissions, in octal.
    #[must_use]
    pub fn with_mode(mut self, octal: &str) -> Self {
        if let Some(target) = &mut self.target {
            target.permissions = Some(Permissions::mode(octal));
        }
        self
    }

    /// Returns the volume with so many bytes taken at once.
    #[must_use]
    pub fn with_allocation(self, bytes: u64) -> Self {
        Self {
            allocation: Some(Amount::bytes(bytes)),
            ..self
        }
    }

    /// Reads a document, passing over what we do not know.
    ///
    /// # Errors
    /// [`XmlError::Read`] when it is not a volume.
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        read("volume", text)
    }

    /// Writes the document.
    ///
    /// # Errors
    /// [`XmlError`] when a text holds a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        write("volume", self)
    }

    /// Returns the format, as libvirt last found or was told it.
    pub fn format(&self) -> Option<&str> {
        let format = self.target.as_ref()?.format.as_ref()?;
        Some(&format.format)
    }

    /// Returns the path of the base.
    pub fn backing_path(&self) -> Option<&str> {
        self.backing.as_ref()?.path.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_round_trip() {
        let volume = VolumeXml::overlay("web.qcow2", 5 << 30, Path::new("/p/base"), "qcow2");
        let back = VolumeXml::from_xml(&volume.to_xml().unwrap()).unwrap();
        assert_eq!(back, volume);
        assert_eq!(back.backing_path(), Some("/p/base"));
        assert_eq!(back.format(), Some("qcow2"));
    }
}
