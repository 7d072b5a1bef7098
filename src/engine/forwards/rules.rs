//! From what is wanted to what is in force: always all rules of an owner, never those of another.

use std::collections::BTreeSet;

use super::claims::Holder;
use super::user_space;
use crate::api::{PortMapping, Uid};
use crate::error::{Error, Kind, Result};
use crate::host::firewall::{FirewallError, Wanted};
use crate::observe::{Astray, Carrier, WantedForward, World};

/// Returns whether the lists of instances are more than words in the context: something here forwards
/// their ports.
///
/// # Errors
/// When libvirt cannot be reached.
pub(in crate::engine) fn apply_here(world: &World) -> Result<bool> {
    Ok(!matches!(world.carrier()?, Carrier::Nothing(_)))
}

/// Checks, before anything is changed, that rules can be made: that the guests are this host's, and
/// that the caller has the right.
///
/// # Errors
/// Usage with the reason, or what is missing and how to get it.
pub(in crate::engine) fn require_rights(world: &World) -> Result<()> {
    match world.carrier()? {
        // QEMU forwards what its own user asks it to.
        Carrier::UserSpace => Ok(()),
        _ => require_firewall(world),
    }
}

/// As [`require_rights`], for forwards that only a firewall can make.
///
/// # Errors
/// Usage with the reason, or what is missing and how to get it.
pub(super) fn require_firewall(world: &World) -> Result<()> {
    world.firewall_to_change().map(drop)
}

/// Makes the rules of these owners be what is wanted of them now; those of others stay as they are.
///
/// # Errors
/// When a forward of theirs leads nowhere; what the firewall refuses.
pub(in crate::engine) fn enforce(world: &World, owners: &BTreeSet<Uid>) -> Result<()> {
    match world.carrier()? {
        Carrier::Firewall(_) => {}
        Carrier::UserSpace => {
            return owners
                .iter()
                .try_for_each(|uid| user_space::settle(world, *uid));
        }
        Carrier::Nothing(_) => return Ok(()),
    }
    let firewall = world.firewall_to_change()?;
    let wanted = || {
        let all = world.wanted_forwards()?;
        let theirs = all.into_iter().filter(|w| owners.contains(&w.owner()));
        let theirs: Vec<WantedForward> = theirs.collect();
        only_of(&theirs, owners)
    };
    firewall.assert(world.store()?, &wanted).map(drop)
}

/// Makes the forwards that end with a guest's process right after its start.
///
/// # Errors
/// A conflict for a port that somebody else has by now.
pub(in crate::engine) fn started(world: &World, uid: Uid) -> Result<()> {
    match world.carrier()? {
        Carrier::UserSpace => user_space::settle(world, uid),
        Carrier::Firewall(_) | Carrier::Nothing(_) => Ok(()),
    }
}

/// Removes all rules of these owners.
///
/// # Errors
/// What the firewall refuses.
pub(in crate::engine) fn withdraw(world: &World, owners: &BTreeSet<Uid>) -> Result<()> {
    match world.carrier()? {
        Carrier::Firewall(_) => {}
        Carrier::UserSpace => {
            return owners
                .iter()
                .try_for_each(|uid| user_space::withdraw(world, *uid));
        }
        Carrier::Nothing(_) => return Ok(()),
    }
    let firewall = world.firewall_to_change()?;
    let wanted = || {
        Ok(Wanted {
            mappings: Vec::new(),
            retired: owners.iter().copied().collect(),
        })
    };
    firewall.assert(world.store()?, &wanted).map(drop)
}

fn only_of(theirs: &[WantedForward], owners: &BTreeSet<Uid>) -> Result<Wanted> {
    if let Some(astray) = theirs.iter().find_map(|w| w.aim.as_ref().err())
        && astray.reason == "NoAddress"
    {
        return Err(Error::new(Kind::Conflict, astray.message.clone())
            .caused_by("a forward needs an address that is known before the guest boots"));
    }
    Ok(in_force(theirs, owners))
}

/// What is to be in force of some forwards: who leads nowhere, or is going, has no rule left.
fn in_force(forwards: &[WantedForward], owners: &BTreeSet<Uid>) -> Wanted {
    let led = forwards.iter().filter(|w| !w.is_going());
    let mappings: Vec<_> = led.filter_map(|w| w.aim.as_ref().ok().cloned()).collect();
    let with_rules: BTreeSet<Uid> = mappings.iter().map(|m| m.owner()).collect();
    let spared = forwards.iter().filter(|w| {
        let astray = w.aim.as_ref().err();
        !w.is_going() && astray.is_some_and(Astray::spares_rules)
    });
    let spared: BTreeSet<Uid> = spared.map(WantedForward::owner).collect();
    let retired = owners.difference(&with_rules).copied();
    let retired = retired.filter(|uid| !spared.contains(uid)).collect();
    Wanted { mappings, retired }
}

/// What is to be in force of all these forwards of the context.
pub(super) fn all_of(forwards: &[WantedForward]) -> Wanted {
    let owners = forwards.iter().map(WantedForward::owner).collect();
    in_force(forwards, &owners)
}

/// Lists the ports of the host that rules of others take; nothing where the caller may not look.
pub(super) fn foreign(world: &World) -> Result<Vec<Holder>> {
    let Carrier::Firewall(firewall) = world.carrier()? else {
        return Ok(Vec::new());
    };
    let found = match firewall.foreign() {
        Ok(found) => found,
        Err(FirewallError::NotPermitted { .. }) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let holder = |rule: crate::host::firewall::Foreign| {
        let claim = rule.claim;
        let ports = PortMapping {
            address: claim.address,
            host: claim.first,
            guest: claim.first,
            count: claim.last.saturating_sub(claim.first).saturating_add(1),
            protocol: claim.protocol,
        };
        let who = format!("a rule of somebody else: {}", rule.rule);
        Holder { who, ports }
    };
    Ok(found.into_iter().map(holder).collect())
}
