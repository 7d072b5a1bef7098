//! Balancers follow their instances: what gets, changes or loses an address, comes to match a selector
//! or goes away changes what nginx is told.

use super::desired::with_spec;
use super::mend::{self, Off};
use super::worker::BalancerWorker;
use super::{OBJECT_WAIT, note, reach, serve};
use crate::api::{Kind, Name, ObjectKey, Reporter};
use crate::engine::together::AT_ONCE;
use crate::error::{Error, Result};
use crate::observe::{Whereabouts, World};
use crate::store::{BalancerRecord, IntentOp, ObjectLock, STORE_WAIT};

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
    let mut records: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
    // A change that was begun may be this one, of a run that was killed before nginx heard of it.
    let concerned =
        |r: &BalancerRecord| lists(r, instance) || r.spec.selector.is_some() || r.begun.is_some();
    records.retain(|r| !r.is_going() && concerned(r));
    if records.is_empty() {
        return Ok(());
    }
    let whereabouts = world.whereabouts()?;
    // Runs that lock the same ones lock them in the same order.
    records.sort_by(|a, b| a.name.cmp(&b.name));
    let mut each = records.chunks(AT_ONCE);
    each.try_for_each(|some| leave_some(world, some, instance, &whereabouts, reporter))
}

fn leave_some(
    world: &World,
    records: &[BalancerRecord],
    instance: &Name,
    whereabouts: &Whereabouts,
    reporter: &dyn Reporter,
) -> Result<()> {
    let mut left = Vec::new();
    for record in records {
        left.extend(strike(world, record, instance, whereabouts, reporter)?);
    }
    let records: Vec<&BalancerRecord> = left.iter().map(|l| &l.record).collect();
    let served = serve::serve_together(world, &records);
    for balancer in left {
        let (key, uid) = (&balancer.key, balancer.record.uid);
        let worker = BalancerWorker::new(world, uid);
        match (balancer.record.begun.is_some(), served.contains(&uid)) {
            (true, true) => worker.finish()?,
            (true, false) => worker.again()?,
            (false, true) => {}
            // Its labels are those of nobody any more, since its deletion has begun.
            (false, false) => serve::serve(world, uid)?,
        }
        if balancer.was_listed {
            let told = format!("instance/{instance} is being deleted");
            note(world, key, uid, "TargetRemoved", &told);
        }
        reporter.finished(key);
    }
    Ok(())
}

/// A balancer that an instance leaves.
struct Left<'w> {
    _object: ObjectLock<'w>,
    key: ObjectKey,
    record: BalancerRecord,
    /// Or found by its labels.
    was_listed: bool,
}

fn lists(record: &BalancerRecord, instance: &Name) -> bool {
    let mut targets = record.spec.targets.iter();
    targets.any(|t| t.instance == *instance)
}

/// Takes an instance off the list of a balancer, in the store; nothing where the balancer is gone.
fn strike<'w>(
    world: &'w World,
    record: &BalancerRecord,
    instance: &Name,
    whereabouts: &Whereabouts,
    reporter: &dyn Reporter,
) -> Result<Option<Left<'w>>> {
    let key = ObjectKey::new(Kind::LoadBalancer, record.name.clone());
    let store = world.store()?;
    let object = store.lock_object(Kind::LoadBalancer, key.name.as_str(), OBJECT_WAIT)?;
    let record = store.get::<BalancerRecord>(&record.uid)?;
    let Some(mut record) = record.filter(|r| !r.is_going()) else {
        return Ok(None);
    };
    let was_listed = lists(&record, instance);
    if was_listed {
        reporter.phase(&key, &format!("taking instance/{instance} out"));
        record = without(&record, instance);
        let _lock = store.lock(STORE_WAIT)?;
        reach::allot(world, &mut record, whereabouts)?;
        record.begin(record.begun.unwrap_or(IntentOp::Update));
        store.put(&record)?;
    }
    Ok(Some(Left {
        _object: object,
        key,
        record,
        was_listed,
    }))
}

fn without(record: &BalancerRecord, instance: &Name) -> BalancerRecord {
    let mut spec = record.spec.clone();
    spec.targets.retain(|t| t.instance != *instance);
    let mut after = with_spec(record, spec);
    // What it was made of stands in the manifest that was applied: applying it again brings it back.
    after.last_applied.clone_from(&record.last_applied);
    after.out.retain(|t| t.instance != *instance);
    after
}
