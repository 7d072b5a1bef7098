//! Names: the strings that become domain names, file names, host names and label values.
//!
//! libvirt accepts `-rf`, `a b` and 300 characters as a domain name; we do not, because a name
//! travels into XML, file names, nginx and firewall comments.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Why a string is not a valid name, label or variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {what}: {rule}")]
pub struct InvalidName {
    /// The text as it was given.
    pub value: String,
    /// What it should have been ("name", "label key"…).
    pub what: &'static str,
    /// The rule it breaks, worded for a person.
    pub rule: &'static str,
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $pattern:literal, $max:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Parses a ", $what, ".")]
            ///
            /// # Errors
            #[doc = concat!("[`InvalidName`] unless: ", $rule, ".")]
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let value = text.into();
                let check: fn(&str) -> bool = $check;
                if value.len() <= $max && check(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidName { value, what: $what, rule: $rule })
                }
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "maxLength": $max})
            }
        }
    };
}

pub(super) use text_newtype;

text_newtype!(
    /// The name of an object: RFC 1123 labels with dots between them.
    ///
    /// Images and types have dots (`ubuntu-24.04`, `t2.micro`); what becomes a host name is held to
    /// one label by the manifest's validation ([`Name::is_label`]).
    Name,
    "name",
    "a name has at most 63 characters, only a-z, 0-9, '-' and single dots, and starts and ends with a letter or digit",
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    63,
    |s| s.split('.').all(is_rfc1123_label)
);

text_newtype!(
    /// A label or annotation key, as Kubernetes has it: an optional `prefix/` and a name.
    LabelKey,
    "label key",
    "a key is [prefix/]name of letters, digits, '-', '_' and '.', the name at most 63 characters, starting and ending with a letter or digit",
    "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    317,
    |s| is_label_key(s)
);

text_newtype!(
    /// A label value, as Kubernetes has it: empty or at most 63 characters.
    LabelValue,
    "label value",
    "a value is empty, or at most 63 letters, digits, '-', '_' and '.', starting and ending with a letter or digit",
    "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
    63,
    |s| s.is_empty() || is_qualified(s)
);

text_newtype!(
    /// The name of an environment variable (POSIX: letters, digits and underscore).
    EnvName,
    "variable name",
    "a variable name has only letters, digits and '_' and does not start with a digit",
    "^[A-Za-z_][A-Za-z0-9_]*$",
    255,
    |s| is_env_name(s)
);

impl Name {
    /// Returns whether the name is one RFC 1123 label, without dots.
    pub fn is_label(&self) -> bool {
        !self.0.contains('.')
    }

    /// Returns the name with `suffix` appended after a dash, shortened so that it stays valid.
    pub fn with_suffix(&self, suffix: &str) -> Result<Self, InvalidName> {
        let room = 63usize.saturating_sub(suffix.len() + 1);
        let stem = self
            .0
            .get(..room.min(self.0.len()))
            .unwrap_or(&self.0)
            .trim_end_matches(['-', '.']);
        Self::new(format!("{stem}-{suffix}"))
    }
}

pub(super) fn is_rfc1123_label(s: &str) -> bool {
    let bytes = s.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|b| plain(b) || *b == b'-')
}

fn is_qualified(s: &str) -> bool {
    let bytes = s.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn is_label_key(s: &str) -> bool {
    match s.split_once('/') {
        None => is_qualified(s),
        Some((prefix, name)) => {
            prefix.len() <= 253 && prefix.split('.').all(is_rfc1123_label) && is_qualified(name)
        }
    }
}

fn is_env_name(s: &str) -> bool {
    let bytes = s.as_bytes();
    bytes
        .first()
        .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rfc1123_labels() {
        for good in ["a", "web", "web-1", "0", "t2.micro", &"x".repeat(63)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in [
            "", "-a", "a-", "A", "a_b", "a b", "a\n", "a..b", ".a", "../x", "ü", &long,
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn label_keys_may_have_a_prefix() {
        assert!(LabelKey::new("app").is_ok());
        assert!(LabelKey::new("example.com/app_1").is_ok());
        for bad in ["", "/a", "a/", "a/b/c", "Ex.com/a", "a\u{1b}b"] {
            assert!(LabelKey::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_suffix_keeps_a_name_valid() {
        let long = Name::new("x".repeat(63)).unwrap();
        let made = long.with_suffix("ab12c").unwrap();
        assert_eq!(made.as_str().len(), 63);
        assert!(made.as_str().ends_with("-ab12c"));
    }
}
