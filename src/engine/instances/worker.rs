//! What the steps of an instance do to the world. Every step is idempotent and finds its things by
//! names that carry the identity.

use std::sync::OnceLock;

use super::addresses::{self, absent_is_fine};
use super::prepare::{Prepared, SERIAL_LOG};
use super::{metadata, plug, plug_disk};
use crate::api::{Name, Uid};
use crate::cloudinit::{HostKey, Seed};
use crate::error::{Error, Result};
use crate::host::IsoMaker;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::xml::volume::VolumeXml;
use crate::libvirt::{Domain, Host, ObjectMetadata, Undefine};
use crate::observe::World;
use crate::plan::Step as AnyStep;
use crate::plan::instance::{Overlay, Step, VolumeRef};
use crate::store::{InstanceRecord, Intent, NicRecord, STORE_WAIT, SeedState, SlotTable};

use super::super::executor::Worker;
use super::super::forwards;
use super::super::guest;
use super::super::power;
use super::super::snapshots;
use super::super::snapshots::memory;

/// What a creation needs beyond the identity.
#[derive(Debug)]
pub(super) struct Making {
    /// Everything looked up.
    pub(super) prepared: Prepared,
    /// Its interfaces.
    pub(super) nics: Vec<NicRecord>,
    /// Its SSH host key.
    pub(super) host_key: HostKey,
    /// What its metadata says.
    pub(super) metadata: ObjectMetadata,
    /// Its record.
    pub(super) record: InstanceRecord,
}

/// Does the steps of one instance.
#[derive(Debug)]
pub(super) struct InstanceWorker<'w> {
    world: &'w World,
    name: Name,
    uid: Uid,
    making: Option<Making>,
    change: Option<(InstanceRecord, ObjectMetadata)>,
    seed_hash: OnceLock<String>,
    /// Its list of ports is what is asked for now, so it must lead somewhere.
    ports_asked: bool,
}

impl<'w> InstanceWorker<'w> {
    /// Makes a worker for what needs only the identity.
    pub(super) const fn new(world: &'w World, name: Name, uid: Uid) -> Self {
        Self {
            world,
            name,
            uid,
            making: None,
            change: None,
            seed_hash: OnceLock::new(),
            ports_asked: false,
        }
    }

    /// Makes a worker for a creation.
    pub(super) fn making(world: &'w World, making: Making) -> Self {
        let (name, uid) = (making.prepared.name.clone(), making.prepared.uid);
        Self {
            making: Some(making),
            ports_asked: true,
            ..Self::new(world, name, uid)
        }
    }

    /// Makes a worker for a changed spec.
    pub(super) fn changing(
        world: &'w World,
        record: InstanceRecord,
        metadata: ObjectMetadata,
    ) -> Self {
        let (name, uid) = (record.name.clone(), record.uid);
        Self {
            change: Some((record, metadata)),
            ..Self::new(world, name, uid)
        }
    }

    /// Says whether the list of ports is among what is asked for now.
    #[must_use]
    pub(super) fn whose_ports_are_asked(self, ports_asked: bool) -> Self {
        Self {
            ports_asked,
            ..self
        }
    }

    fn host(&self) -> Result<&Host> {
        Ok(self.world.host()?)
    }

