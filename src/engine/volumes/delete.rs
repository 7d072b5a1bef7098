//! Deletes a volume that nobody has and nothing stands on.

use super::super::disk_files;
use super::super::executor::execute;
use super::super::options::{Applied, DeleteOptions, DryRun};
use super::super::snapshots::memory;
use super::apply::told;
use super::worker::VolumeWorker;
use super::{OBJECT_WAIT, in_use, intent_of, note, record_of, sidecar_ref, volume_ref};
use crate::api::{Kind, ObjectKey, Reporter};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::ObjectPlan;
use crate::plan::instance::VolumeRef;
use crate::plan::volume as plan_volume;
use crate::store::{InstanceRecord, Intent, IntentOp, STORE_WAIT, Store, VolumeRecord};

/// Deletes a volume.
///
/// # Errors
/// `NotFound`; a conflict that names who has it or what stands on it, or for one that is not ours.
pub(crate) fn delete(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    if options.dry_run != DryRun::None {
        let record = found(world, key)?;
        refuse_used_but(world, key, &record, &|name| options.has_deleted(name))?;
        let stay = super::super::snapshots::that_stay(world, key)?;
        return Ok(told(&plan(world, key, &record)?, stay));
    }
    let _object = world
        .store()?
        .lock_object(Kind::Volume, key.name.as_str(), OBJECT_WAIT)?;
    delete_locked(world, key, reporter)
}

/// As [`delete`], for a caller that has locked the volume already.
pub(super) fn delete_locked(
    world: &World,
    key: &ObjectKey,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let record = found(world, key)?;
    refuse_used(world, key, &record)?;
    let worker = VolumeWorker::new(world, record.clone(), key, reporter);
    // What a change that was cut off made is in its intent only, and this one takes its place.
    let changing = intent_of(world, &key.name)?.filter(|i| i.op == IntentOp::Update);
    worker.delete_others(&changing.map(|i| i.files).unwrap_or_default())?;
    begin(world, key, &record)?;
    let plan = plan(world, key, &record)?;
    execute(&plan, &worker, reporter)?;
    note(
        world,
        &record,
        "Deleted",
        "the volume and its data are gone",
    );
    Ok(told(&plan, super::super::snapshots::that_stay(world, key)?))
}

fn plan(world: &World, key: &ObjectKey, record: &VolumeRecord) -> Result<ObjectPlan> {
    let copy = VolumeRef {
        pool: record.file.pool.clone(),
        name: record.copy_for_export(),
    };
    let (file, sidecar) = (volume_ref(&record.file), sidecar_ref(record));
    let mut others = Vec::new();
    others.extend(disk_files::is_there(world, &copy)?.then_some(copy));
    // A restore keeps the old file under its own name, which the volume may have changed since.
    let ours = format!("{}.{}.", record.name, record.uid.short());
    let kept = super::super::snapshots::kept_name("");
    others.extend(disk_files::named(world, &record.file.pool, &|name| {
        name.starts_with(&ours) && name.ends_with(&kept)
    })?);
    Ok(plan_volume::delete(key.clone(), file, others, sidecar))
}

fn found(world: &World, key: &ObjectKey) -> Result<VolumeRecord> {
    if let Some(record) = record_of(world, &key.name)? {
        return Ok(record);
    }
    if let Some(intent) = intent_of(world, &key.name)? {
        // Its record was never written, or is gone already; the intent names the files.
        if let Some(record) = of_intent(&intent) {
            return Ok(record);
        }
    }
    let foreign = world.volume(&key.name)?;
    let status = foreign.status.unwrap_or_default();
    Err(
        Error::conflict(format!("{key} is not managed by kvmctl")).hint(format!(
            "virsh vol-delete {} --pool {}",
            status.volume.unwrap_or_default(),
            status.pool.unwrap_or_default()
        )),
    )
}

fn of_intent(intent: &Intent) -> Option<VolumeRecord> {
    let file = intent.files.first()?.clone();
    let raw = file.volume.ends_with(".raw");
    Some(VolumeRecord {
        name: intent.name.clone(),
        uid: intent.uid,
        labels: Default::default(),
        annotations: Default::default(),
        applied: Default::default(),
        generation: 1,
        created: intent.started,
        format: match raw {
            true => crate::api::DiskFormat::Raw,
            false => crate::api::DiskFormat::Qcow2,
        },
        file,
        spec: Default::default(),
    })
}

