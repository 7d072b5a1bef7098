//! Deletes a snapshot; those that stand on it are written anew before.

use std::collections::BTreeSet;

use super::super::disk_files;
use super::super::executor::execute;
use super::super::options::{Applied, DeleteOptions, DryRun};
use super::apply::told;
use super::worker::SnapshotWorker;
use super::{files_of, intent_of, lift, lock, note, record_of, volume_ref};
use crate::api::{Kind, ObjectKey, Reporter, SnapshotSource, Timestamp};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::plan::snapshot as plan_snapshot;
use crate::plan::{ObjectPlan, Step};
use crate::store::{FileRecord, Intent, IntentOp, STORE_WAIT, SnapshotRecord};

/// Deletes a snapshot.
///
/// # Errors
/// `NotFound`; a conflict that names what stands on it.
pub(crate) fn delete(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    if options.dry_run != DryRun::None {
        let (record, files) = found(world, key)?;
        let plan = plan(world, key, record.as_ref(), &files)?;
        return Ok(told(&plan, Vec::new()));
    }
    let _object = lock(world, key)?;
    delete_locked(world, key, reporter)
}

/// As [`delete`], for a caller that has locked the snapshot already.
pub(super) fn delete_locked(
    world: &World,
    key: &ObjectKey,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    if intent_of(world, &key.name)?.is_some_and(|i| i.op == IntentOp::Update) {
        // A restore from it goes to its end or back before it goes itself.
        super::finish_update(world, key, reporter)?;
    }
    let (record, files) = found(world, key)?;
    let record = match record {
        Some(record) => record,
        None => rest(world, key)?,
    };
    refuse_inactive(world, key, &files)?;
    begin(world, &record, &files)?;
    let plan = plan(world, key, Some(&record), &files)?;
    let worker = SnapshotWorker::new(world, record.clone(), key, reporter);
    lift_all(world, &record, &worker)?;
    let mut applied = told(&plan, Vec::new());
    execute(&alone(plan), &worker, reporter)?;
    note(world, &record, "Deleted", "the snapshot is gone");
    applied.notes = worker.notes();
    Ok(applied)
}

/// Lets all stand without it. While one of them was waited for, which went itself, those that stood on
/// that one may have come to stand on this: no file may go before none is left.
fn lift_all(world: &World, record: &SnapshotRecord, worker: &SnapshotWorker<'_>) -> Result<()> {
    loop {
        let children = lift::children(world, record)?;
        if children.is_empty() {
            return Ok(());
        }
        let plan = plan_snapshot::lift(worker.key.clone(), children);
        execute(&plan, worker, worker.reporter)?;
    }
}

/// Leaves out of a plan what was done before.
fn alone(mut plan: ObjectPlan) -> ObjectPlan {
    let lifts = |step: &Step| matches!(step, Step::Snapshot(plan_snapshot::Step::Lift { .. }));
    plan.stages.retain(|stage| !stage.iter().any(lifts));
    plan
}

/// Plans it; the sidecar is the last of the files.
fn plan(
    world: &World,
    key: &ObjectKey,
    record: Option<&SnapshotRecord>,
    files: &[FileRecord],
) -> Result<ObjectPlan> {
    let mut files: Vec<_> = files.iter().map(volume_ref).collect();
    let sidecar = files.pop();
    let last = record.map(|r| r.disks.iter().map(|d| d.file.volume.as_str()).collect());
    files = there(world, files, &last.unwrap_or_default())?;
    let children = record.map(|r| lift::children(world, r)).transpose()?;
    let with_guest = record.filter(|r| r.domain.is_some());
    let domain = with_guest.map(|r| r.source.to_string());
    let children = children.unwrap_or_default();
    Ok(plan_snapshot::delete(
        key.clone(),
        domain,
        children,
        files,
        sidecar,
    ))
}

/// Leaves out what a run that was cut off may have left, where it has not.
fn there(world: &World, files: Vec<VolumeRef>, named: &BTreeSet<&str>) -> Result<Vec<VolumeRef>> {
    let mut found = Vec::new();
    for file in files {
        let there = named.contains(file.name.as_str()) || disk_files::is_there(world, &file)?;
        found.extend(there.then_some(file));
    }
    Ok(found)
}

/// Finds the record and the files, of which a killed run may have left only the intent.
fn found(world: &World, key: &ObjectKey) -> Result<(Option<SnapshotRecord>, Vec<FileRecord>)> {
    if let Some(record) = record_of(world, &key.name)? {
        let files = files_of(&record);
        return Ok((Some(record), files));
    }
    if let Some(intent) = intent_of(world, &key.name)? {
        return Ok((None, intent.files));
    }
    // Says that it is not found.
    world.snapshot(&key.name)?;
    Err(Error::not_found(format!("{key} not found")))
}

/// A record for what has none any more.
fn rest(world: &World, key: &ObjectKey) -> Result<SnapshotRecord> {
    let intent =
        intent_of(world, &key.name)?.ok_or_else(|| Error::not_found(format!("{key} not found")))?;
    Ok(SnapshotRecord {
        name: intent.name.clone(),
        uid: intent.uid,
        labels: Default::default(),
        annotations: Default::default(),
        applied: Default::default(),
        generation: 1,
        created: Timestamp::now(),
        spec: Default::default(),
        source: SnapshotSource {
            kind: Kind::Volume,
            name: intent.name,
            uid: intent.uid,
        },
        taken: None,
        consistency: None,
        running: false,
        domain: None,
        parent: None,
        qemu_version: None,
        frozen_ms: None,
        checkpoint: None,
        disks: Vec::new(),
    })
}

fn refuse_inactive(world: &World, key: &ObjectKey, files: &[FileRecord]) -> Result<()> {
    for file in files {
        match world.host()?.pool(&file.pool) {
            Ok(pool) if pool.is_active()? => {}
            Ok(_) => {
                return Err(Error::conflict(format!(
                    "storage pool {:?}, in which {key} lies, is not active",
                    file.pool
                ))
                .hint(format!("virsh pool-start {}", file.pool)));
            }
            // With the pool everything in it is gone.
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn begin(world: &World, record: &SnapshotRecord, files: &[FileRecord]) -> Result<()> {
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    let mut intent = Intent::new(
        IntentOp::Delete,
        Kind::Snapshot,
        record.name.clone(),
        record.uid,
    );
    intent.files = files.to_vec();
    Ok(store.put(&intent)?)
}
