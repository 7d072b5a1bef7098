//! What the records of several kinds are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{LabelKey, LabelValue, ObjectMeta};

/// Labels of an object.
pub type Labels = BTreeMap<LabelKey, LabelValue>;
/// Annotations of an object.
pub type Annotations = BTreeMap<LabelKey, String>;

/// The labels and annotations that a manifest asked for last: what the next one does not ask for goes,
/// and what somebody else gave the object stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppliedMeta {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

impl AppliedMeta {
    /// Returns what a manifest asks for.
    pub fn of(wanted: &ObjectMeta) -> Self {
        Self {
            labels: wanted.labels.clone(),
            annotations: wanted.annotations.clone(),
        }
    }

    /// Returns whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRecord {
    /// Its storage pool.
    pub pool: String,
    /// Its name there, as `web.1a2b3c4d.qcow2`.
    pub volume: String,
}
