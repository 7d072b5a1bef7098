//! Secrets and the user's own instance types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{
    API_VERSION, BUILT_IN_TYPES, EnvName, InstanceType, InstanceTypeSpec, Name, ObjectMeta, Secret,
    SecretValue, built_in_types,
};

use super::error::{Result, StoreError};
use super::{AppliedMeta, Contents, Record, Store};

/// A Secret with its values. Its file is the only place where they stand outside a guest's seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRecord {
    name: Name,
    metadata: ObjectMeta,
    /// What a manifest asked for last.
    #[serde(default, skip_serializing_if = "AppliedMeta::is_empty")]
    pub(crate) applied: AppliedMeta,
    data: BTreeMap<EnvName, SecretValue>,
}

impl Record for SecretRecord {
    const DIR: &'static str = "secrets";
    const CONTENTS: Contents = Contents::Secret;
    type Key = Name;
    fn key(&self) -> Name {
        self.name.clone()
    }
}

impl SecretRecord {
    /// Makes a record of a Secret.
    ///
    /// # Errors
    /// [`StoreError::Unnamed`].
    pub fn new(secret: Secret) -> Result<Self> {
        Ok(Self {
            name: name_of(&secret.metadata, "secret")?,
            metadata: secret.metadata,
            applied: AppliedMeta::default(),
            data: secret.data,
        })
    }

    /// Remembers what a manifest asked for.
    pub fn applied(mut self, applied: AppliedMeta) -> Self {
        self.applied = applied;
        self
    }

    /// Returns one value.
    pub fn value(&self, key: &EnvName) -> Option<&SecretValue> {
        self.data.get(key)
    }

    /// Returns the Secret as an object.
    pub fn into_object(self) -> Secret {
        Secret {
            api_version: API_VERSION.to_owned(),
            kind: "Secret".to_owned(),
            metadata: self.metadata,
            data: self.data,
        }
    }
}

/// An instance type of the user's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TypeRecord {
    name: Name,
    metadata: ObjectMeta,
    /// What a manifest asked for last.
    #[serde(default, skip_serializing_if = "AppliedMeta::is_empty")]
    pub(crate) applied: AppliedMeta,
    spec: InstanceTypeSpec,
}

impl Record for TypeRecord {
    const DIR: &'static str = "types";
    type Key = Name;
    fn key(&self) -> Name {
        self.name.clone()
    }
}

impl TypeRecord {
    /// Makes a record of a type.
    ///
    /// # Errors
    /// [`StoreError::BuiltInType`] for a name that is built in, and [`StoreError::Unnamed`].
    pub fn new(object: InstanceType) -> Result<Self> {
        let name = name_of(&object.metadata, "type")?;
        if is_built_in(&name) {
            return Err(StoreError::BuiltInType(name.to_string()));
        }
        Ok(Self {
            name,
            metadata: object.metadata,
            applied: AppliedMeta::default(),
            spec: object.spec,
        })
    }

    /// Remembers what a manifest asked for.
    pub fn applied(mut self, applied: AppliedMeta) -> Self {
        self.applied = applied;
        self
    }

    /// Returns the type as an object.
    pub fn into_object(self) -> InstanceType {
        InstanceType {
            api_version: API_VERSION.to_owned(),
            kind: "InstanceType".to_owned(),
            metadata: self.metadata,
            spec: self.spec,
        }
    }
}

/// Returns whether a type is built in.
pub fn is_built_in(name: &Name) -> bool {
    BUILT_IN_TYPES.iter().any(|row| row.0 == name.as_str())
}

impl Store {
    /// Returns all types: the built-in ones in the order of their table, then the user's by name.
    ///
    /// # Errors
    /// When one of the user's cannot be read.
    pub fn types(&self) -> Result<Vec<InstanceType>> {
        let own = self.all::<TypeRecord>()?;
        // A file that somebody wrote by hand does not change what is built in.
        let own = own.into_iter().filter(|t| !is_built_in(&t.name));
        let mut types = built_in_types();
        types.extend(own.map(TypeRecord::into_object));
        Ok(types)
    }
}

fn name_of(meta: &ObjectMeta, what: &'static str) -> Result<Name> {
    meta.name.clone().ok_or(StoreError::Unnamed(what))
}
