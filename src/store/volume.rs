//! Volumes: the same text lies as a sidecar beside each in its pool, so that they can be rebuilt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{DiskFormat, Name, Timestamp, Uid, VolumeSpec, disk_serial};

use super::{Annotations, AppliedMeta, FileRecord, Labels, Record};

/// What is known of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRecord {
    /// Its name.
    pub name: Name,
    /// Its identity.
    pub uid: Uid,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// What a manifest asked for last.
    #[serde(default, skip_serializing_if = "AppliedMeta::is_empty")]
    pub applied: AppliedMeta,
    /// Counts the changes of the spec.
    pub generation: u64,
    /// When it was made.
    pub created: Timestamp,
    /// The file that it is.
    pub file: FileRecord,
    /// Format of its bytes: never guessed again, because a guest can write any header on its disk.
    pub format: DiskFormat,
    /// What is wanted of it.
    pub spec: VolumeSpec,
}

impl Record for VolumeRecord {
    const DIR: &'static str = "volumes";
    type Key = Name;
    fn key(&self) -> Name {
        self.name.clone()
    }
}

impl VolumeRecord {
    /// Returns the name of the volume that the record is kept in beside it.
    pub fn sidecar(&self) -> String {
        format!("{}.json", self.file.volume)
    }

    /// Returns whether there is one: where there are no files the name of the volume holds the whole
    /// identity instead.
    pub fn has_sidecar(&self) -> bool {
        !self.file.volume.contains(&self.uid.to_string())
    }

    /// Returns the name of the stand-alone copy that an export may need for a while.
    pub fn copy_for_export(&self) -> String {
        format!("{}.export", self.file.volume)
    }

    /// Returns the serial that guests see.
    pub fn serial(&self) -> String {
        disk_serial(self.uid)
    }
}
