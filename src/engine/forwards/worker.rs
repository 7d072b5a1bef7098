//! What the steps of a stand-alone forward do to the world.

use std::collections::BTreeSet;

use super::rules;
use crate::api::Uid;
use crate::engine::executor::Worker;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::Step as AnyStep;
use crate::plan::forward::Step;
use crate::store::{ForwardRecord, STORE_WAIT};

/// Does the steps of one forward.
#[derive(Debug)]
pub(super) struct ForwardWorker<'w> {
    world: &'w World,
    uid: Uid,
    /// The rules of all forwards of the run were made or removed at once.
    rules_are_right: bool,
}

impl<'w> ForwardWorker<'w> {
    /// Makes a worker.
    pub(super) const fn new(world: &'w World, uid: Uid) -> Self {
        let rules_are_right = false;
        Self {
            world,
            uid,
            rules_are_right,
        }
    }

    /// Leaves the rules as they are, if they are right.
    #[must_use]
    pub(super) const fn whose_rules_are_right(self, rules_are_right: bool) -> Self {
        Self {
            rules_are_right,
            ..self
        }
    }

    fn own(&self) -> BTreeSet<Uid> {
        BTreeSet::from([self.uid])
    }

    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Enforce { .. } | Step::Withdraw if self.rules_are_right => Ok(()),
            Step::Enforce { .. } => rules::enforce(self.world, &self.own()),
            Step::Withdraw => rules::withdraw(self.world, &self.own()),
            Step::Finish => self.finish(),
            Step::Forget => self.forget(),
        }
    }

    /// Makes the rules be those of the record as it is now.
    ///
    /// # Errors
    /// What the firewall or the store refuses.
    pub(super) fn again(&self) -> Result<()> {
        rules::enforce(self.world, &self.own())?;
        self.finish()
    }

    fn finish(&self) -> Result<()> {
        let store = self.world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        if let Some(mut record) = store.get::<ForwardRecord>(&self.uid)? {
            record.end();
            store.put(&record)?;
        }
        Ok(())
    }

    /// Removes the record.
    ///
    /// # Errors
    /// What the store refuses.
    pub(super) fn forget(&self) -> Result<()> {
        let store = self.world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        store.remove::<ForwardRecord>(&self.uid)?;
        Ok(())
    }
}

impl Worker for ForwardWorker<'_> {
    fn run(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Forward(step) => self.step(step),
            other => Err(Error::failed(format!(
                "not a step of a forward: {}",
                other.describe()
            ))),
        }
    }

    fn undo(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Forward(Step::Enforce { .. }) => rules::withdraw(self.world, &self.own()),
            // The record goes last: it alone leads the next run to the rules.
            _ => Ok(()),
        }
    }
}
