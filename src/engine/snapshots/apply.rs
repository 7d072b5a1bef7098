//! Takes a snapshot, or changes what people see of it.

use std::collections::BTreeMap;

use super::super::disk_files::Folder;
use super::super::executor::execute;
use super::super::governed::governed;
use super::super::options::{Applied, ApplyMode, ApplyOptions, DeleteOptions, DryRun};
use super::live;
use super::source::{self, Source};
use super::worker::SnapshotWorker;
use super::{begin, intent_of, lock, note, record_of, volume_ref};
use crate::api::{Consistency, Kind, Name, ObjectKey, Reporter, Snapshot, Timestamp, Uid};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::ObjectPlan;
use crate::plan::snapshot::{self as plan_snapshot, DiskCopy};
use crate::store::{AppliedMeta, FileRecord, IntentOp, SnapshotDiskRecord, SnapshotRecord};

/// Takes a snapshot, or changes labels and description of one that is there.
///
/// # Errors
/// Usage for what cannot be; a conflict for a field that cannot be changed, or for a state that cannot
/// be had. What fails leaves nothing behind.
pub(crate) fn apply(
    world: &World,
    wanted: &Snapshot,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let name = wanted.metadata.name.clone();
    let name = name.ok_or_else(|| Error::usage("metadata.name is missing"))?;
    let key = ObjectKey::new(Kind::Snapshot, name);
    if options.dry_run != DryRun::None {
        return match record_of(world, &key.name)? {
            None => create(world, &key, wanted, true, reporter).map(|made| made.applied),
            Some(record) => change(world, &key, wanted, record, options, reporter),
        };
    }
    let object = lock(world, &key)?;
    let begun = intent_of(world, &key.name)?.map(|i| i.op);
    let made = match (begun, record_of(world, &key.name)?) {
        (Some(IntentOp::Create | IntentOp::Delete | IntentOp::Adopt), _) => {
            super::delete::delete_locked(world, &key, reporter)?;
            create(world, &key, wanted, false, reporter)?
        }
        (Some(IntentOp::Update), Some(record)) => {
            super::finish_update(world, &key, reporter)?;
            return change(world, &key, wanted, record, options, reporter);
        }
        (None, Some(record)) => {
            return change(world, &key, wanted, record, options, reporter);
        }
        (None | Some(IntentOp::Update), None) => create(world, &key, wanted, false, reporter)?,
    };
    // What goes may have been the ground of the new one, which is then written anew, locked.
    drop(object);
    let mut applied = made.applied;
    if let (Some(taken), Some(keep)) = (made.taken, wanted.spec.retain) {
        applied.notes.extend(retire(world, &taken, keep, reporter)?);
    }
    Ok(applied)
}

/// What came of a creation.
struct Made {
    applied: Applied,
    /// Nothing where it was only planned.
    taken: Option<SnapshotRecord>,
}

fn create(
    world: &World,
    key: &ObjectKey,
    wanted: &Snapshot,
    dry: bool,
    reporter: &dyn Reporter,
) -> Result<Made> {
    let spec = &wanted.spec;
    let first = source::find(world, spec)?;
    let _locks = if dry { Vec::new() } else { first.lock(world)? };
    // What was looked up before the locks were had may have changed.
    let source = if dry {
        first
    } else {
        source::find(world, spec)?
    };
    let mut record = new_record(world, key, wanted, &source)?;
    let ground = live::prepare(world, &source, &mut record, dry)?;
    let mut notes = match record.spec.memory {
        Some(true) => Vec::new(),
        _ => room(world, &source)?,
    };
    notes.extend(ground.notes.iter().cloned());
    notes.extend(
        source
            .left_out
            .iter()
            .map(|disk| format!("without {disk}, which kvmctl did not make")),
    );
    let plan = match live::running_user(&source) {
        _ if record.spec.memory == Some(true) => {
            plan_snapshot::create_memory(key.clone(), source.source.name.to_string())
        }
        Some(user) => {
            live::room(world, &source, &ground)?;
            let copies = copies(&source, &record);
            plan_snapshot::create_running(key.clone(), user.name.clone(), copies)
        }
        None => plan_snapshot::create(key.clone(), copies(&source, &record)),
    };
    let mut applied = told(&plan, notes);
    if dry {
        let taken = None;
        return Ok(Made { applied, taken });
    }
    let worker = SnapshotWorker::new(world, record, key, reporter).since(ground.parent.clone());
    carry_out(world, &plan, &worker, reporter)?;
    applied.notes.extend(worker.notes());
    let taken = Some(worker.record_of());
    Ok(Made { applied, taken })
}

