//! From what is wanted to what is in force: always all rules of an owner, never those of another.

use std::collections::BTreeSet;

use super::claims::Holder;
use super::listed::led_to;
use super::user_space;
use crate::api::{Name, PortMapping, Uid};
use crate::error::{Error, Kind, Result};
use crate::host::firewall::{Course, FirewallError, Wanted};
use crate::net::forward::Claim;
use crate::observe::{Astray, Carrier, WantedForward, World};
use crate::store::{ForwardRecord, InstanceRecord};

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
    enforce_but(world, owners, &|_| false)
}

/// As [`enforce`], for those that lead to an instance which is being made or changed: a stand-alone
/// forward that leads nowhere now has no rule, and stops nobody; neither does the instance's own list,
/// unless it is `asked` for now.
///
/// # Errors
/// When the list that is asked for leads nowhere; what the firewall refuses.
pub(in crate::engine) fn enforce_led_to(
    world: &World,
    uid: Uid,
    name: &Name,
    asked: bool,
) -> Result<()> {
    let owners = led_to(world, uid, name)?;
    enforce_but(world, &owners, &|owner| !(asked && owner == uid))
}

fn enforce_but(
    world: &World,
    owners: &BTreeSet<Uid>,
    may_be_stale: &dyn Fn(Uid) -> bool,
) -> Result<()> {
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
        only_of(&theirs, owners, may_be_stale)
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
            released: had(world, owners)?,
        })
    };
    firewall.assert(world.store()?, &wanted).map(drop)
}

/// What the records say that owners have of the host.
fn had(world: &World, owners: &BTreeSet<Uid>) -> Result<Vec<Course>> {
    let store = world.store_for_reading()?;
    let mut courses = Vec::new();
    for uid in owners {
        if let Some(record) = store.get::<ForwardRecord>(uid)? {
            let localhost = record.spec.localhost.unwrap_or(true);
            courses.extend(released(&record.mapping(), localhost));
        } else if let Some(record) = store.get::<InstanceRecord>(uid)? {
            let each = record.ports.iter();
            courses.extend(each.filter_map(|ports| released(ports, true)));
        }
    }
    Ok(courses)
}

/// What nobody is to answer any more; nothing where no port was taken yet.
fn released(ports: &PortMapping, localhost: bool) -> Option<Course> {
    let last = ports.host.checked_add(ports.count.saturating_sub(1))?;
    (ports.host > 0).then_some(Course {
        claim: Claim {
            address: ports.address.filter(|a| !a.is_unspecified()),
            protocol: ports.protocol,
            first: ports.host,
            last,
        },
        localhost,
        guest: None,
    })
}

fn only_of(
    theirs: &[WantedForward],
    owners: &BTreeSet<Uid>,
    may_be_stale: &dyn Fn(Uid) -> bool,
) -> Result<Wanted> {
    let mut strict = theirs.iter().filter(|w| !may_be_stale(w.owner()));
    if let Some(astray) = strict.find_map(|w| w.aim.as_ref().err())
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
    let retired: Vec<Uid> = retired.filter(|uid| !spared.contains(uid)).collect();
    let going = forwards.iter().filter(|w| retired.contains(&w.owner()));
    let released = going.filter_map(|w| released(&w.ports, w.has_localhost()));
    Wanted {
        released: released.collect(),
        mappings,
        retired,
    }
}

/// What is to be in force of all these forwards of the context.
pub(super) fn all_of(forwards: &[WantedForward]) -> Wanted {
    let owners = forwards.iter().map(WantedForward::owner).collect();
    in_force(forwards, &owners)
}

/// Says which forwards of an instance lead nowhere, one line each; nothing where that is not known.
pub(in crate::engine) fn stale(world: &World, instance: &Name) -> Vec<String> {
    let all = world.wanted_forwards().unwrap_or_default().into_iter();
    let theirs = all.filter(|w| w.instance == *instance && !w.is_going());
    let line = |wanted: WantedForward| {
        let why = wanted.aim.err()?.message;
        Some(format!("forward/{} leads nowhere now: {why}", wanted.name))
    };
    theirs.filter_map(line).collect()
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
