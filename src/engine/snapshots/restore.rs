//! Restores: the disks become what they were, or new volumes are made of what they were.

use super::super::disk_files::Folder;
use super::super::executor::execute;
use super::super::instances::{self, Change, StopOptions};
use super::super::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use super::swap::{self, RestoreWorker};
use super::{OBJECT_WAIT, finish_update, intent_of, lock, note, verify, volume_ref, whole};
use crate::api::{
    API_VERSION, Kind, Name, ObjectKey, ObjectMeta, Quantity, Reporter, Volume, VolumeSource,
    VolumeSpec,
};
use crate::error::{Error, Result};
use crate::observe::{DiskUse, World};
use crate::plan::instance::VolumeRef;
use crate::plan::snapshot::{self as plan_snapshot, Unpack};
use crate::store::{
    FileRecord, InstanceRecord, Intent, IntentOp, ObjectLock, STORE_WAIT, SnapshotDiskRecord,
    SnapshotRecord, SwapRecord, VolumeRecord,
};

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
            guard(
                world,
                key,
                &record,
                &targets,
                &RestoreRequest {
                    stop: None,
                    ..request.clone()
                },
            )
        });
    if let Err(error) = prepared {
        return Err(taken_back(world, &intent, &running, error, reporter));
    }
    swap::run(&worker, &intent)?;
    drop(held);
    note(
        world,
        &record,
        "Restored",
        &format!("{} was restored from it", record.source),
    );
    drop(object);
    start(world, &running, reporter)?;
    let mut applied = foreseen(key, &record, &targets, request);
    if running.is_empty() && !request.discard_old {
        applied.notes.push(kept_note(&targets));
    }
    Ok(Restored {
        applied: vec![applied],
    })
}

/// A disk that is to be what it was.
struct Target {
    stored: SnapshotDiskRecord,
    file: FileRecord,
    path: String,
    /// Size that it has now, where it is there.
    size: Option<u64>,
    volume: Option<Name>,
}

/// Finds what the disks of a snapshot are now.
fn targets(world: &World, key: &ObjectKey, record: &SnapshotRecord) -> Result<Vec<Target>> {
    let store = world.store_for_reading()?;
    let volumes: Vec<VolumeRecord> = store.all()?;
    let mut targets = Vec::new();
    for stored in &record.disks {
        let (file, volume) = match stored.uid {
            Some(uid) => match volumes.iter().find(|v| v.uid == uid) {
                Some(volume) => (volume.file.clone(), Some(volume.name.clone())),
                None => return Err(gone(key, &stored_name(stored))),
            },
            None => {
                let owner = store.get::<InstanceRecord>(&record.source.uid)?;
                let has = owner.is_some_and(|o| o.files.contains(&stored.source));
                if !has {
                    return Err(gone(key, &record.source.to_string()));
                }
                (stored.source.clone(), None)
            }
        };
        let pool = super::super::volumes::pool(world, &file.pool)?;
        let size = match pool.find_volume(&file.volume)? {
            Some(found) => Some(match stored.format {
                crate::api::DiskFormat::Raw => found.length()?,
                crate::api::DiskFormat::Qcow2 => found.info()?.capacity,
            }),
            None => None,
        };
        targets.push(Target {
            stored: stored.clone(),
            path: format!("{}/{}", pool.path()?, file.volume),
            file,
            size,
            volume,
        });
    }
    Ok(targets)
}

fn stored_name(disk: &SnapshotDiskRecord) -> String {
    let volume = disk.volume.as_ref().map(|v| format!("volume/{v}"));
    volume.unwrap_or_else(|| disk.name.clone())
}

fn gone(key: &ObjectKey, what: &str) -> Error {
    Error::conflict(format!("{what}, which {key} was taken of, is gone")).hint(format!(
        "kvmctl snapshots restore {} --to NEW makes a new volume of it",
        key.name
    ))
}

