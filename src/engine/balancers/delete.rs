//! Deletes load balancers, from any half-made state: all of a run together.

use std::collections::BTreeMap;

use super::worker::BalancerWorker;
use super::{OBJECT_WAIT, note, serve};
use crate::api::{Kind, Name, ObjectKey, Reporter, Uid};
use crate::engine::executor::execute;
use crate::engine::failpoint::boundary;
use crate::engine::options::{Applied, DeleteOptions, DryRun};
use crate::engine::together::in_order;
use crate::error::Result;
use crate::observe::{World, not_found};
use crate::plan::balancer;
use crate::store::{BalancerRecord, IntentOp, ObjectLock, STORE_WAIT};

/// Deletes load balancers; each has its own result, in the order in which they are given.
///
/// An error is `NotFound`, or what nginx refuses. What is interrupted shows as Terminating, and the
/// same command goes on.
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
    uid: Option<Uid>,
}

fn delete_some(
    world: &World,
    keys: &[&ObjectKey],
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Vec<Result<Applied>> {
    // A store that is not there yet need not be made for what is not in it.
    let there = world.store_for_reading().and_then(|store| {
        let all: Vec<BalancerRecord> = store.all()?;
        Ok(all.into_iter().map(|r| (r.name, r.uid)).collect())
    });
    let there: BTreeMap<Name, Uid> = match there {
        Ok(there) => there,
        Err(error) => return keys.iter().map(|_| Err(error.clone())).collect(),
    };
    let known = |key: &ObjectKey| {
        let missing = || {
            let names = there.keys().map(Name::as_str);
            not_found(Kind::LoadBalancer, &key.name, names)
        };
        there.get(&key.name).copied().ok_or_else(missing)
    };
    if options.dry_run != DryRun::None {
        let dry = |key: &&ObjectKey| known(key).map(|_| told(key));
        return keys.iter().map(dry).collect();
    }
    let going = |key: &&ObjectKey| lock_and_begin(world, key, known(key)?);
    let going: Vec<Result<Going<'_>>> = keys.iter().map(going).collect();
    let forgotten = withdraw(world, &going);
    let finish = |(key, going): (&&ObjectKey, Result<Going<'_>>)| {
        let going = going?;
        if let Some(uid) = going.uid {
            let worker = BalancerWorker::new(world, uid).of_forgotten(forgotten);
            carry_out(world, key, uid, &worker, reporter)?;
        }
        Ok(told(key))
    };
    keys.iter().zip(going).map(finish).collect()
}

fn told(key: &ObjectKey) -> Applied {
    super::one::told(&balancer::delete(key.clone()))
}

fn lock_and_begin<'w>(world: &'w World, key: &ObjectKey, uid: Uid) -> Result<Going<'w>> {
    let store = world.store()?;
    let object = store.lock_object(Kind::LoadBalancer, key.name.as_str(), OBJECT_WAIT)?;
    // Another run may have been at it while we waited.
    let record = store.get::<BalancerRecord>(&uid)?;
    let uid = record.as_ref().map(|r| r.uid);
    if let Some(record) = record {
        world.nginx()?.may_change()?;
        begin(world, record)?;
    }
    Ok(Going {
        _object: object,
        uid,
    })
}

/// Lets nginx forget all of them at once. Where that fails, each is tried by itself, so that its error
/// is its own.
fn withdraw(world: &World, going: &[Result<Going<'_>>]) -> bool {
    let uids: Vec<Uid> = going.iter().flatten().filter_map(|g| g.uid).collect();
    if uids.len() < 2 {
        return false;
    }
    boundary();
    match serve::withdraw(world, &uids) {
        Ok(()) => true,
        Err(why) => {
            tracing::info!(target: "host", "not all together, so one by one: {why}");
            false
        }
    }
}

/// Deletes what there is of a balancer that is locked already.
///
/// # Errors
/// What nginx or the store refuses.
pub(super) fn finish(
    world: &World,
    key: &ObjectKey,
    record: BalancerRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    let uid = record.uid;
    world.nginx()?.may_change()?;
    begin(world, record)?;
    carry_out(world, key, uid, &BalancerWorker::new(world, uid), reporter)
}

fn carry_out(
    world: &World,
    key: &ObjectKey,
    uid: Uid,
    worker: &BalancerWorker<'_>,
    reporter: &dyn Reporter,
) -> Result<()> {
    execute(&balancer::delete(key.clone()), worker, reporter)?;
    let told = "the load balancer and its port are gone";
    note(world, key, uid, "Deleted", told);
    Ok(())
}

/// Writes down that the balancer is to go, before nginx hears of it.
fn begin(world: &World, mut record: BalancerRecord) -> Result<()> {
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    record.begin(IntentOp::Delete);
    Ok(store.put(&record)?)
}
