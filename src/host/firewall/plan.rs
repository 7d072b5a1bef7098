//! What must change in every firewall so that the forwards that are wanted are in force.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::api::Uid;
use crate::net::forward::{Bridge, Claim, Mapping};

use super::delta::{Delta, Goal, delta, with_shared};
use super::kernel;
use super::rule::{Chain, Family, Part, Rule, Verdict, loopback, rules_of};
use super::ruleset::{Firewalls, Ruleset};

/// What should be in force, and what should no longer be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The forwards. Every rule of one of their owners that is not of them goes.
    pub mappings: Vec<Mapping>,
    /// Owners that are to have no rule left.
    pub retired: Vec<Uid>,
    /// What they had of the host, as far as it is known.
    pub released: Vec<Course>,
}

/// What packets a forward takes, and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// What it takes of the host.
    pub claim: Claim,
    /// Whether those that the host itself sends to 127.0.0.0/8 go the same way.
    pub localhost: bool,
    /// The guest that answers; nobody does when absent.
    pub guest: Option<IpAddr>,
}

impl Course {
    /// Returns the way that a mapping makes.
    pub(super) const fn of(mapping: &Mapping) -> Self {
        Self {
            claim: mapping.claim(),
            localhost: mapping.localhost(),
            guest: Some(mapping.guest()),
        }
    }
}

/// A translation that begins, ends or goes elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) claim: Claim,
    /// Where it led; `None` when it is new.
    pub(super) from: Option<IpAddr>,
}

/// All changes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) deltas: BTreeMap<(Family, Firewalls), Delta>,
    pub(super) localnet_on: BTreeSet<Bridge>,
    pub(super) localnet_off: BTreeSet<Bridge>,
    /// Ports of bridges that a packet may go back by; see [`kernel::hairpins_off`].
    pub(super) hairpin: Vec<PathBuf>,
    pub(super) moved: Vec<Moved>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.deltas.is_empty()
            && self.localnet_on.is_empty()
            && self.localnet_off.is_empty()
            && self.hairpin.is_empty()
    }

    /// Returns one line for each thing that is off.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for ((_, firewall), delta) in &self.deltas {
            for (chain, change) in delta {
                let name = chain.name();
                if change.jump {
                    lines.push(format!("{firewall}: the jump to {name}"));
                }
                if !change.add.is_empty() {
                    lines.push(format!(
                        "{firewall}: {} rules into {name}",
                        change.add.len()
                    ));
                }
                if !change.delete.is_empty() {
                    lines.push(format!(
                        "{firewall}: {} rules out of {name}",
                        change.delete.len()
                    ));
                }
                if change.drop {
                    lines.push(format!("{firewall}: {name} goes"));
                }
            }
        }
        let on = self
            .localnet_on
            .iter()
            .map(|b| format!("route_localnet on for {b}"));
        let off = self
            .localnet_off
            .iter()
            .map(|b| format!("route_localnet off for {b}"));
        let back = self.hairpin.iter().map(|p| format!("on: {}", p.display()));
        lines.extend(on.chain(off).chain(back));
        lines
    }
}

const ALL: [(Family, Firewalls); 4] = [
    (Family::V4, Firewalls::Iptables),
    (Family::V4, Firewalls::Nftables),
    (Family::V6, Firewalls::Iptables),
    (Family::V6, Firewalls::Nftables),
];

/// Compares what is there with what is wanted.
pub(super) fn plan(ruleset: &Ruleset, wanted: &Wanted) -> Plan {
    let mut plan = Plan::default();
    let (mut closed_after, mut closed_before) = (BTreeSet::new(), BTreeSet::new());
    for (family, firewall) in ALL {
        let Some(present) = ruleset.half(family).present(firewall) else {
            continue;
        };
        let mut goal = goal(ruleset, wanted, family, firewall);
        let rules = with_shared(present, std::mem::take(&mut goal.rules), &goal.owners);
        closed_after.extend(closed(rules.iter()));
        closed_before.extend(closed(present.rules()));
        moved(&mut plan.moved, present.rules(), &rules, &goal);
        let change = delta(present, &rules, &goal);
        if !change.is_empty() {
            plan.deltas.insert((family, firewall), change);
        }
    }
    plan.localnet_off = &closed_before - &closed_after;
    plan.localnet_off
        .retain(|bridge| kernel::route_localnet(bridge) == Some(true));
    closed_after.retain(|bridge| kernel::route_localnet(bridge) == Some(false));
    plan.localnet_on = closed_after;
    plan.hairpin = kernel::hairpins_off(&wanted.mappings);
    plan
}

fn goal(ruleset: &Ruleset, wanted: &Wanted, family: Family, firewall: Firewalls) -> Goal {
    let half = ruleset.half(family);
    let (mut goal, mut known) = (Goal::default(), BTreeMap::new());
    for mapping in &wanted.mappings {
        goal.owners.insert(mapping.owner());
        if Family::of(mapping.guest()) != family {
            continue;
        }
        let bridge = &mapping.segment().bridge;
        let (home, accepts) = known
            .entry(bridge)
            .or_insert_with(|| (half.home(bridge), half.accepts(bridge)));
        if *home == Some(firewall) {
            goal.rules.extend(rules_of(mapping, Part::Nat));
        }
        if accepts.contains(&firewall) {
            goal.rules.extend(rules_of(mapping, Part::Accept));
        }
    }
    goal.owners.extend(&wanted.retired);
    goal
}

/// The bridges by which packets from 127.0.0.0/8 may leave, and whose guests are therefore kept out of
/// the host's own: by either rule, in case one is gone.
fn closed<'a>(rules: impl Iterator<Item = &'a Rule>) -> BTreeSet<Bridge> {
    rules
        .filter_map(|rule| match rule.chain {
            Chain::Raw => rule.input.clone(),
            Chain::Snat if rule.source == Some(loopback()) => rule.output.clone(),
            _ => None,
        })
        .collect()
}

fn moved<'a>(
    all: &mut Vec<Moved>,
    before: impl Iterator<Item = &'a Rule>,
    after: &BTreeSet<Rule>,
    goal: &Goal,
) {
    let mut kept = BTreeSet::new();
    for rule in before {
        if after.contains(rule) {
            kept.insert(rule);
        } else if rule
            .tag
            .owner()
            .is_some_and(|uid| goal.owners.contains(&uid))
        {
            all.extend(translation(rule).map(|(claim, from)| Moved {
                claim,
                from: Some(from),
            }));
        }
    }
    for rule in after.iter().filter(|rule| !kept.contains(rule)) {
        all.extend(translation(rule).map(|(claim, _)| Moved { claim, from: None }));
    }
}

/// Returns what a rule translates, and to whom.
pub(super) fn translation(rule: &Rule) -> Option<(Claim, IpAddr)> {
    let (Verdict::Dnat(to, _), Some((protocol, first, last))) = (rule.verdict, rule.ports) else {
        return None;
    };
    let claim = Claim {
        address: rule.destination.map(|net| net.addr()),
        protocol,
        first,
        last,
    };
    Some((claim, to))
}
