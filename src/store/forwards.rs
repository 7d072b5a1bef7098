//! Stand-alone forwards: of what they want, rules of the firewall could tell only a part.

use serde::{Deserialize, Serialize};

use crate::api::{Name, PortForwardSpec, PortMapping, Timestamp, Uid};

use super::intent::IntentOp;
use super::records::{Annotations, Labels};
use super::{Record, Result, Store};

/// A stand-alone forward. It is written before the first rule is made and removed after the last one
/// is gone, so that it is the intent, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardRecord {
    /// Its identity, which its rules carry.
    pub uid: Uid,
    /// Its name.
    pub name: Name,
    /// Labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// Counts the changes of the spec.
    pub generation: u64,
    /// When it was made.
    pub created: Timestamp,
    /// What is wanted.
    pub spec: PortForwardSpec,
    /// What was last applied, before it was merged with what was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied: Option<AppliedForward>,
    /// Port of the host that it has: never 0, and the same as long as the spec asks for it.
    pub host_port: u16,
    /// What was begun and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<IntentOp>,
    /// Process that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When its deletion was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
}

/// The manifest as it was last applied, for three-way merges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppliedForward {
    /// Labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// The spec.
    pub spec: PortForwardSpec,
}

impl Record for ForwardRecord {
    const DIR: &'static str = "forwards";
    type Key = Uid;
    fn key(&self) -> Uid {
        self.uid
    }
}

impl ForwardRecord {
    /// Returns the ports, with that of the host which was taken.
    pub fn mapping(&self) -> PortMapping {
        PortMapping {
            host: self.host_port,
            ..self.spec.mapping()
        }
    }

    /// Notes what this process begins, and for a deletion when it was asked for.
    pub fn begin(&mut self, op: IntentOp) {
        self.begun = Some(op);
        self.pid = Some(std::process::id());
        if op == IntentOp::Delete {
            self.deletion_timestamp.get_or_insert_with(Timestamp::now);
        }
    }

    /// Notes that nothing is left to be done.
    pub fn end(&mut self) {
        self.begun = None;
        self.pid = None;
    }
}

impl Store {
    /// Finds a stand-alone forward by name.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn forward_named(&self, name: &Name) -> Result<Option<ForwardRecord>> {
        let all = self.all::<ForwardRecord>()?;
        Ok(all.into_iter().find(|record| record.name == *name))
    }
}
