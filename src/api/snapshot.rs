//! Snapshots: what a volume, or all volumes of an instance, held at one moment.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::image::DiskFormat;
use super::kind::Kind;
use super::meta::{ObjectMeta, Timestamp, Uid};
use super::name::Name;
use super::quantity::Quantity;
use super::volume::{UnknownWord, word_enum};

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// `kvmctl/v1`.
    pub api_version: String,
    /// `Snapshot`.
    pub kind: String,
    /// Name, labels and identity.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: SnapshotSpec,
    /// What is observed. Ignored in a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<SnapshotStatus>,
}

/// What a snapshot is taken of, and how. Only the description can be changed later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotSpec {
    /// The volume that it is taken of; this or `instance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Name>,
    /// The instance whose disks it is taken of, all at one moment; this or `volume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What state the file systems must be in; `auto` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// The snapshot after which only what changed is stored, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Name>,
    /// Whether the guest's memory is kept, too, so that the instance can be reverted to it as it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
    /// It is one of a row of which only the newest so many are kept: when it has been taken, older
    /// ones of the same source that say this, too, are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<u32>,
}

impl SnapshotSpec {
    /// Returns kind and name of what it is taken of; nothing where the spec is not valid.
    pub fn source(&self) -> Option<(Kind, &Name)> {
        match (&self.volume, &self.instance) {
            (Some(volume), None) => Some((Kind::Volume, volume)),
            (None, Some(instance)) => Some((Kind::Instance, instance)),
            _ => None,
        }
    }
}

word_enum!(
    /// What state the file systems of a snapshot are in.
    Consistency {
        /// The best that can be had.
        Auto = "auto",
        /// As after a power cut: what the guest had not written yet is missing.
        Crash = "crash",
        /// As after a shutdown: the guest had written everything.
        Filesystem = "filesystem",
    }
);

/// Where a snapshot stands in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SnapshotPhase {
    /// It is being taken.
    #[default]
    Pending,
    /// It is there, whole.
    Ready,
    /// A file of it, or what libvirt has of it, is not where it should be.
    Failed,
    /// Its deletion was begun and has not ended.
    Terminating,
}

impl fmt::Display for SnapshotPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "Pending",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
        })
    }
}

/// What is observed of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotStatus {
    /// Where it stands.
    pub phase: SnapshotPhase,
    /// Why, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether kvmctl made it.
    pub managed: bool,
    /// `Ready`, once it is there whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What it was taken of, which may be gone by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SnapshotSource>,
    /// The moment that it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// `filesystem` or `crash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// Whether a guest ran while it was taken.
    #[serde(default)]
    pub running: bool,
    /// Milliseconds for which the guest's file systems were frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ms: Option<u64>,
    /// The snapshot that it stands on; it stands alone when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Name>,
    /// Snapshots that stand on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Name>,
    /// Whether it has the guest's memory.
    #[serde(default)]
    pub memory: bool,
    /// Sizes of its disks as guests see them, together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<Quantity>,
    /// What it takes on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_size: Option<Quantity>,
    /// Version of the QEMU that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_version: Option<String>,
    /// Its disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<SnapshotDisk>,
}

/// What a snapshot was taken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotSource {
    /// `Volume` or `Instance`.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Its identity.
    pub uid: Uid,
}

impl fmt::Display for SnapshotSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind, self.name))
    }
}

/// One disk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotDisk {
    /// `root`, or `vol-` and the volume's name.
    pub name: String,
    /// The volume, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Name>,
    /// Name libvirt had for the disk, as `vda`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Format of the original, which a restore gives it again.
    pub format: DiskFormat,
    /// Size that a guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<Quantity>,
    /// What it takes on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_size: Option<Quantity>,
    /// SHA-256 of the stored file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether only what changed since the parent is in it.
    #[serde(default)]
    pub incremental: bool,
    /// Storage pool that the file lies in.
    pub pool: String,
    /// Its name there.
    pub file: String,
    /// Its path on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}
