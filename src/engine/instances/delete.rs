//! Deletes an instance, from any half-made state, so that nothing of it is left.

use crate::api::{Kind, ObjectKey, Timestamp, Uid};
use crate::error::Result;
use crate::libvirt::Domain;
use crate::observe::{World, not_found};
use crate::plan::instance::{Facts, Overlay, Takedown, VolumeRef, delete as plan_delete};
use crate::store::{InstanceRecord, Intent, IntentOp, NicRecord, STORE_WAIT};

use super::metadata::{not_ours, note, owned};
use super::prepare::{reservation, volume};
use super::worker::InstanceWorker;
use crate::api::Quantity;

use super::super::executor::execute;
use super::super::options::{Applied, DeleteOptions, DryRun};
use crate::api::Reporter;

/// What is left of an instance, wherever it is.
struct Found {
    uid: Uid,
    domain: Option<Domain>,
    record: Option<InstanceRecord>,
    intent: Option<Intent>,
}

/// Deletes an instance.
///
/// # Errors
/// `NotFound`; a conflict for a domain that is not ours; what libvirt refuses. What is interrupted
/// shows as Terminating, and the same command goes on.
pub(crate) fn delete(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let _object = world
        .store()?
        .lock_object(Kind::Instance, key.name.as_str(), STORE_WAIT)?;
    delete_locked(world, key, options, reporter)
}

/// As [`delete`], for a caller that has locked the object already.
pub(super) fn delete_locked(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let found = find(world, key)?;
    let running = match &found.domain {
        Some(domain) => domain.state()?.is_active(),
        None => false,
    };
    let takedown = match (running, options.grace) {
        (false, _) => Takedown::None,
        (true, 0) => Takedown::Now,
        (true, grace) => Takedown::Graceful(grace),
    };
    let adopted = found.record.as_ref().is_some_and(|r| r.adopted);
    let facts = facts(world, key, &found);
    let mut plan = plan_delete(key.clone(), &facts, takedown, found.domain.is_some());
    if adopted {
        // Its disks were not made by kvmctl and may be anywhere: they stay.
        plan.notes
            .push("the disks of an adopted instance are kept".to_owned());
    }
    let applied = Applied {
        key: key.clone(),
        outcome: plan.outcome,
        notes: plan.notes.clone(),
        explanation: plan.steps().flat_map(super::super::explain).collect(),
    };
    if options.dry_run != DryRun::None {
        return Ok(applied);
    }
    begin(world, key, &found, &facts)?;
    execute(
        &plan,
        &InstanceWorker::new(world, key.name.clone(), found.uid),
        reporter,
    )?;
    note(
        world,
        key,
        Some(found.uid),
        "Deleted",
        "the instance and its root disk are gone",
    );
    Ok(applied)
}

/// Finds an instance by its domain, its record or its intent.
fn find(world: &World, key: &ObjectKey) -> Result<Found> {
    let store = world.store()?;
    let domain = match world.host()?.domain(key.name.as_str()) {
        Ok(domain) => Some(domain),
        Err(e) if e.is_not_found() => None,
        Err(e) => return Err(e.into()),
    };
    let intents: Vec<Intent> = store.all()?;
    let intent = intents
        .into_iter()
        .find(|i| i.kind == Kind::Instance && i.name == key.name);
    let uid = match (&domain, &intent) {
        (Some(domain), _) => match owned(domain, key) {
            Ok(uid) => uid,
            // A domain of somebody else's may have taken the name of one that was half made.
            Err(_) if intent.is_some() && intent.as_ref().map(|i| i.uid) != Some(domain.uid()) => {
                return Err(not_ours(key));
            }
            Err(error) => return Err(error),
        },
        (None, Some(intent)) => intent.uid,
        (None, None) => match store.instance_named(&key.name)? {
            Some(record) => record.uid,
            None => {
                let briefs = world.host()?.domain_briefs()?;
                return Err(not_found(
                    Kind::Instance,
                    &key.name,
                    briefs.iter().map(|b| b.name.as_str()),
                ));
            }
        },
    };
    let record = store.get::<InstanceRecord>(&uid)?;
    Ok(Found {
        uid,
        domain,
        record,
        intent: intent.filter(|i| i.uid == uid),
    })
}

fn facts(world: &World, key: &ObjectKey, found: &Found) -> Facts {
    let pool = &world.settings().pool;
    let nics: Vec<NicRecord> = found
        .record
        .as_ref()
        .map(|r| r.nics.clone())
        .or_else(|| found.intent.as_ref().map(|i| i.nics.clone()))
        .unwrap_or_default();
    let files = found
        .record
        .as_ref()
        .map(|r| r.files.clone())
        .filter(|f| !f.is_empty())
        .or_else(|| found.intent.as_ref().map(|i| i.files.clone()))
        .unwrap_or_default();
    let file = |suffix: &str| -> VolumeRef {
        let named = files.iter().find(|f| f.volume.ends_with(suffix));
        named.map_or_else(
            || volume(pool, &key.name, found.uid, suffix),
            |f| VolumeRef {
                pool: f.pool.clone(),
                name: f.volume.clone(),
            },
        )
    };
    Facts {
        name: key.name.clone(),
        uid: found.uid,
        overlay: Overlay {
            volume: file("qcow2"),
            base: String::new(),
            base_format: String::new(),
            capacity: Quantity::gib(1),
        },
        seed: file("seed.iso"),
        log: file("serial.log"),
        reservations: nics
            .iter()
            .filter(|n| !n.slot)
            .filter_map(|n| reservation(n, &key.name))
            .collect(),
        leases: nics
            .iter()
            .filter_map(|n| reservation(n, &key.name))
            .collect(),
        autostart: false,
    }
}

/// Writes down that the instance is to go, before anything of it goes.
fn begin(world: &World, key: &ObjectKey, found: &Found, facts: &Facts) -> Result<()> {
    let mut intent = found.intent.clone().unwrap_or_else(|| {
        Intent::new(
            IntentOp::Delete,
            Kind::Instance,
            key.name.clone(),
            found.uid,
        )
    });
    intent.op = IntentOp::Delete;
    intent.pid = std::process::id();
    intent.deletion_timestamp.get_or_insert_with(Timestamp::now);
    if let Some(record) = &found.record {
        intent.nics.clone_from(&record.nics);
        intent.files.clone_from(&record.files);
    }
    if intent.files.is_empty() {
        let volumes = [&facts.overlay.volume, &facts.seed, &facts.log];
        intent.files = volumes
            .into_iter()
            .map(|v| crate::store::FileRecord {
                pool: v.pool.clone(),
                volume: v.name.clone(),
            })
            .collect();
    }
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    store.put(&intent)?;
    Ok(())
}
