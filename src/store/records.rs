//! What the records of several kinds are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{LabelKey, LabelValue};

/// Labels of an object.
pub type Labels = BTreeMap<LabelKey, LabelValue>;
/// Annotations of an object.
pub type Annotations = BTreeMap<LabelKey, String>;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRecord {
    /// Its storage pool.
    pub pool: String,
    /// Its name there, as `web.1a2b3c4d.qcow2`.
    pub volume: String,
}
