//! Secrets: values that are kept, handed to guests, and never printed.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meta::ObjectMeta;
use super::name::EnvName;

/// What is printed in place of a secret value.
pub const MASKED: &str = "***";

/// A secret text. `Debug` does not show it, so that no log can.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecretValue(String);

impl SecretValue {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Hands the text out, for the seed and the store only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(***)")
    }
}

/// A set of secret values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// `kvmctl/v1`.
    pub api_version: String,
    /// `Secret`.
    pub kind: String,
    /// Name, labels and identity.
    pub metadata: ObjectMeta,
    /// The values by key, as text. Printed as `***`.
    #[serde(default)]
    pub data: BTreeMap<EnvName, SecretValue>,
}