/// What a domain has, what another volume stands on, and what holds the state of a snapshot stays.
pub(super) fn refuse_used(world: &World, key: &ObjectKey, record: &VolumeRecord) -> Result<()> {
    refuse_used_but(world, key, record, &|_| false)
}

/// As [`refuse_used`], where instances do not count that are `gone`.
fn refuse_used_but(
    world: &World,
    key: &ObjectKey,
    record: &VolumeRecord,
    gone: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let pool = match world.host()?.pool(&record.file.pool) {
        Ok(pool) if pool.is_active()? => pool,
        Ok(_) => {
            return Err(Error::conflict(format!(
                "storage pool {:?}, in which {key} lies, is not active",
                record.file.pool
            ))
            .hint(format!("virsh pool-start {}", record.file.pool)));
        }
        // With the pool everything in it is gone.
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let mut wanted = wanted_by(world.store_for_reading()?, record)?;
    wanted.retain(|instance| !gone(instance.as_str()));
    if !wanted.is_empty() {
        let hints = wanted
            .iter()
            .map(|i| format!("kvmctl volumes detach {} {i}", key.name));
        let users: Vec<String> = wanted.iter().map(|i| format!("instance/{i}")).collect();
        return Err(hints.fold(in_use(key, &users), Error::hint));
    }
    let Some(volume) = pool.find_volume(&record.file.volume)? else {
        return Ok(());
    };
    let path = volume.path()?;
    let uses = world.disk_uses()?;
    let users: Vec<_> = uses
        .iter()
        .filter(|u| u.path == path && !gone(&u.at.domain))
        .collect();
    if let Some(first) = users.first() {
        let names: Vec<String> = users
            .iter()
            .map(|u| format!("domain {:?} ({})", u.at.domain, u.at.target))
            .collect();
        let (domain, target) = (&first.at.domain, &first.at.target);
        return Err(
            in_use(key, &names).hint(format!("virsh detach-disk {domain} {target} --config"))
        );
    }
    refuse_base(world, key, &path)?;
    let kept = memory::kept_in(world, &path)?;
    if kept.is_empty() {
        return Ok(());
    }
    let keepers: Vec<String> = kept.iter().map(|name| format!("snapshot/{name}")).collect();
    let hints = kept
        .iter()
        .map(|name| format!("kvmctl snapshots delete {name}"));
    Err(hints.fold(in_use(key, &keepers), Error::hint))
}

/// Names of the instances that ask for a volume.
fn wanted_by(store: &Store, record: &VolumeRecord) -> Result<Vec<String>> {
    let instances: Vec<InstanceRecord> = store.all()?;
    let asking = instances
        .into_iter()
        .filter(|i| i.spec.volumes.iter().any(|v| v.name == record.name));
    Ok(asking.map(|i| i.name.to_string()).collect())
}

/// Refuses what would change a file that another volume stands on.
///
/// # Errors
/// A conflict that names those.
pub(in crate::engine) fn refuse_base(world: &World, key: &ObjectKey, path: &str) -> Result<()> {
    let mut users = Vec::new();
    for pool in world.host()?.pools()? {
        if !pool.is_active()? {
            continue;
        }
        for volume in pool.volumes()? {
            match volume.backing_path() {
                Ok(Some(base)) if base == path => users.push(format!("volume {}", volume.name)),
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            }
        }
    }
    match users.is_empty() {
        true => Ok(()),
        false => Err(in_use(key, &users)),
    }
}

/// Writes down that it is to go, unless an instance has come to ask for it.
fn begin(world: &World, key: &ObjectKey, record: &VolumeRecord) -> Result<()> {
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    let wanted = wanted_by(store, record)?;
    if !wanted.is_empty() {
        return Err(in_use(key, &wanted));
    }
    let mut intent = Intent::new(
        IntentOp::Delete,
        Kind::Volume,
        record.name.clone(),
        record.uid,
    );
    let sidecar = crate::store::FileRecord {
        pool: record.file.pool.clone(),
        volume: record.sidecar(),
    };
    intent.files = vec![record.file.clone(), sidecar];
    Ok(store.put(&intent)?)
}
