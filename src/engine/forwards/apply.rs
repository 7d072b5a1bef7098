//! Makes a stand-alone forward, or changes one that is there.

use std::collections::BTreeSet;

use super::claims::Claims;
use super::delete::in_a_list;
use super::rules::require_firewall;
use super::worker::ForwardWorker;
use super::{OBJECT_WAIT, note};
use crate::api::{
    API_VERSION, Kind, Object, ObjectKey, ObjectMeta, PortForward, PortForwardSpec, Reporter,
    Timestamp, Uid,
};
use crate::engine::executor::execute;
use crate::engine::instances::Sides;
use crate::engine::merged::merged as merge;
use crate::engine::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::manifest;
use crate::observe::{Astray, Origin, WantedForward, World};
use crate::plan::{ObjectPlan, Outcome, forward};
use crate::store::{
    Annotations, AppliedForward, ForwardRecord, IntentOp, Labels, STORE_WAIT, StoreLock,
};

/// Makes or changes a forward.
///
/// # Errors
/// A conflict that names who has the port; the right that is missing; what the firewall refuses. A
/// failed creation leaves nothing behind.
pub(in crate::engine) fn apply(
    world: &World,
    wanted: &PortForward,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let key = key_of(wanted)?;
    if let Some(listed) = listed(world, &key)? {
        return as_listed(&key, &listed, wanted, options);
    }
    let dry = options.dry_run != DryRun::None;
    let _object = match dry {
        true => None,
        false => {
            let store = world.store()?;
            Some(store.lock_object(Kind::PortForward, key.name.as_str(), OBJECT_WAIT)?)
        }
    };
    let found = world.store_for_reading()?.forward_named(&key.name)?;
    match found {
        None => create(world, &key, wanted, dry, reporter),
        Some(record) if record.begun == Some(IntentOp::Delete) => {
            if !dry {
                super::delete::finish(world, &key, record, reporter)?;
            }
            create(world, &key, wanted, dry, reporter)
        }
        Some(record) => {
            let half_made = record.begun == Some(IntentOp::Create);
            if options.mode == ApplyMode::Create && !half_made {
                return Err(already_exists(&key));
            }
            update(world, &key, wanted, record, options, reporter)
        }
    }
}

fn key_of(forward: &PortForward) -> Result<ObjectKey> {
    let name = forward.metadata.name.clone();
    let name = name.ok_or_else(|| Error::usage("metadata.name is missing"))?;
    Ok(ObjectKey::new(Kind::PortForward, name))
}

fn already_exists(key: &ObjectKey) -> Error {
    Error::conflict(format!(
        "{} {:?} already exists (AlreadyExists)",
        key.kind,
        key.name.as_str()
    ))
    .hint(format!("kvmctl get {key} -o yaml"))
}

/// Finds the forward of that name which is in the list of an instance.
fn listed(world: &World, key: &ObjectKey) -> Result<Option<PortForward>> {
    let all = world.wanted_forwards()?;
    let listed =
        |w: &&WantedForward| w.name == key.name && matches!(w.origin, Origin::Listed { .. });
    Ok(all.iter().find(listed).map(|w| w.object(None)))
}

/// What `get -o yaml` printed can be applied again; anything else is a change of the instance.
fn as_listed(
    key: &ObjectKey,
    listed: &PortForward,
    wanted: &PortForward,
    options: &ApplyOptions,
) -> Result<Applied> {
    if options.mode == ApplyMode::Create {
        return Err(already_exists(key));
    }
    let same = listed.spec == wanted.spec
        && listed.metadata.labels == wanted.metadata.labels
        && listed.metadata.annotations == wanted.metadata.annotations;
    match same {
        true => Ok(told(&ObjectPlan::unchanged(key.clone()))),
        false => Err(in_a_list(listed)),
    }
}

fn told(plan: &ObjectPlan) -> Applied {
    let steps = plan.steps();
    Applied {
        key: plan.key.clone(),
        outcome: plan.outcome,
        notes: plan.notes.clone(),
        explanation: steps
            .flat_map(|step| crate::engine::explain(step, &plan.key.name))
            .collect(),
    }
}