fn new_record(
    world: &World,
    key: &ObjectKey,
    wanted: &Snapshot,
    source: &Source,
) -> Result<SnapshotRecord> {
    let uid = Uid::random();
    let version = world.host()?.hypervisor_version().ok();
    let mut record = SnapshotRecord {
        name: key.name.clone(),
        uid,
        labels: wanted.metadata.labels.clone(),
        annotations: wanted.metadata.annotations.clone(),
        applied: AppliedMeta::of(&wanted.metadata),
        generation: 1,
        created: Timestamp::now(),
        spec: wanted.spec.clone(),
        source: source.source.clone(),
        taken: Some(Timestamp::now()),
        consistency: match live::running_user(source) {
            Some(_) => None,
            None => Some(at_rest(key, source, wanted.spec.consistency)?),
        },
        running: false,
        domain: None,
        parent: None,
        qemu_version: version.map(|v| v.to_string()),
        frozen_ms: None,
        checkpoint: None,
        disks: Vec::new(),
    };
    let disks = source.disks.iter().map(|disk| SnapshotDiskRecord {
        name: disk.name.clone(),
        volume: disk.volume.clone(),
        uid: disk.uid,
        target: disk.target.clone(),
        source: disk.file.clone(),
        format: disk.format,
        file: FileRecord {
            pool: disk.file.pool.clone(),
            volume: record.file_of(&disk.name),
        },
        virtual_size: source::quantity(disk.virtual_size),
        allocated: source::quantity(disk.allocated),
        stored_size: None,
        sha256: None,
        incremental: false,
    });
    record.disks = disks.collect();
    Ok(record)
}

/// Tells what state disks at rest are in: a guest that powered off by itself had written everything,
/// and so had whoever let go of a volume.
fn at_rest(key: &ObjectKey, source: &Source, wanted: Option<Consistency>) -> Result<Consistency> {
    let clean = source.user.as_ref().is_none_or(|u| u.shut_down);
    match (wanted, clean) {
        (Some(Consistency::Crash), _) | (None | Some(Consistency::Auto), false) => {
            Ok(Consistency::Crash)
        }
        (_, true) => Ok(Consistency::Filesystem),
        (Some(Consistency::Filesystem), false) => {
            let name = source.user.as_ref().map_or("", |u| u.name.as_str());
            Err(Error::conflict(format!(
                "cannot take {key} with consistent file systems: it is not known that the guest of \
                 {name:?} powered off by itself"
            ))
            .hint(format!("kvmctl instances start {name}"))
            .hint("--consistency crash takes it as after a power cut"))
        }
    }
}

fn copies(source: &Source, record: &SnapshotRecord) -> Vec<DiskCopy> {
    let pairs = source.disks.iter().zip(&record.disks);
    pairs
        .map(|(disk, stored)| DiskCopy {
            name: disk.name.clone(),
            from: disk.path.clone(),
            format: disk.format,
            to: volume_ref(&stored.file),
        })
        .collect()
}

/// How well zstd may do with what is in a disk: less room than this part of it is certainly too little.
const BEST: u64 = 8;

/// Checks that there may be room, and says where there may not. The folders are opened on the way, so
/// that a caller without the right learns it before anything is made.
fn room(world: &World, source: &Source) -> Result<Vec<String>> {
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for disk in &source.disks {
        *needed.entry(disk.file.pool.as_str()).or_default() += disk.allocated;
    }
    let mut notes = Vec::new();
    for (pool, needed) in needed {
        let available = Folder::open(world, pool)?.pool.info()?.available;
        let gib = |bytes: u64| format!("{:.1}Gi", bytes as f64 / f64::from(1 << 30));
        if available < needed / BEST {
            return Err(Error::failed(format!(
                "pool {pool:?} has no room: {} is free, and {} are to be stored, compressed",
                gib(available),
                gib(needed)
            ))
            .hint(format!("kvmctl pools describe {pool}")));
        }
        if available < needed {
            notes.push(format!(
                "it may not fit: {} are to be stored, compressed, and {} is free in pool {pool:?}",
                gib(needed),
                gib(available)
            ));
        }
    }
    Ok(notes)
}

