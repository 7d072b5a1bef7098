//! What every object has: name, labels, identity and history.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::name::{LabelKey, LabelValue, Name};

/// The one version of the manifest format there is.
pub const API_VERSION: &str = "kvmctl/v1";

/// A moment, to the second, in UTC; printed as RFC 3339.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(#[schemars(with = "String")] jiff::Timestamp);

impl Timestamp {
    /// Returns the present moment, cut to the second so that it round-trips through text.
    pub fn now() -> Self {
        let now = jiff::Timestamp::now().as_second();
        Self(jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Makes a moment from seconds since 1970; what lies outside year 9999 becomes 1970.
    pub fn from_second(second: i64) -> Self {
        Self(jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Returns the seconds since 1970.
    pub fn as_second(self) -> i64 {
        self.0.as_second()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The identity of an object: a UUID, which for an instance is the UUID of its domain.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Uid(#[schemars(with = "String")] uuid::Uuid);

impl Uid {
    /// Makes a new random identity.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// Makes an identity from the 16 bytes libvirt hands out.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// Returns the 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns the first eight hex digits, which stand in file names (`NAME.UID8.qcow2`).
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Uid {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        uuid::Uuid::parse_str(text).map(Self)
    }
}

/// Who an object belongs to and is deleted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OwnerReference {
    /// Kind of the owner.
    pub kind: Kind,
    /// Name of the owner.
    pub name: Name,
    /// Identity of the owner.
    pub uid: Uid,
}

/// What every object has beside its spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectMeta {
    /// The name: an RFC 1123 label, unique among the objects of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// With `create`, a stem to which a random suffix is added when `name` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate_name: Option<String>,
    /// Labels, by which objects are selected.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Annotations: free text that kvmctl keeps and does not read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<LabelKey, String>,
    /// The identity. Set by kvmctl; a manifest that gives another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// When the object was made. Set by kvmctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// Counts the changes of the spec. Set by kvmctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Names this state of the object. Set by kvmctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// The objects this one is deleted with. Set by kvmctl.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// When deletion was asked for; the object is Terminating. Set by kvmctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
}

/// Annotation of an object that was made along with another one and is deleted with it; its value is
/// the other's key. (The owner's identity is not known yet when both are made.)
const MADE_FOR: &str = "kvmctl/made-for";

impl ObjectMeta {
    /// Returns the key of the object that this one was made for.
    pub fn made_for(&self) -> Option<&str> {
        let found = self
            .annotations
            .iter()
            .find(|(k, _)| k.as_str() == MADE_FOR);
        found.map(|(_, owner)| owner.as_str())
    }

    /// Notes the object that this one is made for.
    pub fn set_made_for(&mut self, owner: &super::object::ObjectKey) {
        if let Ok(key) = LabelKey::new(MADE_FOR) {
            self.annotations.insert(key, owner.to_string());
        }
    }

    /// Returns metadata that has only a name.
    pub fn named(name: Name) -> Self {
        Self {
            name: Some(name),
            ..Self::default()
        }
    }
}