/// Checks that nobody uses the disks, and returns the instances that have to be stopped for it.
fn guard(
    world: &World,
    key: &ObjectKey,
    record: &SnapshotRecord,
    targets: &[Target],
    request: &RestoreRequest,
) -> Result<Vec<Name>> {
    let mut running: Vec<Name> = Vec::new();
    let uses = world.disk_uses()?;
    for used in uses
        .iter()
        .filter(|u| targets.iter().any(|t| t.path == u.path))
    {
        let domain = world.host()?.domain_by_uid(used.domain_uid)?;
        if domain.snapshot_count()? > 0 {
            return Err(has_snapshots(world, key, used)?);
        }
        if domain.has_saved_memory()? {
            let name = &used.at.domain;
            return Err(Error::conflict(format!(
                "the memory of {name:?} was saved: it would go on with disks that are not its own"
            ))
            .hint(format!("virsh managedsave-remove {name}")));
        }
        if !used.at.running {
            continue;
        }
        let name = Name::new(used.at.domain.as_str()).ok();
        match name.filter(|_| used.at.managed && request.stop.is_some()) {
            Some(name) if !running.contains(&name) => running.push(name),
            Some(_) => {}
            None => return Err(in_use(key, record, used, request)),
        }
    }
    for target in targets {
        let who = match &target.volume {
            Some(name) => ObjectKey::new(Kind::Volume, name.clone()),
            None => key.clone(),
        };
        super::super::volumes::refuse_base(world, &who, &target.path)?;
    }
    Ok(running)
}

fn in_use(
    key: &ObjectKey,
    record: &SnapshotRecord,
    used: &DiskUse,
    request: &RestoreRequest,
) -> Error {
    let domain = &used.at.domain;
    let error = Error::conflict(format!(
        "cannot restore {}: it is in use by {domain:?}, which runs",
        record.source
    ));
    let name = &key.name;
    match (used.at.managed, request.stop.is_some()) {
        (true, false) => error
            .hint(format!("kvmctl snapshots restore {name} --stop"))
            .hint(format!("kvmctl snapshots restore {name} --to NEW")),
        (true, true) => error.hint(format!("kvmctl instances stop {domain}")),
        (false, _) => error.hint(format!("virsh shutdown {domain}")),
    }
}

fn has_snapshots(world: &World, key: &ObjectKey, used: &DiskUse) -> Result<Error> {
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let with_memory =
        |r: &&SnapshotRecord| r.spec.memory == Some(true) && r.source.uid == used.domain_uid;
    let ours: Vec<String> = all
        .iter()
        .filter(with_memory)
        .map(|r| r.name.to_string())
        .collect();
    let domain = &used.at.domain;
    let error = Error::conflict(format!(
        "{domain:?} has snapshots within its disks, which restoring {key} would lose"
    ));
    Ok(match ours.is_empty() {
        true => error.hint(format!("virsh snapshot-list {domain}")),
        false => error.hint(format!("kvmctl snapshots delete {}", ours.join(" "))),
    })
}

/// Checks that what is unpacked has room beside what is there.
fn room(world: &World, targets: &[Target]) -> Result<()> {
    let mut needed: std::collections::BTreeMap<&str, u64> = Default::default();
    for target in targets {
        let bytes = target.stored.allocated.map_or(0, Quantity::bytes);
        *needed.entry(target.file.pool.as_str()).or_default() += bytes;
    }
    for (pool, needed) in needed {
        let available = Folder::open(world, pool)?.pool.info()?.available;
        if available < needed {
            let gib = |bytes: u64| format!("{:.1}Gi", bytes as f64 / f64::from(1 << 30));
            return Err(Error::failed(format!(
                "pool {pool:?} has no room: the restored disks take {}, and {} is free",
                gib(needed),
                gib(available)
            ))
            .caused_by("the disks as they are stay until the new ones are whole")
            .hint(format!("kvmctl pools describe {pool}")));
        }
    }
    Ok(())
}

