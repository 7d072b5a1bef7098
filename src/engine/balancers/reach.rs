//! Ports of the loopback that lead to targets: a user's own daemon gives its guests addresses that
//! nobody but QEMU reaches, and QEMU forwards what it is told to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::api::{Name, PortMapping, Uid};
use crate::engine::forwards::{self, Claims};
use crate::error::Result;
use crate::observe::{Whereabouts, World};
use crate::store::{BalancerRecord, Reach, STORE_WAIT};

/// Returns the ports of the loopback that lead to an instance on behalf of balancers.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::engine) fn reached(world: &World, instance: &Name) -> Result<Vec<PortMapping>> {
    let records: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
    let reaches = records.into_iter().flat_map(|r| r.reaches);
    let theirs = reaches.filter(|reach| reach.instance == *instance);
    Ok(theirs.map(|reach| reach.ports).collect())
}

/// Gives each target of a balancer a port of the loopback, where it needs one; those that it has
/// stay. Call it with the store locked, and write the record before the lock is given back.
///
/// # Errors
/// When no port is free; what the store refuses.
pub(super) fn allot(
    world: &World,
    record: &mut BalancerRecord,
    whereabouts: &Whereabouts,
) -> Result<()> {
    if !whereabouts.is_loopback() {
        record.reaches.clear();
        return Ok(());
    }
    let had = std::mem::take(&mut record.reaches);
    let protocol = record.spec.protocol().transport();
    let mut claims: Option<Claims> = None;
    for (target, _) in whereabouts.targets(&record.spec) {
        let wanted = PortMapping {
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host: 0,
            guest: target.port.get(),
            count: 1,
            protocol,
        };
        let same = |r: &&Reach| {
            r.instance == target.instance
                && r.ports.guest == wanted.guest
                && r.ports.protocol == protocol
        };
        let ports = match had.iter().find(same) {
            Some(reach) => reach.ports.clone(),
            None => {
                if claims.is_none() {
                    claims = Some(Claims::collect(world, &BTreeSet::new())?);
                }
                let who = format!("loadbalancer/{}", record.name);
                match &mut claims {
                    Some(claims) => claims.take(&who, &wanted, true)?,
                    None => continue,
                }
            }
        };
        let instance = target.instance;
        record.reaches.push(Reach { instance, ports });
    }
    Ok(())
}

/// Makes the ports of the loopback lead to the targets that run; takes none away.
///
/// # Errors
/// A conflict for a port that somebody else has by now.
pub(super) fn open(world: &World, record: &BalancerRecord) -> Result<()> {
    let instances = instances(world, &record.reaches)?;
    instances
        .into_iter()
        .try_for_each(|uid| forwards::reach(world, uid))
}

/// Takes away the ports of the loopback that nothing wants any more.
///
/// # Errors
/// What the store or libvirt refuses.
pub(super) fn release(world: &World) -> Result<()> {
    match world.host()?.is_session() {
        true => forwards::settle_all(world),
        false => Ok(()),
    }
}

fn instances(world: &World, reaches: &[Reach]) -> Result<BTreeSet<Uid>> {
    if reaches.is_empty() {
        return Ok(BTreeSet::new());
    }
    let whereabouts = world.whereabouts()?;
    let found = reaches.iter().filter_map(|r| whereabouts.find(&r.instance));
    Ok(found.map(|(uid, _)| uid).collect())
}

/// Gives ports of the loopback to the targets that have come since, and returns the record as it is
/// then.
///
/// # Errors
/// As [`allot`].
pub(super) fn allot_new(
    world: &World,
    uid: Uid,
    whereabouts: &Whereabouts,
) -> Result<Option<BalancerRecord>> {
    let store = world.store()?;
    let lock = store.lock(STORE_WAIT)?;
    let Some(mut record) = store.get::<BalancerRecord>(&uid)? else {
        return Ok(None);
    };
    let before = record.reaches.clone();
    allot(world, &mut record, whereabouts)?;
    if record.reaches != before {
        store.put(&record)?;
    }
    drop(lock);
    Ok(Some(record))
}
