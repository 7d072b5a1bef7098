//! Which connections go a way that no rule leads any more.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::error::FirewallError;
use super::super::foreign::Foreign;
use super::super::plan::{Course, Moved, Wanted, translation};
use super::super::rule::Family;
use super::super::ruleset::{Firewalls, Ruleset};
use super::message::Entry;
use crate::api::Protocol;
use crate::net::forward::Claim;

/// Finds the rules of others that take ports of the host.
pub(super) type FindForeign<'a> = dyn Fn() -> Result<Vec<Foreign>, FirewallError> + 'a;

/// What tells connections that are left on an old way.
pub(in super::super) struct Left<'a> {
    moved: Vec<&'a Moved>,
    courses: Vec<Course>,
    /// Where the guests are: nobody but rules leads there.
    subnets: BTreeSet<IpNet>,
    /// What is translated now, to whom.
    rules: Vec<(Claim, IpAddr)>,
    find_foreign: &'a FindForeign<'a>,
    foreign: OnceCell<Vec<Claim>>,
}

impl<'a> Left<'a> {
    /// Those of translations that were just moved.
    pub(in super::super) fn moved(moved: &'a [Moved], find_foreign: &'a FindForeign<'a>) -> Self {
        // Who calls by TCP where there was no forward has been told so, and asks anew by itself.
        let leaves = |m: &&Moved| m.from.is_some() || m.claim.protocol == Protocol::Udp;
        Self {
            moved: moved.iter().filter(leaves).collect(),
            courses: Vec::new(),
            subnets: BTreeSet::new(),
            rules: Vec::new(),
            find_foreign,
            foreign: OnceCell::new(),
        }
    }

    /// As [`Left::moved`], and those that are elsewhere than is wanted now, whoever moved the rules.
    pub(in super::super) fn all(
        moved: &'a [Moved],
        wanted: &Wanted,
        now: &Ruleset,
        find_foreign: &'a FindForeign<'a>,
    ) -> Self {
        let firewalls = [Firewalls::Iptables, Firewalls::Nftables];
        let present = [&now.v4, &now.v6]
            .into_iter()
            .flat_map(|half| firewalls.map(|firewall| half.present(firewall)));
        let rules = present.flatten().flat_map(|present| present.rules());
        let mappings = wanted.mappings.iter();
        Self {
            courses: mappings
                .clone()
                .map(Course::of)
                .chain(wanted.released.iter().copied())
                .collect(),
            subnets: mappings.map(|m| m.segment().subnet).collect(),
            rules: rules.filter_map(translation).collect(),
            ..Self::moved(moved, find_foreign)
        }
    }

    /// Returns whether nothing is looked for.
    pub(super) const fn is_nothing(&self) -> bool {
        self.moved.is_empty() && self.courses.is_empty()
    }

    /// Returns whether only what another run may have left is looked for.
    pub(super) const fn is_doubt(&self) -> bool {
        self.moved.is_empty()
    }

    /// Returns the families of the connections.
    pub(super) fn families(&self) -> Vec<Family> {
        let moved = self.moved.iter().map(|m| m.from.or(m.claim.address));
        let courses = self.courses.iter().map(|c| c.guest.or(c.claim.address));
        let addresses: Vec<Option<IpAddr>> = moved.chain(courses).collect();
        let all = [Family::V4, Family::V6];
        let of = |family: &Family| {
            let is = |address: &Option<IpAddr>| address.is_none_or(|a| Family::of(a) == *family);
            addresses.iter().any(is)
        };
        all.into_iter().filter(of).collect()
    }

    /// Returns whether a connection goes an old way.
    ///
    /// # Errors
    /// When the rules of others cannot be read.
    pub(super) fn has(
        &self,
        entry: &Entry,
        local: &HashSet<IpAddr>,
    ) -> Result<bool, FirewallError> {
        if self.moved.iter().any(|m| has_moved(entry, m, local))
            || self.courses.iter().any(|c| is_off(entry, c, local))
        {
            return Ok(true);
        }
        // A port that was given up by a run that was cut off: nothing but the connection tells of it.
        let to_guest = || {
            self.subnets
                .iter()
                .any(|net| net.contains(&entry.answers_from))
        };
        let ours = entry.translated && local.contains(&entry.address) && to_guest();
        Ok(ours && !self.is_led(entry)?)
    }

