//! Makes a network be as it is wanted: what is there decides what is to be done.

use super::definition;
use super::existing::{Existing, describe, existing, finish, stuck};
use super::worker::NetworkWorker;
use super::{OBJECT_WAIT, allocate, change, note, warn};
use crate::api::{Kind, Network, NetworkSpec, ObjectKey, ObjectMeta, Reporter, Timestamp, Uid};
use crate::engine::desired::Governed;
use crate::engine::executor::execute;
use crate::engine::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use crate::error::{Error, Result};
use crate::libvirt::ObjectMetadata;
use crate::observe::World;
use crate::plan::{ObjectPlan, network as plan};
use crate::store::IntentOp;

/// Makes or changes a network.
///
/// # Errors
/// A conflict for a range that somebody has, for a network that is not ours, or for a field that
/// cannot be changed; what libvirt refuses. A failed creation leaves nothing behind.
pub(in crate::engine) fn apply(
    world: &World,
    wanted: &Network,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let key = key_of(&wanted.metadata)?;
    let dry = options.dry_run != DryRun::None;
    if dry {
        return dry_run(world, &key, wanted, options);
    }
    let _object = world
        .store()?
        .lock_object(Kind::Network, key.name.as_str(), OBJECT_WAIT)?;
    let mut resumed = false;
    loop {
        match existing(world, &key)? {
            Existing::Nothing => return create(world, &key, wanted, false, reporter),
            Existing::Begun(intent) => {
                // Whatever was begun comes to its end first; what is wanted now comes after it.
                finish(world, &intent, reporter)?;
                resumed |= intent.op == IntentOp::Create;
            }
            Existing::Whole(_) if options.mode == ApplyMode::Create && !resumed => {
                return Err(exists(&key));
            }
            Existing::Whole(found) => {
                let mut applied = change::update(world, &key, wanted, &found, options, reporter)?;
                if resumed {
                    applied.outcome = crate::plan::Outcome::Created;
                }
                return Ok(applied);
            }
        }
    }
}

/// Returns the key of a network that is to be applied.
///
/// # Errors
/// Usage, for one without a name.
pub(super) fn key_of(meta: &ObjectMeta) -> Result<ObjectKey> {
    let name = meta
        .name
        .clone()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    Ok(ObjectKey::new(Kind::Network, name))
}

fn dry_run(
    world: &World,
    key: &ObjectKey,
    wanted: &Network,
    options: &ApplyOptions,
) -> Result<Applied> {
    match existing(world, key)? {
        Existing::Whole(_) if options.mode == ApplyMode::Create => Err(exists(key)),
        Existing::Whole(found) => {
            change::update(world, key, wanted, &found, options, &crate::api::Silent)
        }
        Existing::Nothing | Existing::Begun(_) => {
            create(world, key, wanted, true, &crate::api::Silent)
        }
    }
}

fn exists(key: &ObjectKey) -> Error {
    Error::conflict(format!(
        "{} {:?} already exists (AlreadyExists)",
        key.kind,
        key.name.as_str()
    ))
    .hint(format!("kvmctl get {key} -o yaml"))
}

fn create(
    world: &World,
    key: &ObjectKey,
    wanted: &Network,
    dry: bool,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let (uid, spec) = (Uid::random(), &wanted.spec);
    reporter.phase(key, "looking for a range");
    allocate::check_host(world, spec)?;
    let place = match dry {
        true => allocate::choose(world, uid, spec)?,
        false => allocate::begin(world, &key.name, uid, spec)?,
    };
    let plan = plan::create(key.clone(), spec.autostart.unwrap_or(true));
    let mut applied = told(&plan);
    if let (None, Some((cidr, _))) = (spec.cidr, place.ipv4) {
        applied.notes.push(format!("{cidr} is free and was taken"));
    }
    let made = metadata(uid, wanted)
        .and_then(|metadata| definition::build(&key.name, uid, spec, &place, metadata));
    if dry {
        applied.explanation.push(made?.to_xml()?);
        return Ok(applied);
    }
    let worker = NetworkWorker::new(world, uid);
    let done = made.map_err(|error| (error, true)).and_then(|xml| {
        let worker = NetworkWorker::making(world, uid, xml);
        execute(&plan, &worker, reporter).map_err(|failed| (failed.error, failed.undone))
    });
    match done {
        Ok(()) => {
            note(
                world,
                key,
                uid,
                "Created",
                "the network was made and started",
            );
            Ok(applied)
        }
        Err((error, undone)) => {
            let why = error.to_string();
            match undone {
                true => drop(worker.forget()),
                false => stuck(world, uid, &why),
            }
            warn(world, key, uid, "CreateFailed", &why);
            Err(error.context(format!("cannot create {key}")))
        }
    }
}

fn metadata(uid: Uid, wanted: &Network) -> Result<ObjectMetadata> {
    let mut metadata = ObjectMetadata::new(uid);
    metadata.creation = Some(Timestamp::now());
    describe(&mut metadata, governed(wanted), Some(governed(wanted)))?;
    Ok(metadata)
}

/// Returns what a manifest says of a network.
pub(super) fn governed(wanted: &Network) -> Governed<'_, NetworkSpec> {
    Governed {
        labels: &wanted.metadata.labels,
        annotations: &wanted.metadata.annotations,
        spec: &wanted.spec,
    }
}

/// What is said of a plan that was carried out, or would be.
pub(super) fn told(plan: &ObjectPlan) -> Applied {
    Applied {
        key: plan.key.clone(),
        outcome: plan.outcome,
        notes: plan.notes.clone(),
        explanation: plan
            .steps()
            .flat_map(|step| crate::engine::explain(step, &plan.key.name))
            .collect(),
    }
}