/// Takes a snapshot, written down before.
fn carry_out(
    world: &World,
    plan: &ObjectPlan,
    worker: &SnapshotWorker<'_>,
    reporter: &dyn Reporter,
) -> Result<()> {
    let mut record = worker.record_of();
    // It shows no moment until it is whole.
    record.taken = None;
    begin(world, &record, IntentOp::Create)?;
    let Err(failed) = execute(plan, worker, reporter) else {
        let of = format!("of {}", record.source);
        note(
            world,
            &record,
            "Created",
            &format!("the snapshot {of} was taken"),
        );
        return Ok(());
    };
    let error = failed.error.context(format!("cannot create {}", plan.key));
    match failed.undone.then(|| worker.forget()) {
        Some(Err(left)) => Err(error.caused_by(format!("could not forget it: {left}"))),
        _ => Err(error),
    }
}

/// Deletes what is no more to be kept of a row; a failure is told, and is none of the new snapshot.
fn retire(
    world: &World,
    taken: &SnapshotRecord,
    keep: u32,
    reporter: &dyn Reporter,
) -> Result<Vec<String>> {
    let in_row = |r: &SnapshotRecord| r.source.uid == taken.source.uid && r.spec.retain.is_some();
    let mut row = super::prune::that_stand(world, &in_row)?;
    row.sort_by_key(|r| std::cmp::Reverse((r.taken, r.uid == taken.uid)));
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let old: Vec<Name> = row.into_iter().skip(keep).map(|r| r.name).collect();
    let gone = old.into_iter().rev().map(|name| {
        let key = ObjectKey::new(Kind::Snapshot, name);
        match super::delete(world, &key, &DeleteOptions::default(), reporter) {
            Ok(_) => format!("{key} was deleted: the newest {keep} are kept"),
            Err(e) => format!("{key} is more than the {keep} to be kept, and stays: {e}"),
        }
    });
    Ok(gone.collect())
}

fn change(
    world: &World,
    key: &ObjectKey,
    wanted: &Snapshot,
    record: SnapshotRecord,
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
    new.spec.description.clone_from(&wanted.spec.description);
    new.spec.retain = wanted.spec.retain;
    if new == record {
        return Ok(told(&ObjectPlan::unchanged(key.clone()), Vec::new()));
    }
    new.applied = governed.applied;
    if new.spec != record.spec {
        new.generation += 1;
    }
    let plan = plan_snapshot::change(key.clone());
    let applied = told(&plan, Vec::new());
    if options.dry_run == DryRun::None {
        begin(world, &new, IntentOp::Update)?;
        let worker = SnapshotWorker::new(world, new.clone(), key, reporter);
        execute(&plan, &worker, reporter)?;
        note(world, &new, "Configured", "the snapshot was changed");
    }
    Ok(applied)
}

/// Writes sidecar and record of a snapshot again, whose change was cut off.
///
/// # Errors
/// What libvirt or the store refuses.
pub(super) fn record_again(world: &World, key: &ObjectKey, reporter: &dyn Reporter) -> Result<()> {
    let Some(record) = record_of(world, &key.name)? else {
        return Ok(());
    };
    SnapshotWorker::new(world, record, key, reporter).record()
}

/// What is not said is no wish.
fn refuse_immutable(key: &ObjectKey, record: &SnapshotRecord, wanted: &Snapshot) -> Result<()> {
    let (old, new) = (&record.spec, &wanted.spec);
    let fields = [
        ("spec.volume", new.volume == old.volume),
        ("spec.instance", new.instance == old.instance),
        (
            "spec.consistency",
            new.consistency.is_none() || new.consistency == old.consistency,
        ),
        ("spec.base", new.base.is_none() || new.base == old.base),
        (
            "spec.memory",
            new.memory.is_none() || new.memory == old.memory,
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
        "The Snapshot {:?} is invalid: {}",
        key.name.as_str(),
        lines.join(", ")
    ))
    .hint("take another one, by another name"))
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
