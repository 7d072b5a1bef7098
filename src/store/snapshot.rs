//! Snapshots: the same text lies as a sidecar beside the files of each, so that they can be rebuilt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{
    Consistency, DiskFormat, Name, Quantity, SnapshotSource, SnapshotSpec, Timestamp, Uid,
};

use super::{Annotations, AppliedMeta, FileRecord, Labels, Record};

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRecord {
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
    /// When it was asked for.
    pub created: Timestamp,
    /// What is wanted.
    pub spec: SnapshotSpec,
    /// What it was taken of.
    pub source: SnapshotSource,
    /// The moment that it shows, once it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Timestamp>,
    /// What state the file systems are in: never `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// Whether a guest ran while it was taken.
    #[serde(default)]
    pub running: bool,
    /// The domain of that guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Uid>,
    /// The snapshot that it stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Uid>,
    /// Version of the QEMU that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_version: Option<String>,
    /// Milliseconds for which the guest's file systems were frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ms: Option<u64>,
    /// Checkpoint of the domain, from which the next one can tell what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// Its disks; none where its state lies in the disks of the instance itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<SnapshotDiskRecord>,
}

/// One disk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotDiskRecord {
    /// `root`, or `vol-` and the volume's name.
    pub name: String,
    /// The volume, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Name>,
    /// The volume's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Name libvirt had for the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The file that it is a copy of.
    pub source: FileRecord,
    /// Format of the original: never guessed again.
    pub format: DiskFormat,
    /// The file that it is stored in: qcow2, whatever the original is.
    pub file: FileRecord,
    /// Size that a guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<Quantity>,
    /// What the original took on the host, which a restore takes again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<Quantity>,
    /// Length of the stored file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_size: Option<Quantity>,
    /// SHA-256 of the stored file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether only what changed since the parent is in it.
    #[serde(default)]
    pub incremental: bool,
}

impl Record for SnapshotRecord {
    const DIR: &'static str = "snapshots";
    type Key = Name;
    fn key(&self) -> Name {
        self.name.clone()
    }
}

impl SnapshotRecord {
    /// Returns where the record is kept beside its files; nowhere, where it has none.
    pub fn sidecar(&self) -> Option<FileRecord> {
        self.disks.first().map(|disk| FileRecord {
            pool: disk.file.pool.clone(),
            volume: format!("{}{SIDECAR}", self.prefix()),
        })
    }

    /// Returns what the names of all its files begin with.
    pub fn prefix(&self) -> String {
        format!("{}.{}", self.name, self.uid.short())
    }

    /// Returns the name of the file that a disk is stored in.
    pub fn file_of(&self, disk: &str) -> String {
        format!("{}.{disk}{STORED}", self.prefix())
    }

    /// Returns what libvirt calls it: its checkpoint, or its state within the disks.
    pub fn name_in_libvirt(&self) -> String {
        format!("{IN_LIBVIRT}{}", self.uid)
    }

    /// Returns whether it is there, whole.
    pub const fn is_taken(&self) -> bool {
        self.taken.is_some()
    }

    /// Returns the lengths of its files together.
    pub fn stored_size(&self) -> Option<Quantity> {
        sum(self.disks.iter().map(|d| d.stored_size))
    }

    /// Returns the sizes of its disks together.
    pub fn virtual_size(&self) -> Option<Quantity> {
        sum(self.disks.iter().map(|d| d.virtual_size))
    }
}

/// How the names begin that libvirt has for what is ours.
pub const IN_LIBVIRT: &str = "kvmctl-";
/// How the names of sidecars end.
pub const SIDECAR: &str = ".snapshot.json";
/// How the names of stored disks end.
pub const STORED: &str = ".snap.qcow2";

impl SnapshotDiskRecord {
    /// Returns the name of the file while it is being written.
    pub fn part(&self) -> FileRecord {
        self.beside(".part")
    }

    /// Returns the name of what QEMU itself writes of a disk in use, before it is compressed.
    pub fn staged(&self) -> FileRecord {
        self.beside(".raw")
    }

    fn beside(&self, suffix: &str) -> FileRecord {
        FileRecord {
            pool: self.file.pool.clone(),
            volume: format!("{}{suffix}", self.file.volume),
        }
    }
}

fn sum(sizes: impl Iterator<Item = Option<Quantity>>) -> Option<Quantity> {
    let sizes: Option<Vec<u64>> = sizes.map(|s| s.map(Quantity::bytes)).collect();
    sizes.and_then(|s| Quantity::from_bytes(s.iter().sum()))
}