/// Keeps others from changing the volumes, and from starting guests where none is to be stopped first.
fn hold<'w>(
    world: &'w World,
    targets: &[Target],
    at_rest: Option<&SnapshotRecord>,
) -> Result<Vec<ObjectLock<'w>>> {
    let store = world.store()?;
    let mut locks = match at_rest {
        Some(_) => hold_users(world, targets)?,
        None => Vec::new(),
    };
    let mut volumes: Vec<&Name> = targets.iter().filter_map(|t| t.volume.as_ref()).collect();
    volumes.sort();
    for name in volumes {
        locks.push(store.lock_object(Kind::Volume, name.as_str(), OBJECT_WAIT)?);
    }
    Ok(locks)
}

fn hold_users<'w>(world: &'w World, targets: &[Target]) -> Result<Vec<ObjectLock<'w>>> {
    let uses = world.disk_uses()?;
    let users = uses
        .iter()
        .filter(|u| targets.iter().any(|t| t.path == u.path));
    let mut names: Vec<&str> = users
        .filter(|u| u.at.managed)
        .map(|u| u.at.domain.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let store = world.store()?;
    let lock = |name: &str| Ok(store.lock_object(Kind::Instance, name, OBJECT_WAIT)?);
    names.into_iter().map(lock).collect()
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
        let instance = ObjectKey::new(Kind::Instance, name.clone());
        instances::lifecycle(world, &instance, &Change::Stop(options), reporter)?;
        reporter.finished(&instance);
    }
    Ok(())
}

fn start(world: &World, running: &[Name], reporter: &dyn Reporter) -> Result<()> {
    for name in running {
        let instance = ObjectKey::new(Kind::Instance, name.clone());
        instances::lifecycle(world, &instance, &Change::Start, reporter).map_err(|e| {
            e.context(format!(
                "the disks were restored, and {instance} does not start"
            ))
        })?;
        reporter.finished(&instance);
    }
    Ok(())
}

/// Takes back what was prepared, and starts again what was stopped for it.
fn taken_back(
    world: &World,
    intent: &Intent,
    running: &[Name],
    error: Error,
    reporter: &dyn Reporter,
) -> Error {
    let error = match swap::abandon(world, intent) {
        Ok(()) => error,
        Err(left) => error.caused_by(format!("could not take it back: {left}")),
    };
    match start(world, running, reporter) {
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

/// Makes new volumes of what a snapshot holds.
fn to_volumes(
    world: &World,
    key: &ObjectKey,
    name: &Name,
    request: &RestoreRequest,
    reporter: &dyn Reporter,
) -> Result<Restored> {
    let record = whole(world, key)?;
    super::refuse_memory(key, &record)?;
    let options = ApplyOptions {
        mode: ApplyMode::Create,
        dry_run: request.dry_run,
        wait: None,
        error_unchanged: false,
    };
    let mut applied = Vec::new();
    for disk in &record.disks {
        let short = disk.volume.as_ref().map_or("root", Name::as_str);
        let name = match record.disks.len() {
            1 => name.clone(),
            _ => Name::new(format!("{name}-{short}").as_str())
                .map_err(|e| Error::usage(format!("--to: {e}")))?,
        };
        let volume = Volume {
            api_version: API_VERSION.to_owned(),
            kind: "Volume".to_owned(),
            metadata: ObjectMeta::named(name),
            spec: VolumeSpec {
                source: Some(VolumeSource {
                    snapshot: Some(record.name.clone()),
                    disk: (record.disks.len() > 1).then(|| short.to_owned()),
                    ..VolumeSource::default()
                }),
                pool: Some(disk.file.pool.clone()),
                ..VolumeSpec::default()
            },
            status: None,
        };
        applied.push(super::super::volumes::apply(
            world, &volume, &options, reporter,
        )?);
    }
    Ok(Restored { applied })
}
