//! Restores: the disks become what they were, or new volumes are made of what they were.

mod anew;
mod guard;
mod targets;

use super::super::disk_files::Folder;
use super::super::executor::execute;
use super::super::instances::{self, Change, StopOptions};
use super::super::options::{Applied, DryRun};
use super::swap::{self, RestoreWorker, Stage};
use super::{finish_update, intent_of, lock, note, verify, volume_ref, whole};
use crate::api::{Kind, Name, ObjectKey, Quantity, Reporter};
use crate::engine::{interrupted, shielded};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::plan::snapshot::{self as plan_snapshot, Unpack};
use crate::store::{Intent, IntentOp, STORE_WAIT, SnapshotRecord, SwapRecord};
use anew::to_volumes;
use guard::guard;
use targets::{Target, hold, hold_users, room, targets};

/// How to restore.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Make new volumes of this name instead.
    pub to: Option<Name>,
    /// Stop the instances that have the disks, and start them afterwards.
    pub stop: Option<StopOptions>,
    /// Do not keep the disks as they were until the guest has started.
    pub discard_old: bool,
    /// How far to go.
    pub dry_run: DryRun,
}

/// What came of a restore.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What happened to each object.
    pub applied: Vec<Applied>,
}

/// Restores a snapshot.
///
/// # Errors
/// A conflict while a guest runs that has the disks, or where what it was taken of is gone; a snapshot
/// that is not what was stored. The disks are then as they were.
pub fn restore(
    world: &World,
    key: &ObjectKey,
    request: &RestoreRequest,
    reporter: &dyn Reporter,
) -> Result<Restored> {
    if let Some(name) = &request.to {
        return to_volumes(world, key, name, request, reporter);
    }
    let dry = request.dry_run != DryRun::None;
    let object = if dry { None } else { Some(lock(world, key)?) };
    if !dry && intent_of(world, &key.name)?.is_some_and(|i| i.op == IntentOp::Update) {
        finish_update(world, key, reporter)?;
    }
    let record = whole(world, key)?;
    super::refuse_memory(key, &record)?;
    let first = targets(world, key, &record)?;
    let running = guard(world, key, &record, &first, request)?;
    room(world, &first)?;
    if dry {
        return Ok(Restored {
            applied: vec![foreseen(key, &record, &first, request)],
        });
    }
    let mut held = hold(world, &first, running.is_empty().then_some(&record))?;
    let targets = targets(world, key, &record)?;
    verify::stored(world, key, &record, reporter)?;
    let intent = begin(world, &record, &targets, &running, request)?;
    let worker = RestoreWorker {
        world,
        key,
        reporter,
        uid: record.uid,
    };
    let plan = plan_snapshot::unpack(key.clone(), unpacks(&record, &targets));
    let prepared = execute(&plan, &worker, reporter)
        .map_err(Error::from)
        .and_then(|()| stop(world, &running, request, reporter))
        .and_then(|()| protect(world, &intent))
        .and_then(|()| {
            if !running.is_empty() {
                held.extend(hold_users(world, &targets)?);
            }
            let at_rest = RestoreRequest {
                stop: None,
                ..request.clone()
            };
            guard(world, key, &record, &targets, &at_rest)
        })
        // From here on it goes forward, and is short.
        .and_then(|_| interrupted())
        .and_then(|()| shielded(|| swap::run(&worker, &intent)));
    // Whoever is started is locked by its start.
    drop(held);
    if let Err(error) = prepared {
        return Err(taken_back(world, &intent, error, reporter));
    }
    note(
        world,
        &record,
        "Restored",
        &format!("{} was restored from it", record.source),
    );
    swap::restart(world, &intent.uid, reporter)
        .map_err(|e| e.context("the disks were restored"))?;
    drop(object);
    let mut applied = foreseen(key, &record, &targets, request);
    if running.is_empty() && !request.discard_old {
        applied.notes.push(kept_note(&targets));
    }
    Ok(Restored {
        applied: vec![applied],
    })
}

fn new_name(record: &SnapshotRecord, disk: &str) -> String {
    format!("{disk}.restore-{}", record.uid.short())
}

