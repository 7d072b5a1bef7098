//! What is being done to an object, written before it is begun.

use serde::{Deserialize, Serialize};

use super::Record;
use super::instance::NicRecord;
use super::records::FileRecord;
use crate::api::{Cidr, Kind, Name, Timestamp, Uid};

/// What is being done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IntentOp {
    /// It is being made.
    Create,
    /// It is being changed.
    Update,
    /// It is being deleted.
    Delete,
    /// It is being taken over from others.
    Adopt,
}

/// What was begun: written before the first side effect, removed after the last.
///
/// Whoever finds one whose object nobody holds locked finishes the work or takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// Identity of the object.
    pub uid: Uid,
    /// What is done.
    pub op: IntentOp,
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object.
    pub name: Name,
    /// When it was begun.
    pub started: Timestamp,
    /// Process that began it.
    pub pid: u32,
    /// Files that are made or removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRecord>,
    /// Interfaces whose addresses are reserved or given back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<NicRecord>,
    /// Whether ports of the host that lead to it are taken or given back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ports: bool,
    /// Range that a new network takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// Volumes that an instance had, or was about to have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Name>,
    /// Files that take the place of others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swaps: Vec<SwapRecord>,
    /// Instances that were stopped for it and are started at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<Name>,
    /// Name of the step that was last begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it stands still, for a person; never a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When deletion was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
}

/// A file that takes the place of another one in the same pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwapRecord {
    /// The file that is replaced.
    pub disk: FileRecord,
    /// Name of the new file.
    pub new: String,
    /// Name that the old file is kept under; it goes where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

impl Record for Intent {
    const DIR: &'static str = "intents";
    type Key = Uid;
    fn key(&self) -> Uid {
        self.uid
    }
}

impl Intent {
    /// Makes an intent of this process that plans nothing yet.
    pub fn new(op: IntentOp, kind: Kind, name: Name, uid: Uid) -> Self {
        let now = Timestamp::now();
        Self {
            uid,
            op,
            kind,
            name,
            started: now,
            pid: std::process::id(),
            files: Vec::new(),
            nics: Vec::new(),
            ports: false,
            cidr: None,
            volumes: Vec::new(),
            swaps: Vec::new(),
            restart: Vec::new(),
            step: None,
            message: None,
            deletion_timestamp: (op == IntentOp::Delete).then_some(now),
        }
    }
}
