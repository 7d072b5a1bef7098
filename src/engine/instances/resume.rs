//! Goes on where a killed run stopped.
//!
//! What is safe depends on how far it came. Without a domain nothing has run yet, and the disk can be
//! made again under the same identity. Once the domain is defined its guest may have run for days:
//! then only the end of the creation is made up for, and never is a disk replaced.

use super::create::begin_creation;
use super::metadata::{self, note};
use super::nics::{self, NicChange};
use super::prepare;
use super::volumes;
use super::worker::InstanceWorker;
use crate::api::{Kind, ObjectKey, Reporter, Uid, VolumeAttachment};
use crate::error::{Error, Result};
use crate::libvirt::Domain;
use crate::observe::World;
use crate::plan::Outcome;
use crate::plan::instance::{Step, from_stages};
use crate::plan::instance_change::{self, DeviceSteps};
use crate::store::{InstanceRecord, Intent, IntentOp, NicRecord, STORE_WAIT, SeedState, StoreLock};

use super::super::executor::execute;
use super::super::forwards;

/// An instance whose making was begun.
pub(super) struct HalfMade {
    /// What it is to be.
    pub(super) record: InstanceRecord,
    /// What was begun.
    pub(super) intent: Intent,
    /// Its domain, if it came so far.
    pub(super) domain: Option<Domain>,
}

impl HalfMade {
    /// Returns the domain if everything that it stands on is there.
    ///
    /// # Errors
    /// What libvirt refuses.
    pub(super) fn standing(&self, world: &World) -> Result<Option<&Domain>> {
        let Some(domain) = &self.domain else {
            return Ok(None);
        };
        if domain.state()?.is_active() {
            return Ok(Some(domain));
        }
        for file in &self.record.files {
            let pool = world.host()?.pool(&file.pool)?;
            if pool.find_volume(&file.volume)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(domain))
    }

    /// Makes up for the last steps: the guest is started and the record written.
    ///
    /// # Errors
    /// What libvirt refuses; the intent stays, and nothing is undone.
    pub(super) fn finish(
        &self,
        world: &World,
        key: &ObjectKey,
        reporter: &dyn Reporter,
    ) -> Result<InstanceRecord> {
        let mut record = self.record.clone();
        record.seed = SeedState::Full;
        begin_creation(world, &record, self.intent.clone())?;
        let autostart = record.spec.autostart.unwrap_or(true);
        let last = vec![Step::Autostart(autostart), Step::Start];
        let stages = vec![last, vec![Step::Describe]];
        let plan = from_stages(key.clone(), Outcome::Configured, stages);
        let metadata = metadata::of(&record)?;
        let worker = InstanceWorker::changing(world, record.clone(), metadata);
        execute(&plan, &worker, reporter)?;
        end(world, &record)?;
        let told = "an interrupted creation was finished";
        note(world, key, Some(record.uid), "Created", told);
        Ok(record)
    }
}

/// Makes a change of the spec whole that a killed run left half done: the record says what is wanted,
/// and everything that can differ is brought to it.
///
/// # Errors
/// What libvirt refuses; the intent stays.
pub(super) fn finish_change(
    world: &World,
    key: &ObjectKey,
    record: &InstanceRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    let root = prepare::volume(&world.settings().pool, &record.name, record.uid, "qcow2");
    let size = match record.adopted {
        true => None,
        false => Some(prepare::size(world, &record.spec)?),
    };
    let intent = intent_of(world, record)?;
    let moved = intent.as_ref().is_some_and(|i| i.ports);
    let (going, touched) = intent.map(|i| (i.nics, i.volumes)).unwrap_or_default();
    let devices = DeviceSteps {
        nics: nics::settle(record, &going),
        disks: volumes::settle(world, record, &touched)?,
    };
    let ports = moved.then(|| record.ports.clone());
    let plan = instance_change::settle(key.clone(), &record.spec, size, root, &devices, ports);
    let metadata = metadata::of(record)?;
    let worker = InstanceWorker::changing(world, record.clone(), metadata);
    execute(&plan, &worker, reporter)?;
    end(world, record)
}

