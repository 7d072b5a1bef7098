//! Makes a volume be as it is wanted.

use super::super::executor::execute;
use super::super::governed::governed;
use super::super::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use super::make::{Depth, Made, prepare};
use super::worker::VolumeWorker;
use super::{OBJECT_WAIT, begin, intent_of, note, record_of, resize};
use crate::api::{Kind, ObjectKey, Reporter, Timestamp, Uid, Volume};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::{ObjectPlan, volume as plan_volume};
use crate::store::{AppliedMeta, IntentOp, VolumeRecord};

/// Makes or changes a volume.
///
/// # Errors
/// Usage for what cannot be; a conflict for a field that cannot be changed; what libvirt refuses. A
/// failed creation leaves nothing behind.
pub(crate) fn apply(
    world: &World,
    wanted: &Volume,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let name = wanted
        .metadata
        .name
        .clone()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    let key = ObjectKey::new(Kind::Volume, name);
    if options.dry_run != DryRun::None {
        return match record_of(world, &key.name)? {
            None => create(world, &key, wanted, None, true, reporter),
            Some(record) => change(world, &key, wanted, record, options, reporter),
        };
    }
    let _object = world
        .store()?
        .lock_object(Kind::Volume, key.name.as_str(), OBJECT_WAIT)?;
    let begun = intent_of(world, &key.name)?;
    match (begun.map(|i| i.op), record_of(world, &key.name)?) {
        (Some(IntentOp::Create | IntentOp::Adopt), record) => {
            // Nobody has had it yet: what is left of it goes, and its identity is taken up again.
            let uid = record.map(|r| r.uid);
            super::delete::delete_locked(world, &key, reporter)?;
            create(world, &key, wanted, uid, false, reporter)
        }
        (Some(IntentOp::Delete), _) => {
            super::delete::delete_locked(world, &key, reporter)?;
            create(world, &key, wanted, None, false, reporter)
        }
        (Some(IntentOp::Update), Some(record)) => {
            resize::finish_locked(world, &key, reporter)?;
            change(world, &key, wanted, record, options, reporter)
        }
        (None, Some(record)) => change(world, &key, wanted, record, options, reporter),
        (None | Some(IntentOp::Update), None) => create(world, &key, wanted, None, false, reporter),
    }
}

fn create(
    world: &World,
    key: &ObjectKey,
    wanted: &Volume,
    uid: Option<Uid>,
    dry: bool,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let uid = uid.unwrap_or_else(Uid::random);
    let depth = if dry { Depth::Look } else { Depth::Make };
    let made = prepare(world, key, &wanted.spec, uid, depth, reporter)?;
    let Made {
        new,
        file,
        notes,
        content,
    } = made;
    let record = VolumeRecord {
        name: key.name.clone(),
        uid,
        labels: wanted.metadata.labels.clone(),
        annotations: wanted.metadata.annotations.clone(),
        applied: AppliedMeta::of(&wanted.metadata),
        generation: 1,
        created: Timestamp::now(),
        file,
        format: new.format,
        spec: wanted.spec.clone(),
    };
    let plan = plan_volume::create(key.clone(), new);
    let applied = told(&plan, notes);
    if dry {
        return Ok(applied);
    }
    let worker = VolumeWorker::new(world, record, key, reporter).with_content(content);
    carry_out(world, &plan, &worker, reporter)?;
    Ok(applied)
}

/// Makes a volume, written down before.
///
/// # Errors
/// What libvirt or the store refuses; nothing is left behind then.
pub(super) fn carry_out(
    world: &World,
    plan: &ObjectPlan,
    worker: &VolumeWorker<'_>,
    reporter: &dyn Reporter,
) -> Result<()> {
    let record = worker.record_of();
    begin(world, record, IntentOp::Create)?;
    let Err(failed) = execute(plan, worker, reporter) else {
        note(world, record, "Created", "the volume was made");
        return Ok(());
    };
    let error = failed.error.context(format!("cannot create {}", plan.key));
    match failed.undone.then(|| worker.forget()) {
        Some(Err(left)) => Err(error.caused_by(format!("could not forget it: {left}"))),
        Some(Ok(())) => Err(error),
        None => Err(error.hint("kvmctl reconcile")),
    }
}

fn change(
    world: &World,
    key: &ObjectKey,
    wanted: &Volume,
    record: VolumeRecord,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    if options.mode == ApplyMode::Create {
        return Err(Error::conflict(format!(
            "{} {:?} already exists (AlreadyExists)",
            key.kind,
            key.name.as_str()
        ))
        .hint(format!("kvmctl get {key} -o yaml")));
    }
    refuse_immutable(key, &record, wanted)?;
    let mut new = record.clone();
    let live = (&record.labels, &record.annotations);
    let governed = governed(options.mode, &wanted.metadata, live, &record.applied);
    (new.labels, new.annotations) = (governed.labels, governed.annotations);
    new.spec.size = wanted.spec.size.or(record.spec.size);
    let step = match wanted.spec.size {
        Some(size) => resize::step(world, key, &record, size, false)?,
        None => None,
    };
    if new == record && step.is_none() {
        return Ok(told(&ObjectPlan::unchanged(key.clone()), Vec::new()));
    }
    new.applied = governed.applied;
    let plan = plan_volume::change(key.clone(), step);
    let applied = told(&plan, Vec::new());
    if options.dry_run == DryRun::None {
        resize::run(world, key, new, &plan, reporter)?;
    }
    Ok(applied)
}

/// What is not said is no wish.
fn refuse_immutable(key: &ObjectKey, record: &VolumeRecord, wanted: &Volume) -> Result<()> {
    let (old, new) = (&record.spec, &wanted.spec);
    let fields = [
        ("spec.format", new.format.is_none_or(|f| f == record.format)),
        (
            "spec.pool",
            new.pool.as_ref().is_none_or(|p| *p == record.file.pool),
        ),
        (
            "spec.preallocation",
            new.preallocation.is_none() || new.preallocation == old.preallocation,
        ),
        (
            "spec.source",
            new.source.is_none() || new.source == old.source,
        ),
    ];
    let changed = fields.into_iter().filter(|(_, same)| !same);
    let lines: Vec<String> = changed
        .map(|(field, _)| format!("{field}: field is immutable"))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "The Volume {:?} is invalid: {}",
        key.name.as_str(),
        lines.join(", ")
    ))
    .hint(format!("kvmctl volumes clone {} NEW", key.name)))
}

/// What is said of a plan that was carried out, or would be.
pub(super) fn told(plan: &ObjectPlan, notes: Vec<String>) -> Applied {
    Applied {
        key: plan.key.clone(),
        outcome: plan.outcome,
        notes,
        explanation: plan
            .steps()
            .flat_map(|step| super::super::explain(step, &plan.key.name))
            .collect(),
    }
}
