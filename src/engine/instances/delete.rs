//! Deletes an instance, from any half-made state, so that nothing of it is left.

use std::collections::BTreeSet;

use std::time::Duration;

use crate::api::{Kind, Name, ObjectKey, PortMapping, Timestamp, Uid};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::Domain;
use crate::observe::{World, not_found};
use crate::plan::instance::{Facts, Overlay, Takedown, VolumeRef, delete as plan_delete};
use crate::store::{FileRecord, InstanceRecord, Intent, IntentOp, NicRecord, STORE_WAIT};

use super::metadata::{not_ours, note, owned};
use super::prepare::{SERIAL_LOG, reservation, volume};
use super::worker::InstanceWorker;
use super::{addresses, disks};
use crate::api::Quantity;

use super::super::executor::execute;
use super::super::options::{Applied, DeleteOptions, DryRun};
use super::super::power;
use super::super::snapshots::memory;
use super::super::{balancers, forwards};
use crate::api::Reporter;

/// How long to wait for another run that works on the same instance.
const OBJECT_WAIT: std::time::Duration = std::time::Duration::from_secs(120);

/// What is left of an instance, wherever it is.
struct Found {
    uid: Uid,
    domain: Option<Domain>,
    record: Option<InstanceRecord>,
    intent: Option<Intent>,
}

impl Found {
    /// Collects the interfaces that it has, had, or was about to have.
    fn nics(&self) -> Vec<NicRecord> {
        let mut nics: Vec<NicRecord> = self.record.iter().flat_map(|r| r.nics.clone()).collect();
        for nic in self.intent.iter().flat_map(|i| &i.nics) {
            if !nics.contains(nic) {
                nics.push(nic.clone());
            }
        }
        nics
    }
}

/// Deletes an instance.
///
/// # Errors
/// `NotFound`; a conflict for a domain that is not ours; what libvirt refuses. What is interrupted
/// shows as Terminating, and the same command goes on.
pub(crate) fn delete(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    // What is only looked at makes no store either.
    let _object = match options.dry_run == DryRun::None {
        true => Some(
            world
                .store()?
                .lock_object(Kind::Instance, key.name.as_str(), OBJECT_WAIT)?,
        ),
        false => None,
    };
    delete_locked(world, key, options, reporter)
}

/// As [`delete`], for a caller that has locked the object already.
pub(super) fn delete_locked(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    crate::host::sweep_seeds();
    let found = find(world, key)?;
    let running = match &found.domain {
        Some(domain) => domain.state()?.is_active(),
        None => false,
    };
    let takedown = match (running, options.grace) {
        (false, _) => Takedown::None,
        (true, 0) => Takedown::Now,
        (true, grace) => Takedown::Graceful(grace),
    };
    let adopted = found.record.as_ref().is_some_and(|r| r.adopted);
    let facts = facts(world, key, &found)?;
    let mut plan = plan_delete(key.clone(), &facts, takedown, found.domain.is_some());
    if adopted {
        // Its disks were not made by kvmctl and may be anywhere: they stay.
        plan.notes
            .push("the disks of an adopted instance are kept".to_owned());
    }
    if let Some(domain) = &found.domain {
        plan.notes.extend(disks::kept(world, domain, &facts.files)?);
        for snapshot in memory::within(world, domain.uid())? {
            plan.notes.push(format!(
                "{snapshot} goes with it: its memory lies in its disks"
            ));
        }
    }
    plan.notes
        .extend(super::super::snapshots::that_stay(world, key)?);
    for r in &facts.leases {
        if addresses::lease_stays(world.host()?, r)? {
            plan.notes.push(format!(
                "the DHCP lease of {} stays in network {} until it ends: only the host itself can \
                 give it back",
                r.ip, r.network
            ));
        }
    }
    let applied = Applied {
        key: key.clone(),
        outcome: plan.outcome,
        notes: plan.notes.clone(),
        explanation: plan
            .steps()
            .flat_map(|step| super::super::explain(step, &key.name))
            .collect(),
    };
    if options.dry_run != DryRun::None {
        return Ok(applied);
    }
    if facts.ports.is_some() {
        forwards::require_rights(world)?;
    }
    balancers::require_rights(world, &key.name)?;
    begin(world, key, &found, &facts)?;
    balancers::leave(world, &key.name, reporter)?;
    if let (Takedown::Graceful(grace), Some(domain)) = (takedown, &found.domain) {
        if !options.wait {
            return left_shutting_down(domain, applied);
        }
        let grace = Duration::from_secs(grace);
        if let Some(limit) = options.timeout.filter(|limit| *limit < grace)
            && !power::shutdown(world, domain, limit)?
        {
            return Err(still_on(key));
        }
    }
    execute(
        &plan,
        &InstanceWorker::new(world, key.name.clone(), found.uid),
        reporter,
    )?;
    note(
        world,
        key,
        Some(found.uid),
        "Deleted",
        "the instance and its root disk are gone",
    );
    Ok(applied)
}