/// Chooses the addresses of interfaces that come, and writes down what an instance is about to
/// become, in one breath and before anything of it changes. With the record from before, the ports
/// of the host that its list asks for now are taken in the same breath.
///
/// # Errors
/// A full network, or an address or port that is taken; what the store refuses.
pub(super) fn begin_change(
    world: &World,
    record: &mut InstanceRecord,
    before: &InstanceRecord,
    change: &NicChange,
    moved: bool,
) -> Result<()> {
    let lock = world.store()?.lock(STORE_WAIT)?;
    volumes::claim(world, &lock, record.uid, &new_volumes(before, record))?;
    record.nics = change.allocate(world, record)?;
    if moved {
        let (uid, name) = (record.uid, &record.name);
        let before = Some(before);
        record.ports = forwards::take_ports(world, &lock, before, uid, name, &record.spec)?;
    }
    begin(world, &lock, record, &change.going, before, moved)
}

/// What it has already is its own; only what comes has to be free.
fn new_volumes(before: &InstanceRecord, after: &InstanceRecord) -> Vec<VolumeAttachment> {
    let had = |v: &&VolumeAttachment| before.spec.volumes.contains(v);
    let new = after.spec.volumes.iter().filter(|v| !had(v));
    new.cloned().collect()
}

fn begin(
    world: &World,
    _lock: &StoreLock,
    record: &InstanceRecord,
    going: &[NicRecord],
    other: &InstanceRecord,
    ports: bool,
) -> Result<()> {
    let store = world.store()?;
    let name = record.name.clone();
    let mut intent = Intent::new(IntentOp::Update, Kind::Instance, name, record.uid);
    intent.nics = going.to_vec();
    intent.ports = ports;
    let volumes = record.spec.volumes.iter().chain(&other.spec.volumes);
    intent.volumes = volumes.map(|v| v.name.clone()).collect();
    store.put(&intent)?;
    Ok(store.put(record)?)
}

fn intent_of(world: &World, record: &InstanceRecord) -> Result<Option<Intent>> {
    Ok(world.store()?.get::<Intent>(&record.uid)?)
}

/// A change that libvirt refused is no change: the record is as before, and so is the domain where
/// that can be; otherwise the intent stays.
pub(super) fn take_back_change(
    world: &World,
    key: &ObjectKey,
    before: &InstanceRecord,
    after: &InstanceRecord,
    error: Error,
) -> Error {
    let back = || {
        let lock = world.store()?.lock(STORE_WAIT)?;
        let moved = before.ports != after.ports;
        begin(world, &lock, before, &after.nics, after, moved)?;
        drop(lock);
        finish_change(world, key, before, &crate::api::Silent)
    };
    match back() {
        Ok(()) => error,
        Err(left) => error.caused_by(format!("could not take the change back: {left}")),
    }
}

/// The intent goes last.
pub(super) fn end(world: &World, record: &InstanceRecord) -> Result<()> {
    let store = world.store()?;
    let lock = store.lock(STORE_WAIT)?;
    if let Some(intent) = intent_of(world, record)?.filter(|i| i.op == IntentOp::Update) {
        nics::settle_slots(world, &lock, record, &intent)?;
    }
    store.remove::<Intent>(&record.uid)?;
    Ok(())
}

/// After a creation that was not wholly undone: why it stands still, for the next who looks.
pub(super) fn stuck(world: &World, uid: Uid, why: &str) {
    let kept = world.store().and_then(|store| {
        let _lock = store.lock(STORE_WAIT)?;
        if let Some(mut intent) = store.get::<Intent>(&uid)? {
            intent.message = Some(why.to_owned());
            store.put(&intent)?;
        }
        Ok(())
    });
    if let Err(error) = kept {
        tracing::warn!(target: "store", "cannot write why the creation stands still: {error}");
    }
}
