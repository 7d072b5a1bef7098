//! How each forward fares, from one reading of the rules.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::api::Uid;
use crate::net::forward::{Bridge, Endpoint, Mapping, Segment};

use super::kernel;
use super::plan::Plan;
use super::present::Present;
use super::rule::{Chain, Family, Found, Part, Rule, Verdict, found, rules_of};
use super::ruleset::{Backend, Firewalls, Half, LibvirtHealth, Ruleset};

/// Whether a forward is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All its rules are there, where they must be.
    Active,
    /// Something of it is there, but not as it must be: what is wrong.
    Stale(String),
    /// Nothing of it is there: why.
    Missing(String),
}

/// One forward as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardState {
    /// Whether it is in force.
    pub health: Health,
    /// Connections that were led to the guest.
    pub connections: u64,
    /// Packets that were forwarded to the guest; those of the host itself are not among them.
    pub packets: u64,
}

/// One bridge as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeState {
    /// The bridge.
    pub bridge: Bridge,
    /// The firewall that libvirt uses for it.
    pub backend: Backend,
    /// Whether libvirt's own rules are there.
    pub libvirt: LibvirtHealth,
}

/// Everything about some forwards, from one reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The forwards, in the order in which they were asked for.
    pub forwards: Vec<ForwardState>,
    /// Forwards of other owners.
    pub strangers: Vec<Found>,
    /// The bridges of the forwards.
    pub bridges: Vec<BridgeState>,
    /// What is off, one line each; empty when there is nothing to do.
    pub drift: Vec<String>,
}

impl Observation {
    /// Returns what is missing of libvirt's own rules, one line for each bridge.
    pub fn libvirt_trouble(&self) -> Vec<String> {
        libvirt_trouble(&self.bridges)
    }
}

/// As [`Observation::libvirt_trouble`].
pub(super) fn libvirt_trouble(bridges: &[BridgeState]) -> Vec<String> {
    let trouble = |state: &BridgeState| match &state.libvirt {
        LibvirtHealth::Missing(what) => Some(format!(
            "libvirt's own rules for {} are gone: {what}",
            state.bridge
        )),
        _ => None,
    };
    bridges.iter().filter_map(trouble).collect()
}

/// Looks at forwards in a ruleset; `plan` is what would have to be done for them.
pub(super) fn observe(ruleset: &Ruleset, mappings: &[Mapping], plan: &Plan) -> Observation {
    let indexes = Indexes::of(ruleset);
    let mut places = BTreeMap::new();
    let state = |mapping: &Mapping| {
        let bridge = &mapping.segment().bridge;
        let family = Family::of(mapping.guest());
        let place = places
            .entry((family, bridge.clone()))
            .or_insert_with(|| Place::of(ruleset.half(family), bridge));
        indexes.state(ruleset.half(family), family, place, mapping)
    };
    let forwards: Vec<ForwardState> = mappings.iter().map(state).collect();
    Observation {
        forwards,
        strangers: indexes.strangers(mappings),
        bridges: bridges(ruleset, mappings),
        drift: plan.lines(),
    }
}

/// Looks at the bridges of forwards.
pub(super) fn bridges(ruleset: &Ruleset, mappings: &[Mapping]) -> Vec<BridgeState> {
    let mut bridges: Vec<BridgeState> = Vec::new();
    for mapping in mappings {
        let segment = mapping.segment();
        if !bridges.iter().any(|b| b.bridge == segment.bridge) {
            bridges.push(bridge_state(ruleset, segment));
        }
    }
    bridges
}

/// Looks at one bridge.
pub(super) fn bridge_state(ruleset: &Ruleset, segment: &Segment) -> BridgeState {
    let half = ruleset.of(&segment.subnet);
    BridgeState {
        bridge: segment.bridge.clone(),
        backend: half.backend(&segment.bridge),
        libvirt: match kernel::exists(&segment.bridge) {
            true => half.libvirt_health(segment),
            false => LibvirtHealth::NotExpected,
        },
    }
}

/// The rules that are there, with their packet counters.
struct Indexes<'a> {
    rules: HashMap<(Family, Firewalls), HashMap<&'a Rule, u64>>,
    /// The forwards that the rules tell of, by owner.
    found: HashMap<Uid, Vec<Found>>,
}

impl<'a> Indexes<'a> {
    fn of(ruleset: &'a Ruleset) -> Self {
        let mut rules = HashMap::new();
        let mut by_owner: HashMap<Uid, Vec<Found>> = HashMap::new();
        for family in [Family::V4, Family::V6] {
            for firewall in [Firewalls::Iptables, Firewalls::Nftables] {
                if let Some(present) = ruleset.half(family).present(firewall) {
                    rules.insert((family, firewall), index(present));
                    for one in found(present.rules()) {
                        by_owner.entry(one.owner).or_default().push(one);
                    }
                }
            }
        }
        Self {
            rules,
            found: by_owner,
        }
    }

    fn get(&self, at: (Family, Firewalls), rule: &Rule) -> Option<u64> {
        self.rules.get(&at)?.get(rule).copied()
    }

