//! Makes a load balancer, or changes one that is there.

use super::worker::BalancerWorker;
use super::{OBJECT_WAIT, claims, key_of, note, reach};
use crate::api::{
    API_VERSION, BalancerTarget, Kind, LoadBalancer, LoadBalancerSpec, Object, ObjectKey,
    ObjectMeta, Reporter, Uid,
};
use crate::engine::executor::execute;
use crate::engine::instances::Sides;
use crate::engine::merged::merged;
use crate::engine::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use crate::error::{Error, Result};
use crate::manifest;
use crate::observe::{Whereabouts, World};
use crate::plan::{ObjectPlan, Outcome, balancer};
use crate::store::{
    Annotations, AppliedBalancer, BalancerRecord, IntentOp, Labels, STORE_WAIT, StoreLock,
    TargetName,
};

/// Makes or changes a load balancer.
///
/// # Errors
/// A conflict that names who has the port; the right or program that is missing; what nginx refuses.
/// A failed creation leaves nothing behind.
pub(in crate::engine) fn apply(
    world: &World,
    wanted: &LoadBalancer,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let key = key_of(wanted)?;
    let dry = options.dry_run != DryRun::None;
    let _object = match dry {
        true => None,
        false => {
            let store = world.store()?;
            Some(store.lock_object(Kind::LoadBalancer, key.name.as_str(), OBJECT_WAIT)?)
        }
    };
    let found = world.store_for_reading()?.balancer_named(&key.name)?;
    match found {
        None => create(world, &key, wanted, dry, reporter),
        Some(record) if record.is_going() => {
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
            let after = desired(&record, wanted, options.mode)?;
            update(world, &key, record, after, dry, reporter)
        }
    }
}

