//! From what is wanted to what nginx does: worked out under one lock, from the records and from where
//! the instances are at that moment.

use std::collections::BTreeSet;

use super::reach;
use crate::api::{Name, PortNumber, ResolvedBalancer, Uid};
use crate::engine::failpoint::boundary;
use crate::error::Result;
use crate::host::nginx::Changed;
use crate::observe::World;
use crate::store::{BalancerRecord, STORE_WAIT, TargetName};

/// Makes nginx serve a balancer as its record wants it now.
///
/// # Errors
/// What nginx, the daemon or the store refuses; nginx then does what it did.
pub(super) fn serve(world: &World, uid: Uid) -> Result<()> {
    let nginx = world.nginx()?;
    let store = world.store()?;
    let _turn = store.lock_balancers(STORE_WAIT)?;
    let record = store.get::<BalancerRecord>(&uid)?;
    // What is being deleted is not brought back by whoever follows its targets.
    let Some(record) = record.filter(|r| !r.is_going()) else {
        return Ok(());
    };
    let wanted = world.resolve(record, &world.whereabouts()?)?;
    nginx.change(&[wanted.resolved], &[])?;
    Ok(())
}

/// Makes nginx serve several balancers as their records want them now, and take its configuration over
/// once for all of them. Returns those that it serves then: the others are left to be tried one by one,
/// so that the error of each is its own.
pub(super) fn serve_together(world: &World, records: &[&BalancerRecord]) -> BTreeSet<Uid> {
    if records.len() < 2 || crate::engine::interrupted().is_err() {
        return BTreeSet::new();
    }
    boundary();
    let opened = records.iter().filter(|r| reach::open(world, r).is_ok());
    match change_each(world, &opened.map(|r| r.uid).collect()) {
        Ok(served) => served,
        Err(why) => {
            tracing::info!(target: "host", "not all together, so one by one: {why}");
            BTreeSet::new()
        }
    }
}

fn change_each(world: &World, uids: &BTreeSet<Uid>) -> Result<BTreeSet<Uid>> {
    let nginx = world.nginx()?;
    let store = world.store()?;
    let _turn = store.lock_balancers(STORE_WAIT)?;
    let whereabouts = world.whereabouts()?;
    let (mut served, mut resolved) = (BTreeSet::new(), Vec::new());
    for record in store.all::<BalancerRecord>()? {
        if uids.contains(&record.uid) && !record.is_going() {
            served.insert(record.uid);
            resolved.push(world.resolve(record, &whereabouts)?.resolved);
        }
    }
    for (uid, why) in nginx.change_each(&resolved)?.refused {
        tracing::info!(target: "host", "nginx does not take {uid}: {why}");
        served.remove(&uid);
    }
    Ok(served)
}

/// Makes nginx forget balancers.
///
/// # Errors
/// What nginx refuses.
pub(super) fn withdraw(world: &World, uids: &[Uid]) -> Result<()> {
    let nginx = world.nginx()?;
    let _turn = world.store()?.lock_balancers(STORE_WAIT)?;
    nginx.change(&[], uids)?;
    Ok(())
}

/// Makes nginx serve all balancers as they are wanted now. One that nginx refuses does not hinder the
/// others.
///
/// # Errors
/// What nginx, the daemon or the store refuses.
pub(super) fn serve_all(world: &World) -> Result<Changed> {
    let nginx = world.nginx()?;
    let _turn = world.store()?.lock_balancers(STORE_WAIT)?;
    let wanted = world.wanted_balancers()?;
    let known: BTreeSet<Uid> = wanted.iter().map(|w| w.record.uid).collect();
    let (going, staying): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|w| w.record.is_going());
    let resolved: Vec<ResolvedBalancer> = staying.into_iter().map(|w| w.resolved).collect();
    let recorded = nginx.recorded()?;
    let lost = |uid: Option<Uid>| uid.is_some_and(|uid| !known.contains(&uid));
    if recorded.iter().any(|r| lost(r.object.metadata.uid)) {
        // A store that was lost is rebuilt from these, so that they stay.
        let going: Vec<Uid> = going.iter().map(|w| w.record.uid).collect();
        return Ok(nginx.change(&resolved, &going)?);
    }
    Ok(nginx.converge(&resolved)?)
}

/// Takes targets out of a balancer, or in again, as their health is; returns whether that changed
/// anything.
///
/// # Errors
/// What nginx or the store refuses.
pub fn set_out(world: &World, uid: Uid, targets: &[(Name, PortNumber, bool)]) -> Result<bool> {
    let store = world.store()?;
    let lock = store.lock(STORE_WAIT)?;
    let record = store.get::<BalancerRecord>(&uid)?;
    let Some(mut record) = record.filter(|r| !r.is_going()) else {
        return Ok(false);
    };
    let before = record.out.clone();
    for (instance, port, out) in targets {
        let name = TargetName {
            instance: instance.clone(),
            port: *port,
        };
        record.out.retain(|known| *known != name);
        if *out {
            record.out.push(name);
        }
    }
    record.out.sort();
    if record.out == before {
        return Ok(false);
    }
    store.put(&record)?;
    drop(lock);
    serve(world, uid)?;
    Ok(true)
}
