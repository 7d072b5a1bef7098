//! What a caller may ask of an operation, and what it is told.

use std::time::Duration;

use crate::api::{Accelerator, Kind, ObjectKey};
use crate::plan::Outcome;

/// How many objects are worked on at once.
///
/// Starting a guest is mostly waiting for libvirt and QEMU, so more than the cores of a small host.
pub const WIDTH: usize = 4;

/// What an object that exists already means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// An error.
    Create,
    /// The object is changed: what is wanted is merged with what was applied last and what is there.
    Apply,
    /// The object's labels, annotations and spec become what is given, whole.
    Replace,
}

/// How far an operation goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DryRun {
    /// All the way.
    #[default]
    None,
    /// Nobody is contacted.
    Client {
        /// Print the commands that would do the same.
        explain: bool,
    },
    /// Everything is checked against libvirt, and nothing is changed.
    Server {
        /// Print the commands that would do the same.
        explain: bool,
    },
}

/// Where instances are made, as far as the context says it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Storage pool.
    pub pool: String,
    /// Network of instances that name none.
    pub network: String,
    /// How CPUs are run.
    pub accelerator: Accelerator,
}

/// How to apply.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// What an existing object means.
    pub mode: ApplyMode,
    /// How far to go.
    pub dry_run: DryRun,
    /// Wait so long for instances to become Ready.
    pub wait: Option<Duration>,
    /// The caller treats "nothing changed" as a result of its own.
    pub error_unchanged: bool,
}

/// How to delete.
#[derive(Debug, Clone)]
pub struct DeleteOptions {
    /// Seconds that a running guest gets to shut down; 0 cuts the power.
    pub grace: u64,
    /// How far to go.
    pub dry_run: DryRun,
    /// Wait until the object is gone.
    pub wait: bool,
    /// How long the whole may take.
    pub timeout: Option<Duration>,
    /// An object that does not exist is no error.
    pub ignore_not_found: bool,
    /// What a dry run has deleted before, and is there all the same.
    pub gone: Vec<ObjectKey>,
}

impl DeleteOptions {
    /// Returns whether an instance is one that a dry run has deleted before.
    pub(in crate::engine) fn has_deleted(&self, instance: &str) -> bool {
        let mut gone = self.gone.iter().filter(|key| key.kind == Kind::Instance);
        gone.any(|key| key.name.as_str() == instance)
    }
}

impl Default for DeleteOptions {
    fn default() -> Self {
        Self {
            grace: 30,
            dry_run: DryRun::None,
            wait: true,
            timeout: None,
            ignore_not_found: false,
            gone: Vec::new(),
        }
    }
}

/// What came of one object.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The object.
    pub key: ObjectKey,
    /// What happened to it, or would.
    pub outcome: Outcome,
    /// What a person should know besides.
    pub notes: Vec<String>,
    /// The steps and the commands that would do the same, for a dry run.
    pub explanation: Vec<String>,
}
