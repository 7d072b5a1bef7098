//! Everything that was read at one moment, and what it says about libvirt's own rules.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use crate::net::forward::{Bridge, LibvirtRules, Segment};

use super::iptables::Saved;
use super::nftables::Listed;
use super::present::Present;
use super::rule::Family;

/// The firewall that libvirt writes a bridge's rules with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// iptables.
    Iptables,
    /// nftables.
    Nftables,
    /// Neither holds a rule of libvirt for it.
    None,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::None => "none",
        })
    }
}

/// Which of the two firewalls; not which of them libvirt uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Firewalls {
    Iptables,
    Nftables,
}

impl fmt::Display for Firewalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        })
    }
}

/// Whether libvirt's own rules of a network are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LibvirtHealth {
    /// They are.
    Present,
    /// Some are missing: which.
    Missing(String),
    /// It keeps none for such a network.
    NotExpected,
}

/// One family's rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Half {
    /// `None` where there is no iptables.
    pub(super) iptables: Option<Saved>,
    /// `None` where there is no nft.
    pub(super) nftables: Option<Listed>,
}

impl Half {
    /// Returns the firewalls in which libvirt has rules for a bridge.
    pub(super) fn libvirt_in(&self, bridge: &Bridge) -> Vec<Firewalls> {
        let mut found = Vec::new();
        if self
            .iptables
            .as_ref()
            .is_some_and(|s| iptables_has(s, bridge))
        {
            found.push(Firewalls::Iptables);
        }
        if self
            .nftables
            .as_ref()
            .is_some_and(|l| nftables_has(l, bridge))
        {
            found.push(Firewalls::Nftables);
        }
        found
    }

    pub(super) fn backend(&self, bridge: &Bridge) -> Backend {
        match self.libvirt_in(bridge).first() {
            Some(Firewalls::Iptables) => Backend::Iptables,
            Some(Firewalls::Nftables) => Backend::Nftables,
            None => Backend::None,
        }
    }

    /// Returns the firewall that address translation for a bridge belongs into. While its network
    /// does not run, libvirt has no rules for it, and ours stay where they are.
    pub(super) fn home(&self, bridge: &Bridge) -> Option<Firewalls> {
        let ours = |f: &Firewalls| {
            let mut rules = self.present(*f).into_iter().flat_map(Present::rules);
            rules.any(|rule| rule.output.as_ref() == Some(bridge))
        };
        let libvirt = self.libvirt_in(bridge).first().copied();
        let sticky = || {
            [Firewalls::Iptables, Firewalls::Nftables]
                .into_iter()
                .find(ours)
        };
        libvirt.or_else(sticky).or_else(|| self.usual())
    }

    /// Returns the firewall that libvirt uses for other bridges, or would use.
    fn usual(&self) -> Option<Firewalls> {
        let iptables = self.iptables.as_ref();
        let in_iptables = iptables.is_some_and(|s| {
            let chain = ("filter".to_owned(), "LIBVIRT_FWI".to_owned());
            s.own_made.contains(&chain)
        });
        match (iptables, &self.nftables) {
            (Some(_), Some(_)) if self.libvirt_forward() && !in_iptables => {
                Some(Firewalls::Nftables)
            }
            (Some(_), _) => Some(Firewalls::Iptables),
            (None, Some(_)) => Some(Firewalls::Nftables),
            (None, None) => None,
        }
    }

    fn libvirt_forward(&self) -> bool {
        let listed = self.nftables.as_ref();
        listed.is_some_and(|listed| listed.libvirt.contains_key("forward"))
    }

    /// Returns the firewalls that must let packets to a bridge pass.
    pub(super) fn accepts(&self, bridge: &Bridge) -> BTreeSet<Firewalls> {
        let mut all: BTreeSet<Firewalls> = self.libvirt_in(bridge).into_iter().collect();
        let drops = self.iptables.as_ref().is_some_and(|s| s.forward_drops);
        match self.home(bridge) {
            Some(Firewalls::Iptables) => all.extend([Firewalls::Iptables]),
            Some(Firewalls::Nftables) if self.libvirt_forward() => {
                all.extend([Firewalls::Nftables])
            }
            _ => {}
        }
        if drops {
            all.insert(Firewalls::Iptables);
        }
        all
    }