fn create(
    world: &World,
    key: &ObjectKey,
    wanted: &PortForward,
    dry: bool,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    require_firewall(world)?;
    let mut record = ForwardRecord {
        uid: Uid::random(),
        name: key.name.clone(),
        labels: wanted.metadata.labels.clone(),
        annotations: wanted.metadata.annotations.clone(),
        generation: 1,
        created: Timestamp::now(),
        spec: wanted.spec.clone(),
        last_applied: Some(applied_of(wanted)),
        host_port: wanted.spec.host_port,
        begun: None,
        pid: None,
        deletion_timestamp: None,
    };
    // An instance of the same run is not there yet when nothing is made; it has been looked for.
    if !dry || world.lead(probe(&record))?.target.is_some() {
        can_lead(world, &record)?;
    }
    if dry {
        take(world, &mut record)?;
        return Ok(told(&plan_of(key, Outcome::Created, &record)));
    }
    let lock = world.store()?.lock(STORE_WAIT)?;
    take(world, &mut record)?;
    begin(world, &lock, &mut record, IntentOp::Create)?;
    drop(lock);
    let plan = plan_of(key, Outcome::Created, &record);
    let worker = ForwardWorker::new(world, record.uid);
    match execute(&plan, &worker, reporter) {
        Ok(()) => {
            note(world, key, record.uid, "Created", &line(&record));
            Ok(told(&plan))
        }
        Err(failed) => {
            if failed.undone
                && let Err(left) = worker.forget()
            {
                tracing::warn!(target: "store", "cannot remove the record of {key}: {left}");
            }
            Err(failed.error.context(format!("cannot create {key}")))
        }
    }
}

fn applied_of(wanted: &PortForward) -> AppliedForward {
    AppliedForward {
        labels: wanted.metadata.labels.clone(),
        annotations: wanted.metadata.annotations.clone(),
        spec: wanted.spec.clone(),
    }
}

fn plan_of(key: &ObjectKey, outcome: Outcome, record: &ForwardRecord) -> ObjectPlan {
    let (instance, ports) = (record.spec.instance.clone(), record.mapping());
    let mut plan = forward::enforce(key.clone(), outcome, instance, ports);
    if record.spec.host_port == 0 {
        let line = format!(
            "port {} of the host was free and is taken",
            record.host_port
        );
        plan.notes.push(line);
    }
    plan
}

fn line(record: &ForwardRecord) -> String {
    format!(
        "{} leads to instance/{}",
        record.mapping(),
        record.spec.instance
    )
}

/// What could never be led anywhere is refused before anything is written.
fn can_lead(world: &World, record: &ForwardRecord) -> Result<()> {
    match world.lead(probe(record))?.aim {
        Ok(_) => Ok(()),
        Err(Astray { reason, message }) => {
            let instance = &record.spec.instance;
            let (kind, hint) = match reason {
                "InstanceNotFound" => (ErrorKind::Usage, "kvmctl get instances".to_owned()),
                "Impossible" => (ErrorKind::Usage, "kvmctl explain forward.spec".to_owned()),
                _ => (
                    ErrorKind::Conflict,
                    format!("kvmctl describe instance {instance}"),
                ),
            };
            Err(Error::new(kind, message).hint(hint))
        }
    }
}

/// The record with some port: which one it will be makes no difference to where it leads.
fn probe(record: &ForwardRecord) -> ForwardRecord {
    let mut probe = record.clone();
    if probe.host_port == 0 {
        probe.host_port = 1;
    }
    probe
}

/// Takes the port of the host that is asked for. Call it with the store locked.
fn take(world: &World, record: &mut ForwardRecord) -> Result<()> {
    let mut claims = Claims::collect(world, &BTreeSet::from([record.uid]))?;
    let localhost = record.spec.localhost.unwrap_or(true);
    let who = format!("forward/{}", record.name);
    record.host_port = claims.take(&who, &record.spec.mapping(), localhost)?.host;
    Ok(())
}

fn begin(world: &World, _lock: &StoreLock, record: &mut ForwardRecord, op: IntentOp) -> Result<()> {
    record.begin(op);
    Ok(world.store()?.put(record)?)
}