    /// Returns the domain, if it is there. What has another identity is not ours to touch.
    fn domain(&self) -> Result<Option<Domain>> {
        match self.host()?.domain_by_uid(self.uid) {
            Ok(domain) => Ok(Some(domain)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn required(&self) -> Result<Domain> {
        self.domain()?.ok_or_else(|| {
            Error::not_found(format!(
                "the domain of instance {:?} is gone",
                self.name.as_str()
            ))
        })
    }

    fn made(&self) -> Result<&Making> {
        self.making
            .as_ref()
            .ok_or_else(|| Error::failed("this plan makes nothing"))
    }

    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Reserve(r) => addresses::reserve(self.host()?, r),
            Step::CreateOverlay(overlay) => self.create_overlay(overlay),
            Step::CreateSeed(volume) => self.create_seed(volume),
            Step::CreateLog(volume) => self.create_log(volume),
            Step::Define => self.define(),
            Step::Autostart(on) => self.autostart(*on),
            Step::Start => self.start(),
            Step::Finish => self.finish(),
            Step::Forward(_) => {
                forwards::enforce_led_to(self.world, self.uid, &self.name, self.ports_asked)
            }
            Step::Unforward => forwards::withdraw(self.world, &self.led_to()?),
            Step::Shutdown { grace } => self.shutdown(*grace),
            Step::Destroy => self.destroy(),
            Step::Undefine => self.undefine(),
            Step::DeleteVolume(volume) => self.delete_volume(volume),
            Step::Unreserve(r) => addresses::unreserve(self.host()?, r),
            Step::AddName(r) => addresses::add_name(self.host()?, r),
            Step::RemoveName(r) => addresses::remove_name(self.host()?, r),
            Step::ReleaseLease(r) => addresses::release_lease(self.host()?, r),
            Step::Forget => self.forget(),
            Step::Resize { cpus, memory } => {
                Ok(self
                    .required()?
                    .resize_config(self.host()?, *cpus, memory.kib())?)
            }
            Step::GrowDisk { capacity, volume } => self.grow(capacity.bytes(), volume),
            Step::Attach(nic) => plug::attach(self.host()?, &self.required()?, nic),
            Step::Detach(nic) => match self.domain()? {
                Some(domain) => plug::detach(self.host()?, &domain, nic),
                None => Ok(()),
            },
            Step::AttachDisk(disk) => plug_disk::attach(self.host()?, &self.required()?, disk),
            Step::DetachDisk(disk) => match self.domain()? {
                Some(domain) => plug_disk::detach(self.host()?, &domain, disk),
                None => Ok(()),
            },
            Step::Describe => self.describe(),
            Step::Suspend => Ok(self.required()?.suspend()?),
            Step::Resume => Ok(self.required()?.resume()?),
        }
    }

    fn led_to(&self) -> Result<std::collections::BTreeSet<Uid>> {
        forwards::led_to(self.world, self.uid, &self.name)
    }

    fn create_overlay(&self, overlay: &Overlay) -> Result<()> {
        let pool = self.host()?.pool(&overlay.volume.pool)?;
        let base = std::path::Path::new(&overlay.base);
        let (name, capacity) = (overlay.volume.name.as_str(), overlay.capacity.bytes());
        let xml = VolumeXml::overlay(name, capacity, base, &overlay.base_format);
        match pool.create_volume(&xml) {
            Ok(_) => Ok(()),
            // It carries our identity, so an earlier run made it; no guest has written to it yet.
            Err(e) if e.is_exists() => {
                pool.volume(name)?.delete()?;
                pool.create_volume(&xml)?;
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    fn create_seed(&self, volume: &VolumeRef) -> Result<()> {
        let making = self.made()?;
        let input = making.prepared.seed_input(
            &making.nics,
            Some(making.host_key.clone()),
            making.record.mask_key.clone(),
        );
        input.check()?;
        let _ = self.seed_hash.set(input.input_hash());
        upload_seed(self.host()?, volume, &Seed::new(&input))
    }

    fn create_log(&self, volume: &VolumeRef) -> Result<()> {
        let pool = self.host()?.pool(&volume.pool)?;
        match pool.create_volume(&VolumeXml::empty(&volume.name, "raw", 0)) {
            Err(e) if !e.is_exists() => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn define(&self) -> Result<()> {
        let making = self.made()?;
        let mut params = making.prepared.domain(&making.nics);
        params.metadata = Some(making.metadata.clone());
        let xml = DomainXml::for_instance(&params);
        self.host()?.define_domain(&xml)?;
        Ok(())
    }

    fn autostart(&self, on: bool) -> Result<()> {
        Ok(self.required()?.set_autostart(on)?)
    }

    fn start(&self) -> Result<()> {
        let domain = self.required()?;
        snapshots::finish_swaps(self.world, &domain, &crate::api::Silent)?;
        match domain.start() {
            Ok(()) => {}
            Err(e) if e.is_not_now() && domain.state()?.is_active() => {}
            Err(e) => return Err(e.into()),
        }
        snapshots::drop_kept(self.world, &domain)?;
        forwards::started(self.world, self.uid)
    }

    /// The record and the listing's row are written, then the intent goes.
    fn finish(&self) -> Result<()> {
        let making = self.made()?;
        let mut record = making.record.clone();
        record.seed = SeedState::Full;
        metadata::save(self.world, &record, &making.metadata)?;
        let store = self.world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        store.remove::<Intent>(&self.uid)?;
        Ok(())
    }

    fn shutdown(&self, grace: u64) -> Result<()> {
        let Some(domain) = self.domain()? else {
            return Ok(());
        };
        power::shutdown(self.world, &domain, std::time::Duration::from_secs(grace)).map(|_| ())
    }

    fn destroy(&self) -> Result<()> {
        match self.domain()? {
            Some(domain) if domain.state()?.is_active() => match domain.destroy() {
                Err(e) if !e.is_not_now() && !e.is_not_found() => Err(e.into()),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn undefine(&self) -> Result<()> {
        match self.domain()? {
            Some(domain) => {
                memory::release(self.world, &domain)?;
                absent_is_fine(domain.undefine(Undefine::Everything))
            }
            None => Ok(()),
        }
    }

    fn delete_volume(&self, volume: &VolumeRef) -> Result<()> {
        let pool = match self.host()?.pool(&volume.pool) {
            Ok(pool) => pool,
            Err(e) => return absent_is_fine(Err(e)),
        };
        // What was put aside of it goes first: the log leads the next run to it.
        if volume.name.ends_with(SERIAL_LOG) && pool.is_active()? {
            for piece in guest::rotated(self.host()?, &pool, &volume.name)? {
                absent_is_fine(piece.delete())?;
            }
        }
        match pool.find_volume(&volume.name)? {
            Some(found) => absent_is_fine(found.delete()),
            None => Ok(()),
        }
    }

    fn forget(&self) -> Result<()> {
        let store = self.world.store()?;
        let lock = store.lock(STORE_WAIT)?;
        let record = store.get::<InstanceRecord>(&self.uid)?;
        let intent = store.get::<Intent>(&self.uid)?;
        let mut nics = record.map(|r| r.nics).unwrap_or_default();
        nics.extend(intent.map(|i| i.nics).unwrap_or_default());
        give_back(store, &lock, self.uid, &nics)?;
        store.remove::<InstanceRecord>(&self.uid)?;
        store.update_index_locked(&lock, |index| {
            index.rows.remove(&self.uid);
        })?;
        store.remove::<Intent>(&self.uid)?;
        Ok(())
    }

    fn grow(&self, capacity: u64, volume: &VolumeRef) -> Result<()> {
        let volume = self.host()?.pool(&volume.pool)?.volume(&volume.name)?;
        if volume.info()?.capacity >= capacity {
            return Ok(());
        }
        match self.domain()? {
            Some(domain) if domain.state()?.is_active() => {
                Ok(domain.block_resize("vda", capacity)?)
            }
            _ => Ok(volume.resize(capacity)?),
        }
    }

    fn describe(&self) -> Result<()> {
        let (record, metadata) = self
            .change
            .as_ref()
            .ok_or_else(|| Error::failed("this plan changes nothing"))?;
        metadata::write(&self.required()?, metadata)?;
        metadata::save(self.world, record, metadata)
    }

    fn take_back(&self, step: &Step) -> Result<()> {
        match step {
            Step::Reserve(r) => addresses::unreserve(self.host()?, r),
            Step::AddName(r) => addresses::remove_name(self.host()?, r),
            Step::CreateOverlay(overlay) => self.delete_volume(&overlay.volume),
            Step::CreateSeed(volume) | Step::CreateLog(volume) => self.delete_volume(volume),
            Step::Define => self.undefine(),
            Step::Forward(_) => forwards::withdraw(self.world, &self.led_to()?),
            Step::Start => self.destroy(),
            // Record and intent stay until all else is gone: only they lead the next run to it.
            _ => Ok(()),
        }
    }
}

impl Worker for InstanceWorker<'_> {
    fn run(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Instance(step) => self.step(step),
            other => Err(Error::failed(format!(
                "not a step of an instance: {}",
                other.describe()
            ))),
        }
    }

    fn undo(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Instance(step) => self.take_back(step),
            _ => Ok(()),
        }
    }
}

/// Makes the ISO of a seed and puts it into the pool, 0600, in place of an older one.
pub(super) fn upload_seed(host: &Host, volume: &VolumeRef, seed: &Seed) -> Result<()> {
    let bytes = IsoMaker::find()?.bytes(&seed.files, crate::cloudinit::LABEL)?;
    let pool = host.pool(&volume.pool)?;
    if let Some(old) = pool.find_volume(&volume.name)? {
        old.delete()?;
    }
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let made = pool.create_volume(&VolumeXml::reserved(&volume.name, "raw", size))?;
    Ok(made.upload(&mut bytes.as_slice(), size, &mut |_| true)?)
}

/// Gives the address slots of an instance back.
fn give_back(
    store: &crate::store::Store,
    lock: &crate::store::StoreLock,
    uid: Uid,
    nics: &[NicRecord],
) -> Result<()> {
    for nic in nics {
        if let Some(network) = nic.network_uid {
            store.update_slots(lock, network, &nic.network, |table: &mut SlotTable| {
                table.take_back(uid);
                Ok::<(), Error>(())
            })?;
        }
    }
    Ok(())
}