    pub(super) fn present(&self, firewall: Firewalls) -> Option<&Present> {
        match firewall {
            Firewalls::Iptables => self.iptables.as_ref().map(|s| &s.present),
            Firewalls::Nftables => self.nftables.as_ref().map(|l| &l.present),
        }
    }

    /// Returns whether what libvirt keeps for a network is there.
    pub(super) fn libvirt_health(&self, segment: &Segment) -> LibvirtHealth {
        if segment.libvirt == LibvirtRules::None {
            return LibvirtHealth::NotExpected;
        }
        let missing = match self.backend(&segment.bridge) {
            Backend::None => Some(format!("no rule of libvirt names {}", segment.bridge)),
            Backend::Iptables => self
                .iptables
                .as_ref()
                .and_then(|s| iptables_lack(s, segment)),
            Backend::Nftables => self
                .nftables
                .as_ref()
                .and_then(|l| nftables_lack(l, segment)),
        };
        missing.map_or(LibvirtHealth::Present, LibvirtHealth::Missing)
    }
}

fn iptables_has(saved: &Saved, bridge: &Bridge) -> bool {
    ["LIBVIRT_FWI", "LIBVIRT_FWO"].iter().any(|chain| {
        let mut rules = saved.chain("filter", chain);
        rules.any(|line| [line.value("-o"), line.value("-i")].contains(&Some(bridge.as_str())))
    })
}

fn iptables_lack(saved: &Saved, segment: &Segment) -> Option<String> {
    let names = |table: &str, chain: &str, option: &str, value: &str| {
        saved
            .chain(table, chain)
            .any(|line| line.value(option) == Some(value))
    };
    let bridge = segment.bridge.as_str();
    let jumps = [
        ("filter", "FORWARD", "LIBVIRT_FWI"),
        ("filter", "FORWARD", "LIBVIRT_FWO"),
        ("filter", "INPUT", "LIBVIRT_INP"),
    ];
    for (table, parent, chain) in jumps {
        if !names(table, parent, "-j", chain) {
            return Some(format!("{parent} does not lead to {chain}"));
        }
    }
    for (chain, option) in [("LIBVIRT_FWI", "-o"), ("LIBVIRT_FWO", "-i")] {
        if !names("filter", chain, option, bridge) {
            return Some(format!("{chain} has no rule for {bridge}"));
        }
    }
    if segment.libvirt != LibvirtRules::Nat || !segment.subnet.addr().is_ipv4() {
        return None;
    }
    if !names("nat", "POSTROUTING", "-j", "LIBVIRT_PRT") {
        return Some("POSTROUTING does not lead to LIBVIRT_PRT".to_owned());
    }
    let subnet = segment.subnet.trunc().to_string();
    let masquerade = names("nat", "LIBVIRT_PRT", "-s", &subnet);
    (!masquerade).then(|| format!("LIBVIRT_PRT has no rule for {subnet}"))
}

fn nftables_has(listed: &Listed, bridge: &Bridge) -> bool {
    ["guest_input", "guest_output"]
        .iter()
        .any(|chain| rule_with(listed, chain, bridge.as_str()))
}

fn rule_with(listed: &Listed, chain: &str, word: &str) -> bool {
    let rules = listed.libvirt.get(chain);
    rules.is_some_and(|rules| rules.iter().any(|rule| rule.iter().any(|w| w == word)))
}

fn nftables_lack(listed: &Listed, segment: &Segment) -> Option<String> {
    let bridge = segment.bridge.as_str();
    for chain in ["guest_input", "guest_output"] {
        if !rule_with(listed, "forward", chain) {
            return Some(format!("forward does not lead to {chain}"));
        }
        if !rule_with(listed, chain, bridge) {
            return Some(format!("{chain} has no rule for {bridge}"));
        }
    }
    if segment.libvirt != LibvirtRules::Nat || !segment.subnet.addr().is_ipv4() {
        return None;
    }
    let subnet = segment.subnet.trunc().to_string();
    let masquerade = rule_with(listed, "guest_nat", &subnet);
    (!masquerade).then(|| format!("guest_nat has no rule for {subnet}"))
}

/// Everything that was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Ruleset {
    pub(super) v4: Half,
    pub(super) v6: Half,
}

impl Ruleset {
    pub(super) const fn half(&self, family: Family) -> &Half {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub(super) const fn half_mut(&mut self, family: Family) -> &mut Half {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    pub(super) fn of(&self, net: &IpNet) -> &Half {
        self.half(Family::of(net.addr()))
    }
}
