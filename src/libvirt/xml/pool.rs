//! `<pool>`: a storage pool.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::volume::Permissions;
use super::{XmlError, read, write};
use crate::api::Uid;

/// A storage pool (formatstorage.html).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolXml {
    /// `dir`, `fs`, `logical`…
    #[serde(rename = "@type")]
    pub kind: String,
    /// Name.
    pub name: String,
    /// Identity; libvirt makes one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uid>,
    /// Where it is on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PoolTarget>,
}

/// `<target>` of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolTarget {
    /// Path on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Who may enter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
}

impl PoolXml {
    /// Makes a pool that is a directory, which others may pass through but not list.
    pub fn directory(name: &str, path: &Path) -> Self {
        Self {
            kind: "dir".to_owned(),
            name: name.to_owned(),
            uuid: None,
            target: Some(PoolTarget {
                path: Some(path.to_string_lossy().into_owned()),
                permissions: Some(Permissions::mode("0711")),
            }),
        }
    }

    /// Reads a document, passing over what we do not know.
    ///
    /// # Errors
    /// [`XmlError::Read`] when it is not a pool.
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        read("pool", text)
    }

    /// Writes the document.
    ///
    /// # Errors
    /// [`XmlError`] when a text holds a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        write("pool", self)
    }

    /// Returns the path on the host.
    pub fn path(&self) -> Option<&str> {
        self.target.as_ref()?.path.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_round_trip() {
        let pool = PoolXml::directory("images", Path::new("/srv/a & b"));
        assert_eq!(PoolXml::from_xml(&pool.to_xml().unwrap()).unwrap(), pool);
    }
}