/// For a caller who does not wait: the guest is asked, and what comes after it is left to the next run.
fn left_shutting_down(domain: &Domain, mut applied: Applied) -> Result<Applied> {
    match domain.shutdown() {
        Err(e) if e.is_not_now() => {}
        other => other?,
    }
    applied.notes.push(
        "the guest was asked to shut down; it shows as Terminating until `kvmctl reconcile` or the \
         same command finishes"
            .to_owned(),
    );
    Ok(applied)
}

fn still_on(key: &ObjectKey) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("timed out waiting for the condition on {key}"),
    )
    .caused_by("the guest has not shut down yet; the instance shows as Terminating")
    .hint(format!("kvmctl delete {key} --force"))
}

/// Finds an instance by its domain, its record or its intent.
fn find(world: &World, key: &ObjectKey) -> Result<Found> {
    let store = world.store_for_reading()?;
    let domain = match world.host()?.domain(key.name.as_str()) {
        Ok(domain) => Some(domain),
        Err(e) if e.is_not_found() => None,
        Err(e) => return Err(e.into()),
    };
    let intents: Vec<Intent> = store.all()?;
    let intent = intents
        .into_iter()
        .find(|i| i.kind == Kind::Instance && i.name == key.name);
    let uid = match (&domain, &intent) {
        (Some(domain), _) => match owned(domain, key) {
            Ok(uid) => uid,
            // A domain of somebody else's may have taken the name of one that was half made.
            Err(_) if intent.is_some() && intent.as_ref().map(|i| i.uid) != Some(domain.uid()) => {
                return Err(not_ours(key));
            }
            Err(error) => return Err(error),
        },
        (None, Some(intent)) => match world.domain_of(intent.uid)? {
            Some(renamed) => return Err(goes_by(key, renamed.name())),
            None => intent.uid,
        },
        (None, None) => match world.lost_record(&key.name)? {
            Some(record) => record.uid,
            None => {
                let briefs = world.host()?.domain_briefs()?;
                return Err(not_found(
                    Kind::Instance,
                    &key.name,
                    briefs.iter().map(|b| b.name.as_str()),
                ));
            }
        },
    };
    let record = match (store.get::<InstanceRecord>(&uid)?, &domain) {
        (None, Some(domain)) => Some(super::record_of(world, domain)?),
        (record, _) => record,
    };
    Ok(Found {
        uid,
        domain,
        record,
        intent: intent.filter(|i| i.uid == uid),
    })
}

/// Words that a domain was renamed by hand since something was begun on it.
fn goes_by(key: &ObjectKey, name: &str) -> Error {
    Error::not_found(format!(
        "{} {:?} not found: its domain is named {name:?} now",
        key.kind,
        key.name.as_str()
    ))
    .hint(format!("kvmctl delete instance {name}"))
}

