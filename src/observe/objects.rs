//! The kinds that live in the store alone: instance types and secrets.

use super::world::{World, not_found};
use crate::api::{InstanceType, InstanceTypeSpec, Kind, Name, Secret};
use crate::error::Result;
use crate::store::SecretRecord;

impl World {
    /// Lists the instance types: the built-in ones and the user's own.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn types(&self) -> Result<Vec<InstanceType>> {
        Ok(self.store_for_reading()?.types()?)
    }

    /// Looks an instance type up.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn instance_type(&self, name: &Name) -> Result<InstanceType> {
        let types = self.types()?;
        let names: Vec<String> = types
            .iter()
            .filter_map(|t| Some(t.metadata.name.as_ref()?.to_string()))
            .collect();
        types
            .into_iter()
            .find(|t| t.metadata.name.as_ref() == Some(name))
            .ok_or_else(|| not_found(Kind::InstanceType, name, names.iter().map(String::as_str)))
    }

    /// Looks the size of a type up by a text that may be no name at all.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn type_spec(&self, name: &str) -> Result<Option<InstanceTypeSpec>> {
        let types = self.types()?;
        let found = types
            .into_iter()
            .find(|t| t.metadata.name.as_ref().is_some_and(|n| n.as_str() == name));
        Ok(found.map(|t| t.spec))
    }

    /// Lists the secrets.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn secrets(&self) -> Result<Vec<Secret>> {
        let records: Vec<SecretRecord> = self.store_for_reading()?.all()?;
        Ok(records.into_iter().map(SecretRecord::into_object).collect())
    }

    /// Looks a secret up.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn secret(&self, name: &Name) -> Result<Secret> {
        if let Some(record) = self.store_for_reading()?.get::<SecretRecord>(name)? {
            return Ok(record.into_object());
        }
        let names: Vec<String> = self
            .secrets()?
            .iter()
            .filter_map(|s| Some(s.metadata.name.as_ref()?.to_string()))
            .collect();
        Err(not_found(
            Kind::Secret,
            name,
            names.iter().map(String::as_str),
        ))
    }
}
