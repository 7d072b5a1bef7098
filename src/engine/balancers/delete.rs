//! Deletes a load balancer, from any half-made state.

use super::worker::BalancerWorker;
use super::{OBJECT_WAIT, note};
use crate::api::{Kind, ObjectKey, Reporter};
use crate::engine::executor::execute;
use crate::engine::options::{Applied, DeleteOptions, DryRun};
use crate::error::Result;
use crate::observe::{World, not_found};
use crate::plan::balancer;
use crate::store::{BalancerRecord, IntentOp, STORE_WAIT};

/// Deletes a balancer.
///
/// # Errors
/// `NotFound`; what nginx refuses. What is interrupted shows as Terminating, and the same command goes
/// on.
pub(in crate::engine) fn delete(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    // A store that is not there yet need not be made for what is not in it.
    let Some(record) = world.store_for_reading()?.balancer_named(&key.name)? else {
        let known: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
        let names = known.iter().map(|r| r.name.as_str());
        return Err(not_found(Kind::LoadBalancer, &key.name, names));
    };
    let plan = balancer::delete(key.clone());
    let steps = plan.steps();
    let applied = Applied {
        key: key.clone(),
        outcome: plan.outcome,
        notes: Vec::new(),
        explanation: steps
            .flat_map(|step| crate::engine::explain(step, &key.name))
            .collect(),
    };
    if options.dry_run != DryRun::None {
        return Ok(applied);
    }
    let store = world.store()?;
    let _object = store.lock_object(Kind::LoadBalancer, key.name.as_str(), OBJECT_WAIT)?;
    // Another run may have been at it while we waited.
    let Some(record) = store.get::<BalancerRecord>(&record.uid)? else {
        return Ok(applied);
    };
    finish(world, key, record, reporter)?;
    Ok(applied)
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
    let plan = balancer::delete(key.clone());
    execute(&plan, &BalancerWorker::new(world, uid), reporter)?;
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