    fn is_led(&self, entry: &Entry) -> Result<bool, FirewallError> {
        let leads =
            |(claim, to): &(Claim, IpAddr)| *to == entry.answers_from && covers(claim, entry);
        if self.rules.iter().any(leads) {
            return Ok(true);
        }
        let foreign = match self.foreign.get() {
            Some(foreign) => foreign,
            None => {
                let found = (self.find_foreign)()?;
                let claims = found.into_iter().map(|f| f.claim).collect();
                self.foreign.get_or_init(|| claims)
            }
        };
        Ok(foreign.iter().any(|claim| covers(claim, entry)))
    }
}

fn covers(claim: &Claim, entry: &Entry) -> bool {
    entry.protocol == claim.protocol
        && (claim.first..=claim.last).contains(&entry.port)
        && claim.address.is_none_or(|address| address == entry.address)
}

/// Returns whether a connection goes a way that a translation has left.
fn has_moved(entry: &Entry, moved: &Moved, local: &HashSet<IpAddr>) -> bool {
    let claim = &moved.claim;
    let to_host = || claim.address.is_some() || local.contains(&entry.address);
    covers(claim, entry)
        && match moved.from {
            Some(guest) => entry.translated && entry.answers_from == guest,
            None => is_too_early(entry) && to_host(),
        }
}

/// Returns whether a connection is to the host's port of a forward, and not on its way.
fn is_off(entry: &Entry, course: &Course, local: &HashSet<IpAddr>) -> bool {
    let claim = &course.claim;
    let to_host = || match claim.address {
        Some(_) => true,
        None if entry.address.is_loopback() => course.localhost,
        None => local.contains(&entry.address),
    };
    covers(claim, entry)
        && to_host()
        && match course.guest {
            Some(guest) if entry.translated => entry.answers_from != guest,
            Some(_) => is_too_early(entry),
            None => entry.translated,
        }
}

/// Of a client that asked before there was a forward.
fn is_too_early(entry: &Entry) -> bool {
    !entry.translated && entry.protocol == Protocol::Udp
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn entry(address: IpAddr, answers_from: IpAddr, translated: bool) -> Entry {
        Entry::told(Protocol::Udp, (address, 53), answers_from, translated)
    }

    fn course(guest: Option<IpAddr>, localhost: bool) -> Course {
        Course {
            claim: Claim {
                address: None,
                protocol: Protocol::Udp,
                first: 50,
                last: 60,
            },
            localhost,
            guest,
        }
    }

    #[test]
    fn what_another_run_left_is_told_by_where_it_goes() {
        let (host, old, new) = (ip(1), ip(2), ip(3));
        let loopback: IpAddr = [127, 0, 0, 1].into();
        let local = HashSet::from([host, loopback]);
        let off = |entry: &Entry, course: Course| is_off(entry, &course, &local);
        assert!(off(&entry(host, old, true), course(Some(new), true)));
        assert!(!off(&entry(host, new, true), course(Some(new), true)));
        assert!(off(&entry(host, host, false), course(Some(new), true)));
        assert!(off(&entry(host, old, true), course(None, true)));
        assert!(!off(&entry(host, host, false), course(None, true)));
        assert!(!off(&entry(ip(9), old, true), course(Some(new), true)));
        assert!(off(&entry(loopback, old, true), course(Some(new), true)));
        assert!(!off(&entry(loopback, old, true), course(Some(new), false)));
    }

    #[test]
    fn a_port_that_nothing_leads_from_is_told_by_its_guest() {
        let (host, guest) = (ip(1), ip(2));
        let local = HashSet::from([host]);
        let theirs = std::cell::Cell::new(false);
        let find = || {
            let claim = course(None, true).claim;
            let rule = "somebody's".to_owned();
            Ok(match theirs.get() {
                true => vec![Foreign { claim, rule }],
                false => Vec::new(),
            })
        };
        let left = |rules| Left {
            subnets: BTreeSet::from(["10.0.0.0/24".parse().unwrap()]),
            rules,
            ..Left::moved(&[], &find)
        };
        let old = entry(host, guest, true);
        let led = course(None, true).claim;
        assert!(left(Vec::new()).has(&old, &local).unwrap());
        assert!(left(vec![(led, ip(3))]).has(&old, &local).unwrap());
        assert!(!left(vec![(led, guest)]).has(&old, &local).unwrap());
        theirs.set(true);
        assert!(!left(Vec::new()).has(&old, &local).unwrap());
    }
}
