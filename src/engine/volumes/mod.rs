//! Volumes: what their steps do to the world, and the operations that plan and run them.
//!
//! A volume is a file of a pool with its identity in the name, and a sidecar beside it that says what
//! it is; the sidecar is written last, so that a file without one is the rest of a making that was
//! cut off. Whoever has a volume says so in his own record: nothing of it is written here.

mod apply;
mod blank;
mod content;
mod copy;
mod delete;
mod export;
mod from_tar;
mod grow_fs;
mod import;
mod make;
mod resize;
mod upload;
mod worker;

pub(super) use apply::apply;
pub(super) use delete::delete;
pub(super) use delete::refuse_base;
pub use export::{ExportRequest, download, export};
pub(super) use export::{export_file, refuse_present};
pub use grow_fs::{GrowFs, grow_fs};
pub use import::{ImportRequest, import};
pub(super) use make::pool;
pub use resize::resize;
pub(super) use resize::settle_size;
pub use upload::upload;

use crate::api::{Kind, Name, ObjectKey, Reporter};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::store::{
    Event, EventType, FileRecord, InstanceRecord, Intent, IntentOp, STORE_WAIT, VolumeRecord,
};

/// How long to wait for another run that works on the same volume.
const OBJECT_WAIT: std::time::Duration = std::time::Duration::from_secs(120);

/// Removes what killed runs left: in the cache, and the copies that the daemon made for exports.
pub(super) fn sweep(world: &World) {
    from_tar::sweep(world);
    if let Err(error) = copy::sweep(world) {
        tracing::warn!(target: "volumes", "cannot look for what exports left: {error}");
    }
}

/// Finishes what a killed run began: half made volumes go, since nobody has had them yet.
///
/// # Errors
/// What libvirt or the store refuses.
pub(super) fn finish(world: &World, intent: &Intent, reporter: &dyn Reporter) -> Result<String> {
    let key = ObjectKey::new(Kind::Volume, intent.name.clone());
    match intent.op {
        IntentOp::Update => resize::finish(world, &key, reporter).map(|()| "configured".to_owned()),
        op => {
            let store = world.store()?;
            let _object = store.lock_object(Kind::Volume, key.name.as_str(), OBJECT_WAIT)?;
            // Another run may have ended it while we waited.
            let still = store
                .get::<Intent>(&intent.uid)?
                .is_some_and(|i| i.op == op);
            if still {
                delete::delete_locked(world, &key, reporter)?;
            }
            Ok(if still { "deleted" } else { "it was ended" }.to_owned())
        }
    }
}

/// Returns what was begun on a volume and has not ended.
fn intent_of(world: &World, name: &Name) -> Result<Option<Intent>> {
    let intents: Vec<Intent> = world.store_for_reading()?.all()?;
    let of_it = |i: &Intent| i.kind == Kind::Volume && i.name == *name;
    Ok(intents.into_iter().find(of_it))
}

fn record_of(world: &World, name: &Name) -> Result<Option<VolumeRecord>> {
    Ok(world.store_for_reading()?.get::<VolumeRecord>(name)?)
}

/// Writes down what is about to be done, before anything is.
fn begin(world: &World, record: &VolumeRecord, op: IntentOp) -> Result<()> {
    begin_with(world, record, op, &[])
}

/// As [`begin`], for a change that makes or replaces other files too.
fn begin_with(
    world: &World,
    record: &VolumeRecord,
    op: IntentOp,
    others: &[FileRecord],
) -> Result<()> {
    let mut intent = Intent::new(op, Kind::Volume, record.name.clone(), record.uid);
    let sidecar = FileRecord {
        pool: record.file.pool.clone(),
        volume: record.sidecar(),
    };
    intent.files = vec![record.file.clone(), sidecar];
    intent.files.extend(others.iter().cloned());
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    store.put(&intent)?;
    Ok(store.put(record)?)
}

fn volume_ref(file: &FileRecord) -> VolumeRef {
    VolumeRef {
        pool: file.pool.clone(),
        name: file.volume.clone(),
    }
}

fn sidecar_ref(record: &VolumeRecord) -> VolumeRef {
    VolumeRef {
        pool: record.file.pool.clone(),
        name: record.sidecar(),
    }
}

/// Writes an event; one that cannot be written is no reason to fail.
fn note(world: &World, record: &VolumeRecord, reason: &str, message: &str) {
    let event = Event::new(
        EventType::Normal,
        Kind::Volume,
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

/// Words that somebody has a volume.
fn in_use(key: &ObjectKey, users: &[String]) -> Error {
    Error::conflict(format!("{key} is used by {}", users.join(", ")))
}

/// Returns the instances that ask for a volume, or were about to let go of it when they were cut off.
///
/// # Errors
/// `NotFound` for a volume that does not exist, or that only domains of others have.
pub fn holders(world: &World, name: &Name) -> Result<Vec<Name>> {
    let volume = world.volume(name)?;
    let store = world.store_for_reading()?;
    let instances: Vec<InstanceRecord> = store.all()?;
    let asking = instances
        .into_iter()
        .filter(|i| i.spec.volumes.iter().any(|v| v.name == *name));
    let asking: Vec<Name> = asking.map(|i| i.name).collect();
    if !asking.is_empty() {
        return Ok(asking);
    }
    let changing: Vec<Intent> = store.all()?;
    let letting_go = changing
        .into_iter()
        .filter(|i| i.kind == Kind::Instance && i.volumes.contains(name));
    let letting_go: Vec<Name> = letting_go.map(|i| i.name).collect();
    let users = volume.status.unwrap_or_default().attached_to;
    if let (true, Some(user)) = (letting_go.is_empty(), users.first()) {
        let (domain, target) = (&user.domain, &user.target);
        return Err(Error::not_found(format!(
            "volume/{name} is attached to no instance, but to domain {domain:?}"
        ))
        .hint(format!("virsh detach-disk {domain} {target} --persistent")));
    }
    Ok(letting_go)
}