fn facts(world: &World, key: &ObjectKey, found: &Found) -> Result<Facts> {
    let pool = &world.settings().pool;
    let nics = found.nics();
    // The one that it was made with too: its domain may have been renamed by hand since.
    let made = found.record.iter().map(|r| &r.name);
    let made = made.chain(found.intent.iter().map(|i| &i.name));
    let names: BTreeSet<&Name> = made.chain([&key.name]).collect();
    let file = |suffix: &str| volume(pool, &key.name, found.uid, suffix);
    Ok(Facts {
        name: key.name.clone(),
        uid: found.uid,
        overlay: Overlay {
            volume: file("qcow2"),
            base: String::new(),
            base_format: String::new(),
            capacity: Quantity::gib(1),
        },
        seed: file("seed.iso"),
        log: file(SERIAL_LOG),
        reservations: nics
            .iter()
            .filter(|n| !n.slot)
            .filter_map(|n| reservation(n, &key.name))
            .collect(),
        leases: nics
            .iter()
            .filter_map(|n| reservation(n, &key.name))
            .collect(),
        names: names
            .iter()
            .flat_map(|name| nics.iter().filter_map(|n| reservation(n, name)))
            .collect(),
        autostart: false,
        files: files(world, key, found)?,
        ports: ports(world, key, found)?,
    })
}

/// Returns the ports that lead to it, if any rule may be there.
fn ports(world: &World, key: &ObjectKey, found: &Found) -> Result<Option<Vec<PortMapping>>> {
    let record = found.record.as_ref();
    let ports = record.map(|r| match r.ports.is_empty() {
        true => r.spec.ports.clone(),
        false => r.ports.clone(),
    });
    let ports = ports.unwrap_or_default();
    // A change that was cut off may have left rules of which the record says nothing any more.
    let changing = found.intent.as_ref().is_some_and(|i| i.ports);
    let any = changing || forwards::wants_rules(world, &key.name, &ports)?;
    Ok(any.then_some(ports))
}

/// Collects what goes with the instance: what the record and the intent name, and what else carries
/// its name and identity, such as the second seed of a run that was killed while it swapped them.
fn files(world: &World, key: &ObjectKey, found: &Found) -> Result<Vec<VolumeRef>> {
    if found.record.as_ref().is_some_and(|r| r.adopted) {
        return Ok(Vec::new());
    }
    let mut files: BTreeSet<FileRecord> = BTreeSet::new();
    files.extend(found.record.iter().flat_map(|r| r.files.iter().cloned()));
    files.extend(found.intent.iter().flat_map(|i| i.files.iter().cloned()));
    let mut pools: BTreeSet<String> = files.iter().map(|f| f.pool.clone()).collect();
    pools.insert(world.settings().pool.clone());
    // The deletion that was begun has listed them all.
    let listed = found.record.is_none()
        && found
            .intent
            .as_ref()
            .is_some_and(|i| i.op == IntentOp::Delete);
    if listed {
        pools.clear();
    }
    let prefix = volume("", &key.name, found.uid, "").name;
    let known = files.iter().map(|f| f.volume.clone()).collect();
    let stale = match &found.domain {
        Some(domain) => disks::changed_by_hand(domain, &known)?,
        None => false,
    };
    for pool in pools {
        let volumes = match world.host()?.pool(&pool) {
            Ok(known) if !known.is_active()? => continue,
            Ok(known) => {
                if stale {
                    known.refresh()?;
                }
                known.volumes()?
            }
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e.into()),
        };
        let ours = volumes.into_iter().filter(|v| v.name.starts_with(&prefix));
        files.extend(ours.map(|v| FileRecord {
            pool: pool.clone(),
            volume: v.name,
        }));
    }
    let refs = files.into_iter().map(|f| VolumeRef {
        pool: f.pool,
        name: f.volume,
    });
    Ok(refs.collect())
}

/// Writes down that the instance is to go, before anything of it goes.
fn begin(world: &World, key: &ObjectKey, found: &Found, facts: &Facts) -> Result<()> {
    let mut intent = found.intent.clone().unwrap_or_else(|| {
        Intent::new(
            IntentOp::Delete,
            Kind::Instance,
            key.name.clone(),
            found.uid,
        )
    });
    intent.op = IntentOp::Delete;
    intent.pid = std::process::id();
    intent.deletion_timestamp.get_or_insert_with(Timestamp::now);
    intent.message = None;
    intent.nics = found.nics();
    let files = facts.files.iter().map(|v| FileRecord {
        pool: v.pool.clone(),
        volume: v.name.clone(),
    });
    intent.files = files.collect();
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    store.put(&intent)?;
    Ok(())
}
