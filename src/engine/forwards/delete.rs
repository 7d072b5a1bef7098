//! Deletes stand-alone forwards, from any half-made state: all of a run together.

use std::collections::{BTreeMap, BTreeSet};

use super::labels;
use super::rules::{self, require_firewall};
use super::worker::ForwardWorker;
use super::{OBJECT_WAIT, note};
use crate::api::{Kind, Name, ObjectKey, PortForward, Reporter, Uid};
use crate::engine::executor::execute;
use crate::engine::failpoint::boundary;
use crate::engine::options::{Applied, DeleteOptions, DryRun};
use crate::engine::together::in_order;
use crate::error::{Error, Result};
use crate::observe::{World, not_found};
use crate::plan::forward;
use crate::store::{ForwardRecord, IntentOp, ObjectLock, STORE_WAIT};

/// Deletes forwards; each has its own result, in the order in which they are given.
///
/// An error is `NotFound`; a conflict for one in the list of an instance; what the firewall refuses.
/// What is interrupted shows as Terminating, and the same command goes on.
pub(in crate::engine) fn delete(
    world: &World,
    keys: &[ObjectKey],
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Vec<Result<Applied>> {
    let name = |key: &ObjectKey| key.name.clone();
    in_order(keys, name, |some| {
        delete_some(world, some, options, reporter)
    })
}

/// One that is to go; `None` where another run was faster.
struct Going<'w> {
    _object: ObjectLock<'w>,
    record: Option<ForwardRecord>,
}

fn delete_some(
    world: &World,
    keys: &[&ObjectKey],
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Vec<Result<Applied>> {
    // A store that is not there yet need not be made for what is not in it.
    let there = world.store_for_reading().and_then(|store| {
        let all: Vec<ForwardRecord> = store.all()?;
        Ok(all.into_iter().map(|r| (r.name.clone(), r.uid)).collect())
    });
    let there: BTreeMap<Name, Uid> = match there {
        Ok(there) => there,
        Err(error) => return keys.iter().map(|_| Err(error.clone())).collect(),
    };
    let known = |key: &ObjectKey| match there.get(&key.name) {
        Some(uid) => Ok(*uid),
        None => Err(missing(world, &key.name)?),
    };
    if options.dry_run != DryRun::None {
        let dry = |key: &&ObjectKey| known(key).map(|_| told(key));
        return keys.iter().map(dry).collect();
    }
    let going = |key: &&ObjectKey| begin(world, key, known(key)?);
    let going: Vec<Result<Going<'_>>> = keys.iter().map(going).collect();
    let together = withdraw(world, &going);
    let records = going.iter().flatten().filter_map(|g| g.record.as_ref());
    let noted_at = labels::noted_at(records);
    labels::keep(world, &noted_at);
    let finish = |(key, going): (&&ObjectKey, Result<Going<'_>>)| {
        if let Some(record) = going?.record {
            let worker = ForwardWorker::new(world, record.uid).whose_rules_are_right(together);
            carry_out(world, key, &worker, &record, reporter)?;
        }
        Ok(told(key))
    };
    keys.iter().zip(going).map(finish).collect()
}

fn told(key: &ObjectKey) -> Applied {
    let plan = forward::delete(key.clone());
    let steps = plan.steps();
    Applied {
        key: key.clone(),
        outcome: plan.outcome,
        notes: Vec::new(),
        explanation: steps
            .flat_map(|step| crate::engine::explain(step, &key.name))
            .collect(),
    }
}

/// Locks one and writes down that it is to go, before any rule goes.
fn begin<'w>(world: &'w World, key: &ObjectKey, uid: Uid) -> Result<Going<'w>> {
    require_firewall(world)?;
    let store = world.store()?;
    let object = store.lock_object(Kind::PortForward, key.name.as_str(), OBJECT_WAIT)?;
    // Another run may have been at it while we waited, and made another of the name.
    let record = match store.get::<ForwardRecord>(&uid)? {
        Some(record) => Some(record),
        None => store
            .all()?
            .into_iter()
            .find(|r: &ForwardRecord| r.name == key.name),
    };
    if let Some(record) = &record {
        write_down(world, record.clone())?;
    }
    Ok(Going {
        _object: object,
        record,
    })
}

fn write_down(world: &World, mut record: ForwardRecord) -> Result<()> {
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    record.begin(IntentOp::Delete);
    Ok(store.put(&record)?)
}

/// Removes the rules of all of them at once. Where that fails, each is tried by itself, so that its
/// error is its own.
fn withdraw(world: &World, going: &[Result<Going<'_>>]) -> bool {
    let records = going.iter().flatten().filter_map(|g| g.record.as_ref());
    let owners: BTreeSet<Uid> = records.map(|r| r.uid).collect();
    if owners.len() < 2 {
        return false;
    }
    boundary();
    match rules::withdraw(world, &owners) {
        Ok(()) => true,
        Err(why) => {
            tracing::info!(target: "host", "not all together, so one by one: {why}");
            false
        }
    }
}

/// Deletes what there is of a forward that is locked already.
///
/// # Errors
/// What the firewall or the store refuses.
pub(super) fn finish(
    world: &World,
    key: &ObjectKey,
    record: ForwardRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    write_down(world, record.clone())?;
    labels::keep(world, &labels::noted_at(std::iter::once(&record)));
    let worker = ForwardWorker::new(world, record.uid);
    carry_out(world, key, &worker, &record, reporter)
}

fn carry_out(
    world: &World,
    key: &ObjectKey,
    worker: &ForwardWorker<'_>,
    record: &ForwardRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    execute(&forward::delete(key.clone()), worker, reporter)?;
    note(
        world,
        key,
        record.uid,
        "Deleted",
        "the forward and its rules are gone",
    );
    Ok(())
}

fn missing(world: &World, name: &Name) -> Result<Error> {
    let known = world.wanted_forwards()?;
    if let Some(listed) = known.iter().find(|w| w.name == *name) {
        return Ok(in_a_list(&listed.object(None)));
    }
    let names = known.iter().map(|w| w.name.as_str());
    Ok(not_found(Kind::PortForward, name, names))
}

/// Words that a forward belongs to an instance's own list.
pub(super) fn in_a_list(forward: &PortForward) -> Error {
    let name = forward.metadata.name.as_ref().map_or("", Name::as_str);
    let instance = &forward.spec.instance;
    Error::conflict(format!(
        "forward {name:?} is in spec.ports of instance/{instance} and changes with it only"
    ))
    .hint(format!("kvmctl edit instance {instance}"))
}
