//! libvirt's XML documents as typed values: pure, no connection.
//!
//! What kvmctl makes is built from the typed structs and cannot be anything but well-formed; what
//! already exists is changed through [`tree`], which keeps every node that we do not know.

pub mod backup;
pub mod caps;
pub mod checkpoint;
pub mod devices;
pub mod disk;
pub mod domain;
pub mod instance;
pub mod interface;
pub mod iothread;
pub mod network;
pub mod network_dns;
pub mod network_params;
pub mod object;
pub mod pool;
pub mod snapshot;
pub mod tree;
pub mod volume;

#[cfg(test)]
mod schema_tests;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why a document could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// A text holds a character that no XML document can hold.
    #[error("{document} holds the character {character:?}, which XML cannot hold")]
    IllegalCharacter {
        /// Root element of the document.
        document: &'static str,
        /// The character.
        character: char,
    },
    /// A document of ours could not be written.
    #[error("cannot write {document} XML: {reason}")]
    Write {
        /// Root element of the document.
        document: &'static str,
        /// Why, from the XML library.
        reason: String,
    },
    /// A document does not have the shape that libvirt documents.
    #[error("cannot read {document} XML: {reason}")]
    Read {
        /// Root element of the document.
        document: &'static str,
        /// Why, from the XML library.
        reason: String,
    },
}

impl XmlError {
    pub(crate) fn read(document: &'static str, reason: impl fmt::Display) -> Self {
        Self::Read {
            document,
            reason: reason.to_string(),
        }
    }
}

/// An element that is there or not, as `<acpi/>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {}

/// An amount with its unit, as `<memory unit='KiB'>1024</memory>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Unit as libvirt writes it; bytes or KiB, by the element, when absent.
    #[serde(rename = "@unit", default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The number.
    #[serde(rename = "$text")]
    pub value: u64,
}

impl Amount {
    /// Makes an amount in KiB.
    pub fn kib(value: u64) -> Self {
        Self {
            unit: Some("KiB".to_owned()),
            value,
        }
    }

    /// Makes an amount in bytes.
    pub fn bytes(value: u64) -> Self {
        Self {
            unit: Some("bytes".to_owned()),
            value,
        }
    }

    /// Returns the amount in bytes; an absent unit means `default_unit`.
    pub fn in_bytes(&self, default_unit: &str) -> Option<u64> {
        let factor: u64 = match self.unit.as_deref().unwrap_or(default_unit) {
            "b" | "bytes" => 1,
            "KB" => 1000,
            "k" | "K" | "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "M" | "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "G" | "GiB" => 1 << 30,
            "TB" => 1_000_000_000_000,
            "T" | "TiB" => 1 << 40,
            _ => return None,
        };
        self.value.checked_mul(factor)
    }
}

/// Writes a document, refusing characters that XML cannot hold.
pub(crate) fn write<T: Serialize>(document: &'static str, value: &T) -> Result<String, XmlError> {
    let mut text = String::new();
    let mut serializer =
        quick_xml::se::Serializer::with_root(&mut text, Some(document)).map_err(|e| {
            XmlError::Write {
                document,
                reason: e.to_string(),
            }
        })?;
    serializer.indent(' ', 2);
    value.serialize(serializer).map_err(|e| XmlError::Write {
        document,
        reason: e.to_string(),
    })?;
    check_characters(document, &text)?;
    Ok(text)
}

/// Reads a document, passing over what we do not know.
pub(crate) fn read<T: DeserializeOwned>(document: &'static str, text: &str) -> Result<T, XmlError> {
    quick_xml::de::from_str(text).map_err(|e| XmlError::read(document, e))
}

/// Refuses what is outside the `Char` production of XML 1.0.
pub(crate) fn check_characters(document: &'static str, text: &str) -> Result<(), XmlError> {
    match text.chars().find(|c| !is_xml_char(*c)) {
        Some(character) => Err(XmlError::IllegalCharacter {
            document,
            character,
        }),
        None => Ok(()),
    }
}

/// Returns whether XML 1.0 can hold the character.
pub(crate) const fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_in_any_unit() {
        let kib: Amount = read("memory", "<memory unit='KiB'>2</memory>").unwrap();
        assert_eq!(kib.in_bytes("KiB"), Some(2048));
        let bare: Amount = read("memory", "<memory>2</memory>").unwrap();
        assert_eq!(bare.in_bytes("KiB"), Some(2048));
        assert_eq!(bare.in_bytes("bytes"), Some(2));
        let huge = Amount {
            unit: Some("TiB".into()),
            value: u64::MAX,
        };
        assert_eq!(huge.in_bytes("KiB"), None);
    }

    #[test]
    fn control_characters_are_refused() {
        assert!(check_characters("x", "a\u{1b}b").is_err());
        assert!(check_characters("x", "a\u{fffe}b").is_err());
        assert!(check_characters("x", "a\tü\u{1F600}\n").is_ok());
    }
}
