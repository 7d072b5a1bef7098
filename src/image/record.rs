//! What is remembered of an image beside its bytes, and the name of its volume.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::catalogue::{Architecture, Firmware};
use super::digest::Sha256;
use crate::api::{DiskFormat, Name, Quantity, Timestamp};

const PREFIX: &str = "kvmctl-image-";
const DIGITS: usize = 32;

/// The name of an image's volume: `kvmctl-image-<first 32 hex digits of the SHA-256>.<format>`.
///
/// The name says the content, so that an image is stored once whatever it is called, and two
/// versions of one alias lie side by side while instances still use the older.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);

/// Why a text is not the name of an image's volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of an image volume: kvmctl-image-<32 hex digits>.qcow2 or .raw")]
pub struct InvalidVolumeName(String);

impl VolumeName {
    /// Returns the name for content of this digest and format.
    pub fn new(sha256: Sha256, format: DiskFormat) -> Self {
        let hex = sha256.to_string();
        Self(format!("{PREFIX}{}.{format}", &hex[..DIGITS]))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the volume that holds the [`ImageRecord`].
    pub fn sidecar(&self) -> String {
        format!("{}.json", self.0)
    }

    /// Returns whether `sha256` is that of the content.
    pub fn matches(&self, sha256: Sha256) -> bool {
        self.0[PREFIX.len()..].starts_with(&sha256.to_string()[..DIGITS])
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for VolumeName {
    type Err = InvalidVolumeName;

    fn from_str(text: &str) -> Result<Self, InvalidVolumeName> {
        let parsed = text.strip_prefix(PREFIX).and_then(|r| r.split_once('.'));
        let hex = |h: &str| {
            h.len() == DIGITS && h.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        match parsed {
            Some((digits, "qcow2" | "raw")) if hex(digits) => Ok(Self(text.to_owned())),
            _ => Err(InvalidVolumeName(text.to_owned())),
        }
    }
}

impl TryFrom<String> for VolumeName {
    type Error = InvalidVolumeName;
    fn try_from(text: String) -> Result<Self, InvalidVolumeName> {
        text.parse()
    }
}

impl From<VolumeName> for String {
    fn from(name: VolumeName) -> Self {
        name.0
    }
}

/// What is known of an image that lies in a pool; stored as JSON beside it.
///
/// Unknown fields are ignored, so that an older kvmctl can read what a newer one wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// What people call it: the catalogue's alias or the name given at import.
    pub name: Name,
    /// SHA-256 of the content as it lies in the pool.
    pub sha256: Sha256,
    /// Format of the content.
    pub format: DiskFormat,
    /// Size that a guest sees.
    pub virtual_size: Quantity,
    /// Size of the file.
    pub size: Quantity,
    /// Operating system, as `debian`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// User that the image gives the SSH key to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_user: Option<String>,
    /// What it can boot from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// CPU architecture, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Where it was pulled from; none for an imported file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// When it was stored.
    pub created: Timestamp,
}

impl ImageRecord {
    /// Returns the name of its volume.
    pub fn volume(&self) -> VolumeName {
        VolumeName::new(self.sha256, self.format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Sha256 {
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
            .parse()
            .unwrap()
    }

    #[test]
    fn the_name_is_made_from_the_content() {
        let name = VolumeName::new(digest(), DiskFormat::Qcow2);
        assert_eq!(
            name.as_str(),
            "kvmctl-image-00112233445566778899aabbccddeeff.qcow2"
        );
        assert!(name.matches(digest()));
        assert_eq!(name.as_str().parse::<VolumeName>().unwrap(), name);
    }

    #[test]
    fn other_names_are_not_taken_for_ours() {
        for bad in [
            "",
            "debian.qcow2",
            "kvmctl-image-0011.qcow2",
            "kvmctl-image-00112233445566778899aabbccddeeff.qcow2.json",
            "kvmctl-image-00112233445566778899aabbccddeeff.vmdk",
            "kvmctl-image-../../../../../../../etc/passwd0000.raw",
            "kvmctl-image-00112233445566778899AABBCCDDEEFF.raw",
        ] {
            assert!(bad.parse::<VolumeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_round_trips_and_tolerates_newer_fields() {
        let record = ImageRecord {
            name: Name::new("debian-12").unwrap(),
            sha256: digest(),
            format: DiskFormat::Qcow2,
            virtual_size: Quantity::gib(2),
            size: Quantity::mib(300),
            os: Some("debian".into()),
            default_user: Some("debian".into()),
            firmware: Some(Firmware::Both),
            architecture: Some(Architecture::X86_64),
            source_url: None,
            created: Timestamp::from_second(1_700_000_000),
        };
        let mut json = serde_json::to_value(&record).unwrap();
        json["someDay"] = true.into();
        assert_eq!(serde_json::from_value::<ImageRecord>(json).unwrap(), record);
    }
}
