//! Load balancers: what nginx's files tell, and what they cannot.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{
    API_VERSION, BalancerTarget, LoadBalancer, LoadBalancerSpec, Name, ObjectMeta, PortMapping,
    PortNumber, Timestamp, Uid,
};

use super::intent::IntentOp;
use super::lock::ObjectLock;
use super::records::{Annotations, Labels};
use super::{Record, Result, Store};

/// A load balancer. It is written before nginx is told of it and removed after nginx has forgotten it,
/// so that it is the intent, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BalancerRecord {
    /// Its identity, which its file carries.
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
    pub spec: LoadBalancerSpec,
    /// What was last applied, before it was merged with what was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied: Option<AppliedBalancer>,
    /// Targets that failing health checks took out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out: Vec<TargetName>,
    /// Ports of the loopback by which targets are reached, where their addresses cannot be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<Reach>,
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
pub struct AppliedBalancer {
    /// Labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// The spec.
    pub spec: LoadBalancerSpec,
}

/// Which target is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetName {
    /// The instance.
    pub instance: Name,
    /// Port of the instance.
    pub port: PortNumber,
}

/// A port of the loopback that leads to a port of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reach {
    /// The instance.
    pub instance: Name,
    /// The ports, with the address of the loopback.
    pub ports: PortMapping,
}

/// The lock of whoever watches.
const WATCH: &str = "watch";

impl Record for BalancerRecord {
    const DIR: &'static str = "balancers";
    type Key = Uid;
    fn key(&self) -> Uid {
        self.uid
    }
}

impl From<&BalancerTarget> for TargetName {
    fn from(target: &BalancerTarget) -> Self {
        Self {
            instance: target.instance.clone(),
            port: target.port,
        }
    }
}

impl BalancerRecord {
    /// Makes the record of a balancer whose making begins with it.
    pub fn new(uid: Uid, name: Name, spec: LoadBalancerSpec) -> Self {
        Self {
            uid,
            name,
            labels: Labels::new(),
            annotations: Annotations::new(),
            generation: 1,
            created: Timestamp::now(),
            spec,
            last_applied: None,
            out: Vec::new(),
            reaches: Vec::new(),
            begun: None,
            pid: None,
            deletion_timestamp: None,
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

    /// Returns whether its deletion has begun.
    pub fn is_going(&self) -> bool {
        self.begun == Some(IntentOp::Delete)
    }

    /// Returns the object, without a status.
    pub fn object(&self) -> LoadBalancer {
        LoadBalancer {
            api_version: API_VERSION.to_owned(),
            kind: "LoadBalancer".to_owned(),
            metadata: ObjectMeta {
                labels: self.labels.clone(),
                annotations: self.annotations.clone(),
                uid: Some(self.uid),
                creation_timestamp: Some(self.created),
                generation: Some(self.generation),
                deletion_timestamp: self.deletion_timestamp,
                ..ObjectMeta::named(self.name.clone())
            },
            spec: self.spec.clone(),
            status: None,
        }
    }
}

impl Store {
    /// Locks what nginx is told, for as long as it takes to work that out and to tell it.
    ///
    /// # Errors
    /// [`super::StoreError::Busy`] with the holder after `wait`.
    pub fn lock_balancers(&self, wait: Duration) -> Result<ObjectLock<'_>> {
        ObjectLock::acquire(self.writable()?, "load balancers", wait)
    }

    /// Takes the right to watch the targets of the load balancers.
    ///
    /// # Errors
    /// [`super::StoreError::Busy`] with the run that watches.
    pub fn lock_watch(&self) -> Result<ObjectLock<'_>> {
        // Whoever looks whether somebody watches is in the way for a moment.
        ObjectLock::acquire(self.writable()?, WATCH, Duration::from_secs(1))
    }

    /// Returns whether somebody watches them at this moment.
    pub fn is_watched(&self) -> bool {
        self.is_held(WATCH)
    }

    /// Finds a load balancer by name.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn balancer_named(&self, name: &Name) -> Result<Option<BalancerRecord>> {
        let all = self.all::<BalancerRecord>()?;
        Ok(all.into_iter().find(|record| record.name == *name))
    }
}
