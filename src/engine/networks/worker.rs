//! What the steps of a network do to the world. Every step is idempotent and finds the network by its
//! identity.

use crate::api::Uid;
use crate::engine::executor::Worker;
use crate::error::{Error, Result};
use crate::libvirt::Network;
use crate::libvirt::xml::network::NetworkXml;
use crate::observe::World;
use crate::plan::Step as AnyStep;
use crate::plan::network::Step;
use crate::store::{Intent, STORE_WAIT, SlotTable};

/// Does the steps of one network.
#[derive(Debug)]
pub(super) struct NetworkWorker<'w> {
    world: &'w World,
    uid: Uid,
    new: Option<NetworkXml>,
    changed: Option<String>,
}

impl<'w> NetworkWorker<'w> {
    /// Makes a worker for what needs only the identity.
    pub(super) const fn new(world: &'w World, uid: Uid) -> Self {
        Self {
            world,
            uid,
            new: None,
            changed: None,
        }
    }

    /// Makes a worker for a creation.
    pub(super) fn making(world: &'w World, uid: Uid, definition: NetworkXml) -> Self {
        Self {
            new: Some(definition),
            ..Self::new(world, uid)
        }
    }

    /// Makes a worker for a changed definition.
    pub(super) fn changing(world: &'w World, uid: Uid, text: String) -> Self {
        Self {
            changed: Some(text),
            ..Self::new(world, uid)
        }
    }

    fn network(&self) -> Result<Option<Network>> {
        match self.world.host()?.network_by_uid(self.uid) {
            Ok(network) => Ok(Some(network)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn required(&self) -> Result<Network> {
        self.network()?
            .ok_or_else(|| Error::not_found(format!("the network {} is gone", self.uid)))
    }

    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Define => self.define(),
            Step::Start => self.start(),
            Step::Autostart(on) => Ok(self.required()?.set_autostart(*on)?),
            Step::Redefine => self.redefine(),
            Step::Stop => self.stop(),
            Step::Undefine => self.undefine(),
            Step::Finish => self.end(),
            Step::Forget => self.forget(),
        }
    }

    fn define(&self) -> Result<()> {
        let nothing = || Error::failed("this plan makes nothing");
        let definition = self.new.as_ref().ok_or_else(nothing)?;
        if self.network()?.is_none() {
            self.world.host()?.define_network(definition)?;
        }
        Ok(())
    }

    fn start(&self) -> Result<()> {
        let network = self.required()?;
        if !network.is_active()? {
            network.start()?;
        }
        Ok(())
    }

    fn redefine(&self) -> Result<()> {
        let nothing = || Error::failed("this plan changes nothing");
        let text = self.changed.as_ref().ok_or_else(nothing)?;
        Ok(self.required()?.redefine(self.world.host()?, text)?)
    }

    fn stop(&self) -> Result<()> {
        let Some(network) = self.network()? else {
            return Ok(());
        };
        if !network.is_active()? {
            return Ok(());
        }
        match network.stop() {
            // Somebody else was faster.
            Err(e) if e.is_not_found() || e.is_not_now() => Ok(()),
            other => Ok(other?),
        }
    }

    fn undefine(&self) -> Result<()> {
        let Some(network) = self.network()? else {
            return Ok(());
        };
        match network.undefine() {
            Err(e) if e.is_not_found() => Ok(()),
            other => Ok(other?),
        }
    }

    /// Ends the intent; what the network offers to completion is kept up to date.
    fn end(&self) -> Result<()> {
        let name = self.network()?.map(|n| n.name);
        let name = name.and_then(|n| crate::api::Name::new(n).ok());
        let store = self.world.store()?;
        let lock = store.lock(STORE_WAIT)?;
        store.update_index_locked(&lock, |index| {
            if let Some(name) = name {
                index.networks.insert(self.uid, name);
            }
        })?;
        store.remove::<Intent>(&self.uid)?;
        Ok(())
    }

    /// Removes what the store knows of the network, the intent last.
    ///
    /// # Errors
    /// What the store refuses.
    pub(super) fn forget(&self) -> Result<()> {
        let store = self.world.store()?;
        let lock = store.lock(STORE_WAIT)?;
        store.update_index_locked(&lock, |index| {
            index.networks.remove(&self.uid);
        })?;
        store.remove::<SlotTable>(&self.uid)?;
        store.remove::<Intent>(&self.uid)?;
        Ok(())
    }
}

impl Worker for NetworkWorker<'_> {
    fn run(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Network(step) => self.step(step),
            other => Err(Error::failed(format!(
                "{} is no step of a network",
                other.describe()
            ))),
        }
    }

    fn undo(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Network(Step::Define) => self.undefine(),
            AnyStep::Network(Step::Start) => self.stop(),
            _ => Ok(()),
        }
    }
}
