//! Snapshots: what their steps do to the world, and the operations that plan and run them.
//!
//! A snapshot is a compressed file for each disk, in the pool of that disk, with its identity in the
//! name, and a sidecar that says what it is; the sidecar is written last, so that files without one are
//! the rest of a making that was cut off. A disk that nobody writes to is read by `qemu-img`, whose
//! locks keep a guest from starting meanwhile; a disk in use is never opened, QEMU itself copies it.
//!
//! A restore writes new files beside the disks, and only when all are there and sound are they put in
//! the place of the old ones, which are kept until the guest has started.

mod apply;
mod delete;
mod export;
mod lift;
mod live;
pub(super) mod memory;
mod prune;
mod rebuild;
mod restore;
mod revert;
mod running;
mod source;
mod swap;
mod verify;
mod worker;

pub(super) use apply::apply;
pub(super) use delete::delete;
pub(super) use export::choose;
pub use export::export;
pub use prune::{PruneRequest, Pruned, prune};
pub(super) use rebuild::rebuild;
pub use restore::{RestoreRequest, Restored, restore};
pub use revert::revert;
pub use running::answer_guard;
pub(super) use swap::{drop_kept, finish_swaps, kept_name, unpack};
pub(super) use verify::stored_disk;
pub use verify::{Verified, verify};

use crate::api::{Kind, Name, ObjectKey, Reporter};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::store::{Event, EventType, FileRecord, Intent, IntentOp, STORE_WAIT, SnapshotRecord};

use super::disk_files;

/// How long to wait for another run that works on the same object.
const OBJECT_WAIT: std::time::Duration = std::time::Duration::from_secs(120);

/// Finishes what a killed run began: half made snapshots go, a restore goes back or forward.
///
/// # Errors
/// What libvirt or the store refuses.
pub(super) fn finish(world: &World, intent: &Intent, reporter: &dyn Reporter) -> Result<String> {
    let key = ObjectKey::new(Kind::Snapshot, intent.name.clone());
    let _object = lock(world, &key)?;
    let now = world.store()?.get::<Intent>(&intent.uid)?;
    if now.is_none_or(|now| now.op != intent.op) {
        // Whoever was at it has come to its end since it was looked for.
        return Ok(NOTHING_LEFT.to_owned());
    }
    match intent.op {
        IntentOp::Update => finish_update(world, &key, reporter),
        _ => {
            delete::delete_locked(world, &key, reporter)?;
            Ok("deleted".to_owned())
        }
    }
}

/// What is said where others have finished what was begun.
const NOTHING_LEFT: &str = "nothing was left to do";

/// Finishes a change or restore of a snapshot that the caller has locked.
fn finish_update(world: &World, key: &ObjectKey, reporter: &dyn Reporter) -> Result<String> {
    let begun = intent_of(world, &key.name)?;
    let Some(intent) = begun.filter(|i| i.op == IntentOp::Update) else {
        return Ok(NOTHING_LEFT.to_owned());
    };
    match swap::Stage::of(&intent) {
        Some(stage) => swap::finish(world, key, &intent, stage, reporter).map(str::to_owned),
        None => {
            apply::record_again(world, key, reporter)?;
            Ok("configured".to_owned())
        }
    }
}

fn lock<'w>(world: &'w World, key: &ObjectKey) -> Result<crate::store::ObjectLock<'w>> {
    let store = world.store()?;
    Ok(store.lock_object(key.kind, key.name.as_str(), OBJECT_WAIT)?)
}

/// Returns what was begun on a snapshot and has not ended.
fn intent_of(world: &World, name: &Name) -> Result<Option<Intent>> {
    let intents: Vec<Intent> = world.store_for_reading()?.all()?;
    let of_it = |i: &Intent| i.kind == Kind::Snapshot && i.name == *name;
    Ok(intents.into_iter().find(of_it))
}

fn record_of(world: &World, name: &Name) -> Result<Option<SnapshotRecord>> {
    Ok(world.store_for_reading()?.get::<SnapshotRecord>(name)?)
}

/// Returns the record of a snapshot that is there, whole.
///
/// # Errors
/// `NotFound` with a suggestion; a conflict for one that is being taken or deleted.
pub(super) fn whole(world: &World, key: &ObjectKey) -> Result<SnapshotRecord> {
    let Some(record) = record_of(world, &key.name)? else {
        world.snapshot(&key.name)?;
        return Err(Error::not_found(format!("{key} not found")));
    };
    let going = intent_of(world, &key.name)?.is_some_and(|i| i.op != IntentOp::Update);
    if going || !record.is_taken() {
        return Err(
            Error::conflict(format!("{key} is not whole")).hint(format!("kvmctl describe {key}"))
        );
    }
    Ok(record)
}

/// Refuses what goes only with snapshots that have files of their own.
///
/// # Errors
/// A conflict that says where its state lies.
pub(super) fn refuse_memory(key: &ObjectKey, record: &SnapshotRecord) -> Result<()> {
    if record.spec.memory != Some(true) {
        return Ok(());
    }
    let instance = &record.source.name;
    Err(Error::conflict(format!(
        "{key} was taken with memory: its state lies in the disks of instance/{instance}"
    ))
    .hint(format!(
        "kvmctl instances revert {instance} --to {}",
        key.name
    )))
}

/// Writes down what is about to be done, before anything is.
fn begin(world: &World, record: &SnapshotRecord, op: IntentOp) -> Result<()> {
    let mut intent = Intent::new(op, Kind::Snapshot, record.name.clone(), record.uid);
    intent.files = files_of(record);
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    store.put(&intent)?;
    Ok(store.put(record)?)
}

/// Lists all files that a snapshot has or may have had while it was made; the sidecar last.
fn files_of(record: &SnapshotRecord) -> Vec<FileRecord> {
    let of_disk = |d: &crate::store::SnapshotDiskRecord| [d.staged(), d.part(), d.file.clone()];
    let mut files: Vec<FileRecord> = record.disks.iter().flat_map(of_disk).collect();
    if let Some(sidecar) = record.sidecar() {
        files.push(disk_files::part_of(&sidecar));
        files.push(sidecar);
    }
    files
}

fn volume_ref(file: &FileRecord) -> VolumeRef {
    VolumeRef {
        pool: file.pool.clone(),
        name: file.volume.clone(),
    }
}

/// Writes an event; one that cannot be written is no reason to fail.
fn note(world: &World, record: &SnapshotRecord, reason: &str, message: &str) {
    let event = Event::new(
        EventType::Normal,
        Kind::Snapshot,
        record.name.as_str(),
        Some(record.uid),
        reason,
        message,
    );
    let written = world.store().and_then(|s| Ok(s.record_event(&event)?));
    if let Err(error) = written {
        tracing::warn!(target: "store", "cannot write the event: {error}");
    }
}

/// Says which snapshots of an object stay when it goes.
///
/// # Errors
/// What the store refuses.
pub(super) fn that_stay(world: &World, key: &ObjectKey) -> Result<Vec<String>> {
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let of_it = |r: &&SnapshotRecord| {
        r.source.kind == key.kind && r.source.name == key.name && !r.disks.is_empty()
    };
    let names = all.iter().filter(of_it).map(|r| {
        format!(
            "snapshot/{0} of it stays: kvmctl snapshots restore {0} --to NEW",
            r.name
        )
    });
    Ok(names.collect())
}
