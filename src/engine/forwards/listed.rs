//! The forwards in the lists of instances (`spec.ports`).

use std::collections::BTreeSet;

use super::claims::Claims;
use super::one::ipv4_only;
use super::{rules, user_space};
use crate::api::{InstanceSpec, Name, PortMapping, Uid};
use crate::error::Result;
use crate::observe::{Carrier, World};
use crate::store::{ForwardRecord, InstanceRecord, StoreLock};

/// Takes the ports of the host that an instance's list asks for; what it has already it keeps. Call
/// it with the store locked, and write the record before the lock is given back.
///
/// # Errors
/// A conflict that names the holder.
pub(in crate::engine) fn take_ports(
    world: &World,
    _lock: &StoreLock,
    before: Option<&InstanceRecord>,
    uid: Uid,
    name: &Name,
    spec: &InstanceSpec,
) -> Result<Vec<PortMapping>> {
    taken(world, before, uid, name, spec)
}

/// Checks that the ports could be taken now; takes nothing.
///
/// # Errors
/// As [`take_ports`].
pub(in crate::engine) fn check_ports(
    world: &World,
    before: Option<&InstanceRecord>,
    uid: Uid,
    name: &Name,
    spec: &InstanceSpec,
) -> Result<()> {
    taken(world, before, uid, name, spec).map(drop)
}

fn taken(
    world: &World,
    before: Option<&InstanceRecord>,
    uid: Uid,
    name: &Name,
    spec: &InstanceSpec,
) -> Result<Vec<PortMapping>> {
    if spec.ports.is_empty() || !rules::apply_here(world)? {
        return Ok(Vec::new());
    }
    let by_qemu = matches!(world.carrier()?, Carrier::UserSpace);
    let mut had = before.map_or_else(Vec::new, pairs);
    let mut kept = |wanted: &PortMapping| {
        let at = had.iter().position(|(asked, _)| asked == wanted)?;
        Some(had.swap_remove(at).1)
    };
    let kept: Vec<Option<PortMapping>> = spec.ports.iter().map(&mut kept).collect();
    if kept.iter().all(Option::is_some) {
        return Ok(kept.into_iter().flatten().collect());
    }
    let mut claims = Claims::collect(world, &BTreeSet::from([uid]))?;
    let who = format!("instance/{name}");
    for ports in kept.iter().flatten() {
        claims.keep(&who, ports);
    }
    let wanted = spec.ports.iter().zip(kept);
    wanted
        .map(|(wanted, kept)| match kept {
            Some(ports) => Ok(ports),
            None => {
                if !by_qemu && wanted.address.is_some_and(|a| a.is_ipv6()) {
                    return Err(ipv4_only(name, wanted));
                }
                let taken = claims.take(&who, wanted, true)?;
                if by_qemu {
                    user_space::check(std::slice::from_ref(&taken))?;
                }
                Ok(taken)
            }
        })
        .collect()
}

/// What an instance asked for, each with what it got.
fn pairs(record: &InstanceRecord) -> Vec<(PortMapping, PortMapping)> {
    let asked = record.spec.ports.iter().cloned();
    asked.zip(record.ports.iter().cloned()).collect()
}

/// Returns whether rules lead to an instance, or should: by its own list, or by stand-alone forwards.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::engine) fn wants_rules(
    world: &World,
    name: &Name,
    ports: &[PortMapping],
) -> Result<bool> {
    Ok(rules::apply_here(world)? && (!ports.is_empty() || !alone(world, name)?.is_empty()))
}

/// Returns the owners of all rules that lead to an instance: itself, and the stand-alone forwards
/// that name it.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::engine) fn led_to(world: &World, uid: Uid, name: &Name) -> Result<BTreeSet<Uid>> {
    let mut owners = alone(world, name)?;
    owners.insert(uid);
    Ok(owners)
}

fn alone(world: &World, instance: &Name) -> Result<BTreeSet<Uid>> {
    let records: Vec<ForwardRecord> = world.store_for_reading()?.all()?;
    let named = records.into_iter().filter(|r| r.spec.instance == *instance);
    Ok(named.map(|r| r.uid).collect())
}