fn begin(
    world: &World,
    record: &SnapshotRecord,
    targets: &[Target],
    running: &[Name],
    request: &RestoreRequest,
) -> Result<Intent> {
    let (name, uid) = (record.name.clone(), record.uid);
    let mut intent = Intent::new(IntentOp::Update, Kind::Snapshot, name, uid);
    let swap = |target: &Target| SwapRecord {
        disk: target.file.clone(),
        new: new_name(record, &target.file.volume),
        kept: (!request.discard_old).then(|| swap::kept_name(&target.file.volume)),
    };
    intent.swaps = targets.iter().map(swap).collect();
    intent.restart = running.to_vec();
    intent.message = Some(format!(
        "a restore was cut off; kvmctl reconcile, or the same command, brings {} to the old or the \
         new state",
        record.source
    ));
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    store.put(&intent)?;
    Ok(intent)
}

fn unpacks(record: &SnapshotRecord, targets: &[Target]) -> Vec<Unpack> {
    let of = |target: &Target| Unpack {
        name: target.stored.name.clone(),
        from: volume_ref(&target.stored.file),
        to: VolumeRef {
            pool: target.file.pool.clone(),
            name: new_name(record, &target.file.volume),
        },
        format: target.stored.format,
        // A disk that has grown since stays as large as it is.
        least: target.size.and_then(Quantity::from_bytes),
    };
    targets.iter().map(of).collect()
}

/// Gives the new files the owner and the rights of those whose place they take.
fn protect(world: &World, intent: &Intent) -> Result<()> {
    for swap in &intent.swaps {
        let folder = Folder::open(world, &swap.disk.pool)?;
        if !folder.has(&swap.disk.volume) {
            continue;
        }
        folder.same_rights(&swap.disk.volume, &swap.new)?;
    }
    Ok(())
}

fn stop(
    world: &World,
    running: &[Name],
    request: &RestoreRequest,
    reporter: &dyn Reporter,
) -> Result<()> {
    let Some(options) = request.stop else {
        return Ok(());
    };
    for name in running {
        interrupted()?;
        let instance = ObjectKey::new(Kind::Instance, name.clone());
        let change = Change::Stop(options);
        // What it was asked for cannot be taken back: one that is still on its way down would stay off.
        shielded(|| instances::lifecycle(world, &instance, &change, reporter))?;
        reporter.finished(&instance);
    }
    Ok(())
}

/// Takes back what was prepared, and starts again what was stopped for it. What has begun to take the
/// place of the disks is left to go forward.
fn taken_back(world: &World, intent: &Intent, error: Error, reporter: &dyn Reporter) -> Error {
    let back = || {
        let now = world.store()?.get::<Intent>(&intent.uid)?;
        match now.filter(|now| Stage::of(now) == Some(Stage::Unpacking)) {
            Some(now) => swap::abandon(world, &now),
            None => {
                Err(Error::failed("the new disks are taking their places").hint("kvmctl reconcile"))
            }
        }
    };
    if let Err(left) = back() {
        return error.caused_by(format!("could not take it back: {left}"));
    }
    match swap::restart(world, &intent.uid, reporter) {
        Ok(()) => error,
        Err(left) => error.caused_by(left),
    }
}

fn foreseen(
    key: &ObjectKey,
    record: &SnapshotRecord,
    targets: &[Target],
    request: &RestoreRequest,
) -> Applied {
    let of = |target: &Target| plan_snapshot::Swap {
        new: VolumeRef {
            pool: target.file.pool.clone(),
            name: new_name(record, &target.file.volume),
        },
        disk: volume_ref(&target.file),
        kept: (!request.discard_old).then(|| VolumeRef {
            pool: target.file.pool.clone(),
            name: swap::kept_name(&target.file.volume),
        }),
    };
    let unpack = plan_snapshot::unpack(key.clone(), unpacks(record, targets));
    let swap = plan_snapshot::swap(key.clone(), targets.iter().map(of).collect());
    let mut applied = super::apply::told(&unpack, Vec::new());
    applied
        .explanation
        .extend(super::apply::told(&swap, Vec::new()).explanation);
    applied
}

fn kept_note(targets: &[Target]) -> String {
    let kept: Vec<String> = targets.iter().map(|t| swap::kept_name(&t.path)).collect();
    format!(
        "what was there is kept until an instance has started with it: {}",
        kept.join(", ")
    )
}