    fn state(&self, half: &Half, family: Family, place: &Place, mapping: &Mapping) -> ForwardState {
        let (nat, accept) = (
            rules_of(mapping, Part::Nat),
            rules_of(mapping, Part::Accept),
        );
        let sum = |rules: &BTreeSet<Rule>, chains: &[Chain]| -> u64 {
            let rules = rules
                .iter()
                .filter(|r| chains.contains(&r.chain) && r.tag.owner().is_some());
            let each = rules.filter_map(|rule| {
                let both = [Firewalls::Iptables, Firewalls::Nftables];
                both.into_iter()
                    .filter_map(|f| self.get((family, f), rule))
                    .max()
            });
            each.sum()
        };
        ForwardState {
            connections: sum(&nat, &[Chain::Dnat, Chain::Out]),
            packets: sum(&accept, &[Chain::Fwd]),
            health: self.health(half, family, place, mapping, (&nat, &accept)),
        }
    }

    fn health(
        &self,
        half: &Half,
        family: Family,
        place: &Place,
        mapping: &Mapping,
        (nat, accept): (&BTreeSet<Rule>, &BTreeSet<Rule>),
    ) -> Health {
        let Some(home) = place.home else {
            return Health::Missing("there is neither iptables nor nft".to_owned());
        };
        let own = |r: &&Rule| matches!(r.verdict, Verdict::Dnat(..));
        if !nat
            .iter()
            .filter(own)
            .any(|rule| self.get((family, home), rule).is_some())
        {
            return self.elsewhere(family, home, mapping);
        }
        let mut parts = vec![(home, nat)];
        parts.extend(place.accepts.iter().map(|f| (*f, accept)));
        for (firewall, rules) in parts {
            if let Some(lost) = rules
                .iter()
                .find(|r| self.get((family, firewall), r).is_none())
            {
                return Health::Stale(format!(
                    "a rule of {} is gone ({firewall})",
                    lost.chain.name()
                ));
            }
            let present = half.present(firewall);
            let off = |r: &&Rule| !present.is_some_and(|p| p.jump_is_right(r.chain));
            if let Some(rule) = rules.iter().find(off) {
                let name = rule.chain.name();
                return Health::Stale(match rule.chain {
                    Chain::Fwd => format!("{name} is not the first that is asked ({firewall})"),
                    _ => format!("nothing leads to {name} ({firewall})"),
                });
            }
        }
        match place.kernel_trouble(mapping) {
            Some(what) => Health::Stale(what),
            None => Health::Active,
        }
    }

    fn strangers(&self, mappings: &[Mapping]) -> Vec<Found> {
        let owners: BTreeSet<Uid> = mappings.iter().map(Mapping::owner).collect();
        let others = self.found.iter().filter(|(uid, _)| !owners.contains(uid));
        let mut all: Vec<Found> = others.flat_map(|(_, forwards)| forwards).cloned().collect();
        all.sort_by_key(|f| (f.owner, f.claim.first, f.guest));
        all
    }

    /// It is not where it should be: perhaps it is somewhere else.
    fn elsewhere(&self, family: Family, home: Firewalls, mapping: &Mapping) -> Health {
        let claims = |f: &&Found| f.claim.meets(&mapping.claim());
        let right =
            |f: &&Found| (f.guest, f.guest_port) == (mapping.guest(), mapping.guest_ports().0);
        let mut all = self.found.get(&mapping.owner()).into_iter().flatten();
        if let Some(other) = all.find(|f| claims(f) && !right(f)) {
            let led = Endpoint(other.guest, other.guest_port);
            return Health::Stale(format!("it leads to {led}"));
        }
        let nat = rules_of(mapping, Part::Nat);
        let other = match home {
            Firewalls::Iptables => Firewalls::Nftables,
            Firewalls::Nftables => Firewalls::Iptables,
        };
        if nat
            .iter()
            .any(|rule| self.get((family, other), rule).is_some())
        {
            return Health::Stale(format!("it is in {other}, and libvirt uses {home}"));
        }
        Health::Missing("it has no rule".to_owned())
    }
}

fn index(present: &Present) -> HashMap<&Rule, u64> {
    let seen = present.all();
    seen.filter_map(|seen| Some((seen.rule.as_ref()?, seen.packets)))
        .collect()
}

/// What all forwards to a bridge have in common.
struct Place {
    home: Option<Firewalls>,
    accepts: BTreeSet<Firewalls>,
    /// `None` while the bridge does not exist.
    route_localnet: Option<bool>,
    forwards_ipv4: bool,
}

impl Place {
    fn of(half: &Half, bridge: &Bridge) -> Self {
        Self {
            home: half.home(bridge),
            accepts: half.accepts(bridge),
            route_localnet: kernel::route_localnet(bridge),
            forwards_ipv4: kernel::forwards_ipv4(),
        }
    }

    fn kernel_trouble(&self, mapping: &Mapping) -> Option<String> {
        let bridge = &mapping.segment().bridge;
        let Some(open) = self.route_localnet else {
            return Some(format!("the network is not running: there is no {bridge}"));
        };
        if mapping.guest().is_ipv4() && !self.forwards_ipv4 {
            return Some("the host forwards nothing: net.ipv4.ip_forward is 0".to_owned());
        }
        let closed = mapping.localhost() && !open;
        closed.then(|| format!("route_localnet is off on {bridge}"))
    }
}
