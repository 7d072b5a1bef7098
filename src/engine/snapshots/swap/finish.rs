//! The end of a restore, or of one that was cut off: whose guests are kept from it, and that those which
//! were stopped for it run again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{RestoreWorker, STARTING, Stage, run, swaps};
use crate::api::{Kind, Name, ObjectKey, Reporter, Uid};
use crate::engine::disk_files::{self, Folder};
use crate::engine::snapshots::{OBJECT_WAIT, volume_ref};
use crate::engine::{instances, interrupted, shielded, volumes};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::Domain;
use crate::observe::World;
use crate::store::{FileRecord, Intent, IntentOp, ObjectLock, STORE_WAIT, VolumeRecord};

/// How long a guest that starts waits for whoever is at the snapshot, and may wait for the guest.
const START_WAIT: Duration = Duration::from_secs(5);

/// Takes a restore back whose new files are not all there: the disks are as they were. The intent lives
/// as long as a guest is to be started again.
///
/// # Errors
/// What the system or the store refuses.
pub(in crate::engine::snapshots) fn abandon(world: &World, intent: &Intent) -> Result<()> {
    for swap in swaps(intent) {
        disk_files::delete(world, &swap.new)?;
    }
    disks_done(world, &intent.uid)
}

/// Notes that the disks are what they shall be, and ends the intent where that is all.
pub(super) fn disks_done(world: &World, uid: &Uid) -> Result<()> {
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    match store.get::<Intent>(uid)? {
        Some(mut intent) if !intent.restart.is_empty() => {
            intent.step = Some(STARTING.to_owned());
            Ok(store.put(&intent)?)
        }
        _ => Ok(store.remove::<Intent>(uid).map(drop)?),
    }
}

/// Starts again what was stopped for a restore, and ends its intent: each is tried once, and not stopped
/// by the signal that ended the restore.
///
/// # Errors
/// The first of what does not start; the store's.
pub(in crate::engine::snapshots) fn restart(
    world: &World,
    uid: &Uid,
    reporter: &dyn Reporter,
) -> Result<()> {
    let store = world.store()?;
    let Some(intent) = store.get::<Intent>(uid)? else {
        return Ok(());
    };
    let mut first = Ok(());
    for name in &intent.restart {
        let instance = ObjectKey::new(Kind::Instance, name.clone());
        let change = instances::Change::Start;
        let started = shielded(|| instances::lifecycle(world, &instance, &change, reporter));
        reporter.finished(&instance);
        match started {
            // It was deleted since.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => first = first.and(Err(e.context(format!("{instance} does not start")))),
            Ok(_) => {}
        }
    }
    let _lock = store.lock(STORE_WAIT)?;
    store.remove::<Intent>(uid)?;
    first
}

/// Finishes a restore that was cut off: back, or forward.
///
/// # Errors
/// A conflict while a guest runs on files that are to be replaced; what the system or the store refuses.
/// The intent then stays.
pub(in crate::engine::snapshots) fn finish(
    world: &World,
    key: &ObjectKey,
    intent: &Intent,
    stage: Stage,
    reporter: &dyn Reporter,
) -> Result<&'static str> {
    let done = match stage {
        Stage::Unpacking => {
            abandon(world, intent)?;
            "the disks are as they were"
        }
        Stage::Swapping => {
            let _held = hold(world, key, intent, None)?;
            forward(world, key, intent, reporter)?;
            "restored"
        }
        Stage::Starting => "what was stopped for a restore was started",
    };
    restart(world, &intent.uid, reporter)?;
    Ok(done)
}

fn forward(world: &World, key: &ObjectKey, intent: &Intent, reporter: &dyn Reporter) -> Result<()> {
    let uid = intent.uid;
    let worker = RestoreWorker {
        world,
        key,
        reporter,
        uid,
    };
    run(&worker, intent)
}

