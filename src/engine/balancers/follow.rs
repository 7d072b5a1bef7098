//! Balancers follow their instances: what gets, changes or loses an address, comes to match a selector
//! or goes away changes what nginx is told.

use super::apply::with_spec;
use super::mend::{self, Off};
use super::worker::BalancerWorker;
use super::{OBJECT_WAIT, note, reach, serve};
use crate::api::{Kind, Name, ObjectKey, Reporter};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::store::{BalancerRecord, IntentOp, STORE_WAIT};

/// Makes nginx follow at the end of a command that touched instances or networks. It says what it did,
/// and fails nothing: `reconcile` tells what could not be mended.
pub(in crate::engine) fn tidy(world: &World, reporter: &dyn Reporter) {
    let followed = off(world).and_then(|off| {
        if off.ours.is_empty() {
            return Ok(());
        }
        mend::put_right(world, reporter)?;
        for finding in off.ours {
            reporter.warn(&format!("{} follows its instances", finding.object));
        }
        Ok(())
    });
    if let Err(error) = followed {
        reporter.warn(&format!("load balancers do not follow: {error}"));
    }
}

fn off(world: &World) -> Result<Off> {
    // Most stores have no balancer, and pay nothing.
    if world
        .store_for_reading()?
        .keys::<BalancerRecord>()?
        .is_empty()
    {
        return Ok(Off::default());
    }
    mend::off(world)
}

/// Refuses to delete an instance that the caller could not take out of its balancers.
///
/// # Errors
/// Who runs the balancers.
pub(in crate::engine) fn require_rights(world: &World, instance: &Name) -> Result<()> {
    let records: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
    if records.is_empty() {
        return Ok(());
    }
    let whereabouts = world.whereabouts()?;
    let is_target = |r: &BalancerRecord| {
        let targets = whereabouts.targets(&r.spec);
        targets.iter().any(|(t, _)| t.instance == *instance)
    };
    match records.iter().find(|r| !r.is_going() && is_target(r)) {
        Some(record) => world.nginx()?.may_change().map_err(|error| {
            let balancer = &record.name;
            Error::from(error).context(format!(
                "cannot take instance/{instance} out of loadbalancer/{balancer}"
            ))
        }),
        None => Ok(()),
    }
}

/// Takes an instance that is about to go out of all balancers: nginx first, then the lists.
///
/// # Errors
/// What nginx or the store refuses.
pub(in crate::engine) fn leave(
    world: &World,
    instance: &Name,
    reporter: &dyn Reporter,
) -> Result<()> {
    let records: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
    let lists = |r: &BalancerRecord| r.spec.targets.iter().any(|t| t.instance == *instance);
    for record in records {
        let key = ObjectKey::new(Kind::LoadBalancer, record.name.clone());
        let selects = record.spec.selector.is_some();
        if record.is_going() || (!lists(&record) && !selects) {
            continue;
        }
        let store = world.store()?;
        let _object = store.lock_object(Kind::LoadBalancer, key.name.as_str(), OBJECT_WAIT)?;
        let Some(record) = store.get::<BalancerRecord>(&record.uid)? else {
            continue;
        };
        if !lists(&record) {
            // Its labels are those of nobody any more, since its deletion has begun.
            serve::serve(world, record.uid)?;
            continue;
        }
        reporter.phase(&key, &format!("taking instance/{instance} out"));
        strike(world, record, instance)?;
        note(
            world,
            &key,
            record_uid(world, &key)?,
            "TargetRemoved",
            &format!("instance/{instance} is being deleted"),
        );
        reporter.finished(&key);
    }
    Ok(())
}

fn record_uid(world: &World, key: &ObjectKey) -> Result<crate::api::Uid> {
    super::targets::find(world, key).map(|r| r.uid)
}

fn strike(world: &World, record: BalancerRecord, instance: &Name) -> Result<()> {
    let mut spec = record.spec.clone();
    spec.targets.retain(|t| t.instance != *instance);
    let mut after = with_spec(&record, spec);
    // What it was made of stands in the manifest that was applied: applying it again brings it back.
    after.last_applied.clone_from(&record.last_applied);
    after.out.retain(|t| t.instance != *instance);
    let whereabouts = world.whereabouts()?;
    let store = world.store()?;
    let lock = store.lock(STORE_WAIT)?;
    reach::allot(world, &mut after, &whereabouts)?;
    after.begin(record.begun.unwrap_or(IntentOp::Update));
    store.put(&after)?;
    drop(lock);
    BalancerWorker::new(world, after.uid).again()
}