fn already_exists(key: &ObjectKey) -> Error {
    Error::conflict(format!(
        "{} {:?} already exists (AlreadyExists)",
        key.kind,
        key.name.as_str()
    ))
    .hint(format!("kvmctl get {key} -o yaml"))
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
    wanted: &LoadBalancer,
    dry: bool,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let mut record = BalancerRecord::new(Uid::random(), key.name.clone(), wanted.spec.clone());
    record.labels.clone_from(&wanted.metadata.labels);
    record.annotations.clone_from(&wanted.metadata.annotations);
    record.last_applied = Some(applied_of(&record));
    let plan = plan_of(key, Outcome::Created, &record);
    if dry {
        can_serve(world, &record, &world.whereabouts()?)?;
        return Ok(told(&plan));
    }
    begin(world, None, &mut record, IntentOp::Create)?;
    let worker = BalancerWorker::new(world, record.uid);
    match execute(&plan, &worker, reporter) {
        Ok(()) => {
            note(world, key, record.uid, "Created", &line(&record));
            let mut applied = told(&plan);
            applied.notes.extend(unwatched(world, &record)?);
            Ok(applied)
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

fn applied_of(record: &BalancerRecord) -> AppliedBalancer {
    AppliedBalancer {
        labels: record.labels.clone(),
        annotations: record.annotations.clone(),
        spec: record.spec.clone(),
    }
}

/// A health check is nothing that nginx does.
fn unwatched(world: &World, record: &BalancerRecord) -> Result<Option<String>> {
    let unwatched = record.spec.health_check.is_some() && !world.store()?.is_watched();
    Ok(unwatched.then(|| {
        "nobody watches its targets: kvmctl reconcile --watch does it, and kvmctl setup --persist lets \
         systemd do it"
            .to_owned()
    }))
}

fn plan_of(key: &ObjectKey, outcome: Outcome, record: &BalancerRecord) -> ObjectPlan {
    let (listen, targets) = words(&record.spec);
    balancer::serve(key.clone(), outcome, listen, targets)
}

fn words(spec: &LoadBalancerSpec) -> (Vec<String>, Vec<String>) {
    let listen = spec.sockets().iter().map(ToString::to_string).collect();
    let mut targets: Vec<String> = spec.targets.iter().map(in_words).collect();
    if let Some(selector) = &spec.selector {
        let labels: Vec<String> = selector
            .match_labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        targets.push(format!("every instance with {}", labels.join(",")));
    }
    (listen, targets)
}

/// A target, and what is particular about it.
fn in_words(target: &BalancerTarget) -> String {
    let weight = Some(target.weight()).filter(|weight| *weight != 1);
    let more = [
        weight.map(|weight| format!("weight {weight}")),
        target.is_backup().then(|| "backup".to_owned()),
        target.is_draining().then(|| "drained".to_owned()),
    ];
    let more: Vec<String> = more.into_iter().flatten().collect();
    match more.is_empty() {
        true => target.to_string(),
        false => format!("{target} ({})", more.join(", ")),
    }
}

fn line(record: &BalancerRecord) -> String {
    let (listen, targets) = words(&record.spec);
    let (listen, targets) = (listen.join(" and "), targets.join(", "));
    match targets.is_empty() {
        true => format!("{listen} leads nowhere yet"),
        false => format!("{listen} leads to {targets}"),
    }
}

/// What could never be served is refused before anything is written.
fn can_serve(world: &World, record: &BalancerRecord, whereabouts: &Whereabouts) -> Result<()> {
    let nginx = world.nginx()?;
    claims::check(world, record)?;
    let wanted = world.resolve(record.clone(), whereabouts)?;
    nginx.check(&wanted.resolved).map_err(Error::from)
}

/// A change that leaves the sockets as they are in force takes nothing from anybody.
fn has_sockets(before: Option<&BalancerRecord>, record: &BalancerRecord) -> bool {
    before.is_some_and(|b| b.begun.is_none() && b.spec.sockets() == record.spec.sockets())
}

/// Takes the ports and writes down what is begun, in one breath.
fn begin(
    world: &World,
    before: Option<&BalancerRecord>,
    record: &mut BalancerRecord,
    op: IntentOp,
) -> Result<()> {
    let whereabouts = world.whereabouts()?;
    world.nginx()?.may_change()?;
    let claimed = has_sockets(before, record);
    if !claimed {
        can_serve(world, record, &whereabouts)?;
    }
    let store = world.store()?;
    let lock = store.lock(STORE_WAIT)?;
    if !claimed {
        // Somebody may have come between.
        claims::check(world, record)?;
    }
    forget_out(record, &whereabouts);
    reach::allot(world, record, &whereabouts)?;
    write(world, &lock, record, op)
}

/// A target that is none any more, or that nobody checks any more, is not kept out.
fn forget_out(record: &mut BalancerRecord, whereabouts: &Whereabouts) {
    let targets = whereabouts.targets(&record.spec);
    let is_target = |out: &TargetName| targets.iter().any(|(t, _)| *out == TargetName::from(t));
    let checked = record.spec.health_check.is_some();
    record.out.retain(|out| checked && is_target(out));
}

fn write(
    world: &World,
    _lock: &StoreLock,
    record: &mut BalancerRecord,
    op: IntentOp,
) -> Result<()> {
    record.begin(op);
    Ok(world.store()?.put(record)?)
}

/// Changes a balancer that is locked already into `record`.
///
/// # Errors
/// As [`apply`]; what was is then in force again.
pub(super) fn update(
    world: &World,
    key: &ObjectKey,
    before: BalancerRecord,
    mut record: BalancerRecord,
    dry: bool,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    if record == before && before.begun.is_none() {
        return Ok(told(&ObjectPlan::unchanged(key.clone())));
    }
    let outcome = match before.begun {
        Some(IntentOp::Create) => Outcome::Created,
        _ => Outcome::Configured,
    };
    let plan = plan_of(key, Outcome::Configured, &record);
    if dry {
        if !has_sockets(Some(&before), &record) {
            can_serve(world, &record, &world.whereabouts()?)?;
        }
        return Ok(told(&ObjectPlan { outcome, ..plan }));
    }
    let op = before.begun.unwrap_or(IntentOp::Update);
    begin(world, Some(&before), &mut record, op)?;
    let was_checked = before.spec.health_check.is_some();
    // What was changed and not made cannot be undone by withdrawing it.
    let worker = BalancerWorker::new(world, record.uid);
    if let Err(failed) = execute(&plan, &worker, reporter) {
        return Err(take_back(world, before, &worker, failed.error));
    }
    note(world, key, record.uid, "Configured", &line(&record));
    let mut applied = told(&ObjectPlan { outcome, ..plan });
    if !was_checked {
        applied.notes.extend(unwatched(world, &record)?);
    }
    Ok(applied)
}

/// A change that nginx refused is no change.
fn take_back(
    world: &World,
    mut before: BalancerRecord,
    worker: &BalancerWorker<'_>,
    error: Error,
) -> Error {
    let back = || {
        let lock = world.store()?.lock(STORE_WAIT)?;
        let op = before.begun.unwrap_or(IntentOp::Update);
        write(world, &lock, &mut before, op)?;
        drop(lock);
        worker.again()
    };
    match { back }() {
        Ok(()) => error,
        Err(left) => error.caused_by(format!("could not take the change back: {left}")),
    }
}

/// Works out what a balancer should become.
fn desired(
    before: &BalancerRecord,
    wanted: &LoadBalancer,
    mode: ApplyMode,
) -> Result<BalancerRecord> {
    let meta = &wanted.metadata;
    let new = (&meta.labels, &meta.annotations, &wanted.spec);
    let (labels, annotations, spec) = match mode {
        ApplyMode::Replace => (new.0.clone(), new.1.clone(), new.2.clone()),
        _ => {
            let last = before.last_applied.as_ref();
            let last = last.map(|l| (&l.labels, &l.annotations, &l.spec));
            let live = (&before.labels, &before.annotations, &before.spec);
            merged(last, new, live)?
        }
    };
    let same =
        (&labels, &annotations, &spec) == (&before.labels, &before.annotations, &before.spec);
    let applied = AppliedBalancer {
        labels: meta.labels.clone(),
        annotations: meta.annotations.clone(),
        spec: wanted.spec.clone(),
    };
    Ok(BalancerRecord {
        generation: before.generation + u64::from(spec != before.spec),
        last_applied: match same {
            true => before.last_applied.clone(),
            false => Some(applied),
        },
        labels,
        annotations,
        spec,
        ..before.clone()
    })
}

/// Gives a balancer another spec, as a verb of its own does.
pub(super) fn with_spec(before: &BalancerRecord, spec: LoadBalancerSpec) -> BalancerRecord {
    let mut record = BalancerRecord {
        generation: before.generation + u64::from(spec != before.spec),
        spec,
        ..before.clone()
    };
    if record.spec != before.spec {
        record.last_applied = Some(applied_of(&record));
    }
    record
}

/// Works out what applying a balancer would change.
///
/// # Errors
/// What the store refuses.
pub(in crate::engine) fn sides(world: &World, wanted: &LoadBalancer) -> Result<Sides> {
    let key = key_of(wanted)?;
    let bare = |labels: &Labels, annotations: &Annotations, spec: &LoadBalancerSpec| {
        manifest::to_manifest_yaml(&Object::from(LoadBalancer {
            api_version: API_VERSION.to_owned(),
            kind: "LoadBalancer".to_owned(),
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
    let (live, wanted) = match world.store_for_reading()?.balancer_named(&key.name)? {
        Some(before) => {
            let after = desired(&before, wanted, ApplyMode::Apply)?;
            (
                bare(&before.labels, &before.annotations, &before.spec),
                bare(&after.labels, &after.annotations, &after.spec),
            )
        }
        None => {
            let as_given = bare(&meta.labels, &meta.annotations, &wanted.spec);
            (String::new(), as_given)
        }
    };
    let name = key.to_string();
    Ok(Sides { name, live, wanted })
}