/// Brings restores of the disks of a domain that were cut off half way through their swaps to their end:
/// it must not start from a mixture.
///
/// # Errors
/// That somebody works on the snapshot; what the system or the store refuses.
pub(in crate::engine) fn finish_swaps(
    world: &World,
    domain: &Domain,
    reporter: &dyn Reporter,
) -> Result<()> {
    let swapping = |i: &Intent| {
        let restore = i.kind == Kind::Snapshot && i.op == IntentOp::Update;
        restore && Stage::of(i) == Some(Stage::Swapping)
    };
    let mut intents: Vec<Intent> = world.store_for_reading()?.all()?;
    intents.retain(swapping);
    if intents.is_empty() {
        return Ok(());
    }
    let definition = domain.definition()?;
    let disks: Vec<&str> = definition.hard_disks().filter_map(|d| d.path()).collect();
    for intent in intents {
        if !touches(world, &intent, &disks)? {
            continue;
        }
        interrupted()?;
        let key = ObjectKey::new(Kind::Snapshot, intent.name.clone());
        let store = world.store()?;
        let _object = store.lock_object(key.kind, key.name.as_str(), START_WAIT)?;
        let Some(intent) = store.get::<Intent>(&intent.uid)?.filter(swapping) else {
            continue;
        };
        let _held = hold(world, &key, &intent, Some(domain.name()))?;
        forward(world, &key, &intent, reporter)?;
        is_started(world, &intent.uid, domain.name())?;
    }
    Ok(())
}

/// Returns whether a restore replaces a disk of these paths. Only what may be one of them is asked for:
/// what is wrong with others is nothing to a guest.
fn touches(world: &World, intent: &Intent, disks: &[&str]) -> Result<bool> {
    for swap in &intent.swaps {
        let named = |path: &&str| path.rsplit('/').next() == Some(swap.disk.volume.as_str());
        if disks.iter().any(named) && disks.contains(&path_of(world, &swap.disk)?.as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn path_of(world: &World, file: &FileRecord) -> Result<String> {
    let pool = volumes::pool(world, &file.pool)?;
    Ok(format!("{}/{}", pool.path()?, volume_ref(file).name))
}

/// One that is started by somebody else is not to be started again later.
fn is_started(world: &World, uid: &Uid, name: &str) -> Result<()> {
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    let Some(mut intent) = store.get::<Intent>(uid)? else {
        return Ok(());
    };
    intent.restart.retain(|n| n.as_str() != name);
    match intent.restart.is_empty() {
        true => Ok(store.remove::<Intent>(uid).map(drop)?),
        false => Ok(store.put(&intent)?),
    }
}

/// Keeps guests from the disks whose new files wait, and others from the volumes. The caller holds the
/// instance that is `starting`.
fn hold<'w>(
    world: &'w World,
    key: &ObjectKey,
    intent: &Intent,
    starting: Option<&str>,
) -> Result<Vec<ObjectLock<'w>>> {
    let mut waiting: Vec<&FileRecord> = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    for swap in &intent.swaps {
        if Folder::open(world, &swap.disk.pool)?.has(&swap.new) {
            waiting.push(&swap.disk);
            paths.push(path_of(world, &swap.disk)?);
        }
    }
    if waiting.is_empty() {
        // All have their places; who started since runs on them.
        return Ok(Vec::new());
    }
    let uses = world.disk_uses()?;
    let users = uses.iter().filter(|u| paths.contains(&u.path));
    let names: BTreeSet<&str> = users
        .filter(|u| u.at.managed && Some(u.at.domain.as_str()) != starting)
        .map(|u| u.at.domain.as_str())
        .collect();
    let store = world.store()?;
    let all: Vec<VolumeRecord> = store.all()?;
    let mut volumes: Vec<&Name> = all
        .iter()
        .filter(|v| waiting.contains(&&v.file))
        .map(|v| &v.name)
        .collect();
    volumes.sort();
    let mut locks = Vec::new();
    for name in names {
        locks.push(store.lock_object(Kind::Instance, name, OBJECT_WAIT)?);
    }
    for name in volumes {
        locks.push(store.lock_object(Kind::Volume, name.as_str(), OBJECT_WAIT)?);
    }
    let now = world.disk_uses()?;
    let mut running = now.iter().filter(|u| u.at.running);
    let Some(user) = running.find(|u| paths.contains(&u.path)) else {
        return Ok(locks);
    };
    let domain = &user.at.domain;
    Err(Error::conflict(format!(
        "a restore from {key} was cut off, and cannot go on while {domain:?} runs, which has {}",
        user.path
    ))
    .hint(match user.at.managed {
        true => format!("kvmctl instances stop {domain} && kvmctl reconcile"),
        false => format!("virsh shutdown {domain}"),
    }))
}