fn update(
    world: &World,
    key: &ObjectKey,
    wanted: &PortForward,
    before: ForwardRecord,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let mut record = desired(&before, wanted, options.mode)?;
    let same = record == before && before.begun.is_none();
    if same {
        return Ok(told(&ObjectPlan::unchanged(key.clone())));
    }
    let outcome = match before.begun {
        Some(IntentOp::Create) => Outcome::Created,
        _ => Outcome::Configured,
    };
    require_firewall(world)?;
    can_lead(world, &record)?;
    let moved = record.spec.mapping() != before.spec.mapping()
        || record.spec.localhost != before.spec.localhost;
    if options.dry_run != DryRun::None {
        if moved {
            take(world, &mut record)?;
        }
        return Ok(told(&plan_of(key, outcome, &record)));
    }
    record.last_applied = Some(applied_of(wanted));
    let lock = world.store()?.lock(STORE_WAIT)?;
    if moved {
        take(world, &mut record)?;
    }
    let op = before.begun.unwrap_or(IntentOp::Update);
    begin(world, &lock, &mut record, op)?;
    drop(lock);
    // What was changed and not made cannot be undone by withdrawing it.
    let plan = plan_of(key, Outcome::Configured, &record);
    let worker = ForwardWorker::new(world, record.uid);
    if let Err(failed) = execute(&plan, &worker, reporter) {
        return Err(take_back(world, before, &worker, failed.error));
    }
    note(world, key, record.uid, "Configured", &line(&record));
    Ok(told(&ObjectPlan { outcome, ..plan }))
}

/// A change that the firewall refused is no change.
fn take_back(
    world: &World,
    mut before: ForwardRecord,
    worker: &ForwardWorker<'_>,
    error: Error,
) -> Error {
    let back = || {
        let lock = world.store()?.lock(STORE_WAIT)?;
        let op = before.begun.unwrap_or(IntentOp::Update);
        begin(world, &lock, &mut before, op)?;
        drop(lock);
        worker.again()
    };
    match { back }() {
        Ok(()) => error,
        Err(left) => error.caused_by(format!("could not take the change back: {left}")),
    }
}

/// Works out what a forward should become.
fn desired(before: &ForwardRecord, wanted: &PortForward, mode: ApplyMode) -> Result<ForwardRecord> {
    let (labels, annotations, spec) = match mode {
        ApplyMode::Replace => (
            wanted.metadata.labels.clone(),
            wanted.metadata.annotations.clone(),
            wanted.spec.clone(),
        ),
        _ => merged(before, wanted)?,
    };
    let changed = spec != before.spec;
    Ok(ForwardRecord {
        labels,
        annotations,
        generation: before.generation + u64::from(changed),
        spec,
        ..before.clone()
    })
}

/// Merges three ways: what was applied last, what is wanted now, what is there.
fn merged(
    before: &ForwardRecord,
    wanted: &PortForward,
) -> Result<(Labels, Annotations, PortForwardSpec)> {
    let last = before.last_applied.as_ref();
    let meta = &wanted.metadata;
    merge(
        last.map(|l| (&l.labels, &l.annotations, &l.spec)),
        (&meta.labels, &meta.annotations, &wanted.spec),
        (&before.labels, &before.annotations, &before.spec),
    )
}

/// Works out what applying a forward would change.
///
/// # Errors
/// What libvirt or the store refuses.
pub(in crate::engine) fn sides(world: &World, wanted: &PortForward) -> Result<Sides> {
    let key = key_of(wanted)?;
    let bare = |labels: &Labels, annotations: &Annotations, spec: &PortForwardSpec| {
        manifest::to_manifest_yaml(&Object::from(PortForward {
            api_version: API_VERSION.to_owned(),
            kind: "PortForward".to_owned(),
            metadata: ObjectMeta {
                labels: labels.clone(),
                annotations: annotations.clone(),
                ..ObjectMeta::named(key.name.clone())
            },
            spec: spec.clone(),
            status: None,
        }))
    };
    let meta = &wanted.metadata;
    let as_given = bare(&meta.labels, &meta.annotations, &wanted.spec);
    let (live, wanted) = match world.store_for_reading()?.forward_named(&key.name)? {
        Some(before) => {
            let after = desired(&before, wanted, ApplyMode::Apply)?;
            (
                bare(&before.labels, &before.annotations, &before.spec),
                bare(&after.labels, &after.annotations, &after.spec),
            )
        }
        None => match listed(world, &key)? {
            Some(listed) => {
                let meta = &listed.metadata;
                (
                    bare(&meta.labels, &meta.annotations, &listed.spec),
                    as_given,
                )
            }
            None => (String::new(), as_given),
        },
    };
    let name = key.to_string();
    Ok(Sides { name, live, wanted })
}
