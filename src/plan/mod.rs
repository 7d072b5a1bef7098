//! Pure planning: desired and observed objects to ordered steps.
//!
//! A plan is data. `--dry-run` prints it, `diff` shows what it would change, the engine runs it; none
//! of them decides anything again. Each kind has a file with its own steps.

pub mod accelerator;
pub mod balancer;
pub mod forward;
mod graph;
pub mod image;
pub mod instance;
pub mod instance_change;
pub mod instance_type;
pub mod network;
mod reservation;
pub mod retention;
pub mod secret;
pub mod snapshot;
mod step;
pub mod volume;

pub use graph::levels;
pub use step::{Outcome, Step};

use crate::api::ObjectKey;

/// What is to be done for one object.
#[derive(Debug, Clone)]
pub struct ObjectPlan {
    /// The object.
    pub key: ObjectKey,
    /// What will have happened when all steps are done.
    pub outcome: Outcome,
    /// Stages in order; the steps of one stage do not depend on each other.
    pub stages: Vec<Vec<Step>>,
    /// What a person should know besides, as "takes effect at the next start".
    pub notes: Vec<String>,
}

impl ObjectPlan {
    /// Makes a plan that does nothing.
    pub const fn unchanged(key: ObjectKey) -> Self {
        Self {
            key,
            outcome: Outcome::Unchanged,
            stages: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Makes a plan of one step.
    pub fn single(key: ObjectKey, outcome: Outcome, step: Step) -> Self {
        Self {
            key,
            outcome,
            stages: vec![vec![step]],
            notes: Vec::new(),
        }
    }

    /// Returns all steps in the order in which they are printed.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flatten()
    }
}
