//! What the steps of a load balancer do to the world.

use super::{reach, serve};
use crate::api::Uid;
use crate::engine::executor::Worker;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::Step as AnyStep;
use crate::plan::balancer::Step;
use crate::store::{BalancerRecord, STORE_WAIT};

/// Does the steps of one balancer.
#[derive(Debug)]
pub(super) struct BalancerWorker<'w> {
    world: &'w World,
    uid: Uid,
    /// Nginx has forgotten all balancers of the run at once.
    is_forgotten: bool,
}

impl<'w> BalancerWorker<'w> {
    /// Makes a worker.
    pub(super) const fn new(world: &'w World, uid: Uid) -> Self {
        let is_forgotten = false;
        Self {
            world,
            uid,
            is_forgotten,
        }
    }

    /// Does not ask nginx to forget the balancer, if it has.
    #[must_use]
    pub(super) const fn of_forgotten(self, is_forgotten: bool) -> Self {
        Self {
            is_forgotten,
            ..self
        }
    }

    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Serve { .. } => self.serve(),
            Step::Withdraw => self.withdraw(),
            Step::Finish => self.finish(),
            Step::Forget => self.forget(),
        }
    }

    /// Makes nginx do what the record wants as it is now.
    ///
    /// # Errors
    /// What nginx or the store refuses.
    pub(super) fn again(&self) -> Result<()> {
        self.serve()?;
        self.finish()
    }

    fn serve(&self) -> Result<()> {
        if let Some(record) = self.world.store()?.get::<BalancerRecord>(&self.uid)? {
            reach::open(self.world, &record)?;
        }
        serve::serve(self.world, self.uid)
    }

    fn withdraw(&self) -> Result<()> {
        if !self.is_forgotten {
            serve::withdraw(self.world, &[self.uid])?;
        }
        // What is released then is what no record wants.
        self.write(|record| record.reaches.clear())?;
        reach::release(self.world)
    }

    /// Ends the intent.
    ///
    /// # Errors
    /// What the store refuses.
    pub(super) fn finish(&self) -> Result<()> {
        reach::release(self.world)?;
        self.write(BalancerRecord::end)
    }

    fn write(&self, change: impl FnOnce(&mut BalancerRecord)) -> Result<()> {
        let store = self.world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        if let Some(mut record) = store.get::<BalancerRecord>(&self.uid)? {
            change(&mut record);
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
        store.remove::<BalancerRecord>(&self.uid)?;
        Ok(())
    }
}

impl Worker for BalancerWorker<'_> {
    fn run(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Balancer(step) => self.step(step),
            other => Err(Error::failed(format!(
                "not a step of a load balancer: {}",
                other.describe()
            ))),
        }
    }

    fn undo(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Balancer(Step::Serve { .. }) => self.withdraw(),
            // The record goes last: it alone leads the next run to the rest.
            _ => Ok(()),
        }
    }
}
