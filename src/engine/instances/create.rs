//! Makes an instance: everything is looked up, then written down as intent, then made.

use super::super::executor::execute;
use super::super::forwards;
use super::super::options::Applied;
use super::allocate::{self, Own};
use super::apply::told;
use super::masks::unmask;
use super::metadata::{self, note, warn};
use super::prepare::Prepared;
use super::volumes;
use super::worker::{InstanceWorker, Making};
use super::{explain, resume};
use crate::api::{Instance, Kind, ObjectKey, Reporter, Uid};
use crate::cloudinit::HostKey;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::instance as plan_instance;
use crate::store::{InstanceRecord, Intent, IntentOp, SlotTable};

/// How long to wait for the store while addresses are chosen.
const ALLOCATE_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// Makes an instance, going on with what was begun.
///
/// # Errors
/// Usage for what cannot be; what libvirt refuses. A failed creation leaves nothing behind.
pub(super) fn create(
    world: &World,
    key: &ObjectKey,
    instance: &Instance,
    begun: Option<(InstanceRecord, Intent)>,
    dry: bool,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let uid = begun
        .as_ref()
        .map_or_else(Uid::random, |(record, _)| record.uid);
    let mut instance = instance.clone();
    unmask(&mut instance.spec, begun.as_ref().map(|(r, _)| &r.spec))?;
    reporter.phase(key, "looking everything up");
    crate::host::sweep_seeds();
    let prepared = Prepared::new(world, &instance, uid, dry, reporter)?;
    let warning = prepared.warning.clone();
    if let (Some(warning), false) = (&warning, dry) {
        // Before the work, of which it says that it will be slow.
        reporter.warn(&format!("{key}: {warning}"));
    }
    check_room(world, &prepared)?;
    if forwards::wants_rules(world, &key.name, &instance.spec.ports)? {
        forwards::require_rights(world)?;
    }
    let host_key = HostKey::generate()?;
    let mut record = metadata::new_record(&instance, uid)?;
    record.image_sha256 = Some(prepared.image.image.sha256.to_string());
    record.files = prepared.files();
    record.ssh_host_key = Some(host_key.public.clone());
    record
        .ssh_user
        .clone_from(&prepared.image.image.default_user);
    if let Some((old, _)) = &begun {
        record.created = old.created;
        record.ports.clone_from(&old.ports);
        record.mask_key.clone_from(&old.mask_key);
    } else if dry {
        forwards::check_ports(world, None, uid, &key.name, &instance.spec)?;
    }
    let nics = match (&begun, dry) {
        (Some((_, intent)), _) => intent.nics.clone(),
        (None, true) => explain::preview_nics(world, &prepared)?,
        (None, false) => allocate_and_begin(world, &prepared, &mut record)
            .inspect_err(|_| forget(world, key, uid))?,
    };
    record.nics.clone_from(&nics);
    if let (Some((_, intent)), false) = (begun, dry) {
        begin_creation(world, &record, intent)?;
    }
    let mut facts = prepared.facts(&nics);
    if forwards::wants_rules(world, &key.name, &instance.spec.ports)? {
        let taken = !record.ports.is_empty();
        let ports = if taken {
            &record.ports
        } else {
            &instance.spec.ports
        };
        facts.ports = Some(ports.clone());
    }
    let plan = plan_instance::create(key.clone(), &facts, true);
    let mut applied = told(&plan, warning.filter(|_| dry));
    applied.notes.extend(prepared.pending.clone());
    if dry {
        applied.explanation = explain::creation(&plan, &prepared, &record)?;
        return Ok(applied);
    }
    let metadata = metadata::of(&record)?;
    let making = Making {
        prepared,
        nics,
        host_key,
        metadata,
        record,
    };
    let worker = InstanceWorker::making(world, making);
    match execute(&plan, &worker, reporter) {
        Ok(()) => {
            note(
                world,
                key,
                Some(uid),
                "Created",
                "the instance was made and started",
            );
            if facts.ports.is_some() {
                applied.notes.extend(forwards::stale(world, &key.name));
            }
            Ok(applied)
        }
        Err(failed) => {
            let why = failed.error.to_string();
            match failed.undone {
                true => forget(world, key, uid),
                false => resume::stuck(world, uid, &why),
            }
            warn(world, key, Some(uid), "CreateFailed", &why);
            Err(failed.error.context(format!("cannot create {key}")))
        }
    }
}

/// After an undone creation nothing is pending any more.
fn forget(world: &World, key: &ObjectKey, uid: Uid) {
    let worker = InstanceWorker::new(world, key.name.clone(), uid);
    let step = crate::plan::Step::Instance(plan_instance::Step::Forget);
    if let Err(error) = super::super::executor::Worker::run(&worker, &step) {
        tracing::warn!(target: "store", "cannot remove the intent of {key}: {error}");
    }
}

/// Chooses addresses and writes down what is about to be made, in one breath.
fn allocate_and_begin(
    world: &World,
    prepared: &Prepared,
    record: &mut InstanceRecord,
) -> Result<Vec<crate::store::NicRecord>> {
    let store = world.store()?;
    let lock = store.lock(ALLOCATE_WAIT)?;
    volumes::claim(world, &lock, prepared.uid, &prepared.spec.volumes)?;
    let nics = allocate::nics(world, prepared.uid, Own::default(), &prepared.networks)?;
    let mut intent = Intent::new(
        IntentOp::Create,
        Kind::Instance,
        prepared.name.clone(),
        prepared.uid,
    );
    intent.nics.clone_from(&nics);
    intent.files = prepared.files();
    record.nics.clone_from(&nics);
    record.ports = forwards::take_ports(
        world,
        &lock,
        None,
        prepared.uid,
        &prepared.name,
        &prepared.spec,
    )?;
    write_down(world, &lock, record, &intent)?;
    Ok(nics)
}

/// Writes down again what is about to be made, by this process now.
///
/// # Errors
/// What the store refuses.
pub(super) fn begin_creation(
    world: &World,
    record: &InstanceRecord,
    mut intent: Intent,
) -> Result<()> {
    intent.pid = std::process::id();
    intent.message = None;
    let lock = world.store()?.lock(ALLOCATE_WAIT)?;
    write_down(world, &lock, record, &intent)
}

/// The intent first: whatever follows is found through it.
fn write_down(
    world: &World,
    lock: &crate::store::StoreLock,
    record: &InstanceRecord,
    intent: &Intent,
) -> Result<()> {
    let store = world.store()?;
    store.put(intent)?;
    store.put(record)?;
    for nic in &record.nics {
        if let (Some(network), Some(ip)) = (nic.network_uid, nic.ip) {
            store.update_slots(lock, network, &nic.network, |table: &mut SlotTable| {
                table.give(ip, record.uid);
                Ok::<(), Error>(())
            })?;
        }
    }
    Ok(())
}

/// A pool that cannot even hold the first writes is refused before anything is made.
fn check_room(world: &World, prepared: &Prepared) -> Result<()> {
    const LEAST: u64 = 64 << 20;
    let pool = &world.settings().pool;
    let info = world.host()?.pool(pool)?.info()?;
    if info.available < LEAST {
        return Err(Error::failed(format!(
            "pool {pool:?} is full: {} MiB are free",
            info.available >> 20
        ))
        .hint("kvmctl images prune"));
    }
    let _ = prepared;
    Ok(())
}
