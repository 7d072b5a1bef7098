//! Address slots: host entries that a network is born with, so that creating an instance need not
//! touch it (one update of a live network costs half a second and a run of every firewall rule).
//!
//! The hardware address of a slot is a function of the network's uuid and the address: whoever
//! reads the network's XML can tell which entries are ours.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};

use crate::api::{Timestamp, Uid};

use super::choice::{Choice, Taken};
use super::error::NetError;
use super::mac::Mac;
use super::subnet::{Range, Subnet};

/// Most slots of one network: defining 245 costs 31 ms, and dnsmasq reads them all.
pub const MAX_SLOTS: usize = 1022;

/// Addresses left to DHCP in a network of our own: for guests that others attach to it.
pub const OWN_NETWORK_DYNAMIC: u32 = 8;

/// A `<host>` entry of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostEntry {
    /// Hardware address.
    pub mac: Mac,
    /// Address.
    pub ip: Ipv4Addr,
}

/// How the addresses of a network are divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotPlan {
    /// What the DHCP server gives out by itself: the lower part.
    pub dynamic: Option<Range>,
    /// One entry for every address of the instance range, the upper part; upwards.
    pub hosts: Vec<HostEntry>,
}

impl SlotPlan {
    /// Returns the ranges that the DHCP server is told: the dynamic one, and those of the slots.
    ///
    /// libvirt lets dnsmasq give out only as many leases as its ranges have addresses
    /// (`dhcp-lease-max`), reserved or not: without ranges of their own most slots would get none. An
    /// address that has an entry is never given to anybody else, also inside a range.
    pub fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = self.dynamic.into_iter().collect();
        for ip in self.hosts.iter().map(|h| h.ip) {
            match ranges.last_mut() {
                Some(run) if Some(*run) != self.dynamic && next(run.end) == Some(ip) => {
                    run.end = ip
                }
                _ => ranges.push(Range { start: ip, end: ip }),
            }
        }
        ranges
    }
}

fn next(ip: Ipv4Addr) -> Option<Ipv4Addr> {
    u32::from(ip).checked_add(1).map(Ipv4Addr::from)
}

/// Returns whether all addresses of a range have slots, which are given upwards.
pub fn is_slots_own(range: Range, slots: &[HostEntry]) -> bool {
    let inside = slots.iter().filter(|s| range.contains(s.ip)).count();
    let size =
        u64::from(u32::from(range.end)).saturating_sub(u64::from(u32::from(range.start))) + 1;
    u64::try_from(inside).is_ok_and(|inside| inside == size)
}

/// Returns the hardware address that belongs to an address of a network.
///
/// `52:54:00`, then the low 24 bits of the address under a mask made from the network's uuid: two
/// addresses of one network (a /8 at most) never share one.
pub fn mac_for(network: Uid, ip: Ipv4Addr) -> Mac {
    let mask = Sha256::digest(network.as_bytes());
    let [_, a, b, c] = ip.octets();
    Mac::new([0x52, 0x54, 0x00, a ^ mask[0], b ^ mask[1], c ^ mask[2]])
}

/// Returns how many addresses of a network that others use too are left to them: half.
pub const fn shared_network_dynamic(cidr: Ipv4Net) -> u32 {
    // `setup` sees only ranges that `Subnet` has let through: /8 to /30.
    let bits = 32 - cidr.prefix_len() as u32;
    if bits <= 1 { 0 } else { (1 << (bits - 1)) - 2 }
}

/// Divides a range: the lowest `dynamic` addresses for DHCP, the highest for slots.
///
/// # Errors
/// [`NetError::Prefix`] and [`NetError::Gateway`].
pub fn plan(
    network: Uid,
    cidr: Ipv4Net,
    gateway: Ipv4Addr,
    dynamic: u32,
) -> Result<SlotPlan, NetError> {
    let subnet = Subnet::new(cidr, gateway, Vec::new())?;
    let total = subnet.host_count();
    // At least one slot, however small the network.
    let lower = usize::try_from(dynamic)
        .unwrap_or(usize::MAX)
        .min(total - 1);
    let lowest: Vec<Ipv4Addr> = subnet.hosts().take(lower).collect();
    let dynamic = longest_run(&lowest, gateway);
    let upper = subnet.hosts().rev().take(total - lower);
    Ok(SlotPlan {
        dynamic,
        hosts: entries(network, upper),
    })
}

/// Divides a range in which somebody has chosen the addresses for DHCP: the others are slots.
///
/// # Errors
/// [`NetError::Prefix`], [`NetError::Gateway`], [`NetError::Outside`] and [`NetError::Special`].
pub fn plan_around(
    network: Uid,
    cidr: Ipv4Net,
    gateway: Ipv4Addr,
    dynamic: Range,
) -> Result<SlotPlan, NetError> {
    let subnet = Subnet::new(cidr, gateway, Vec::new())?;
    subnet.check(dynamic.start)?;
    subnet.check(dynamic.end)?;
    let others = subnet.hosts().rev().filter(|ip| !dynamic.contains(*ip));
    Ok(SlotPlan {
        dynamic: Some(dynamic),
        hosts: entries(network, others),
    })
}

/// Makes the entries of addresses that are given downwards, as many as a network has; upwards.
fn entries(network: Uid, ips: impl Iterator<Item = Ipv4Addr>) -> Vec<HostEntry> {
    let entry = |ip| HostEntry {
        mac: mac_for(network, ip),
        ip,
    };
    let mut entries: Vec<HostEntry> = ips.take(MAX_SLOTS).map(entry).collect();
    entries.reverse();
    entries
}

/// Returns the longer of the two runs into which the gateway cuts the addresses.
fn longest_run(ips: &[Ipv4Addr], gateway: Ipv4Addr) -> Option<Range> {
    let (below, above) = ips.split_at(ips.partition_point(|ip| *ip < gateway));
    let run = if above.len() >= below.len() {
        above
    } else {
        below
    };
    Some(Range {
        start: *run.first()?,
        end: *run.last()?,
    })
}

/// Returns the entries of a network that are ours, upwards.
pub fn detect(network: Uid, entries: &[HostEntry]) -> Vec<HostEntry> {
    let mut ours: Vec<HostEntry> = entries
        .iter()
        .copied()
        .filter(|entry| entry.mac == mac_for(network, entry.ip))
        .collect();
    ours.sort_by_key(|entry| entry.ip);
    ours
}

/// Takes the free slot whose address has been unused for longest.
///
/// A guest may hold on to a lease for an hour after its instance is gone, and a person to an
/// address in a shell's history; so an address comes back last. `taken` holds what instances have
/// and what others were leased.
///
/// # Errors
/// [`NetError::Full`] with the counts.
pub fn allocate(
    subnet: &Subnet,
    slots: &[HostEntry],
    taken: &Taken,
    last_used: &BTreeMap<Ipv4Addr, Timestamp>,
) -> Result<Choice, NetError> {
    slots
        .iter()
        .filter(|slot| subnet.check(slot.ip).is_ok() && !taken.contains(slot.ip))
        .min_by_key(|slot| (last_used.get(&slot.ip), slot.ip))
        .map(|slot| Choice {
            mac: slot.mac,
            ip: slot.ip,
            slot: true,
        })
        .ok_or_else(|| NetError::Full {
            cidr: subnet.cidr(),
            total: slots.len(),
            used: slots.iter().filter(|slot| taken.contains(slot.ip)).count(),
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::subnet::tests::{any_net, net};
    use super::*;

    const NETWORK: Uid = Uid::from_bytes([7; 16]);

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn subnet() -> Subnet {
        Subnet::new(net("10.206.0.0/24"), ip("10.206.0.1"), vec![]).unwrap()
    }

    #[test]
    fn our_own_network_has_245_slots_and_a_small_dynamic_range() {
        let plan = plan(
            NETWORK,
            net("10.206.0.0/24"),
            ip("10.206.0.1"),
            OWN_NETWORK_DYNAMIC,
        );
        let plan = plan.unwrap();
        let dynamic = plan.dynamic.unwrap();
        assert_eq!(
            (dynamic.start, dynamic.end),
            (ip("10.206.0.2"), ip("10.206.0.9"))
        );
        assert_eq!(plan.hosts.len(), 245);
        assert_eq!(plan.hosts[0].ip, ip("10.206.0.10"));
        assert_eq!(plan.hosts[244].ip, ip("10.206.0.254"));
    }

    #[test]
    fn a_range_of_ones_own_is_left_to_dhcp() {
        let range = Range {
            start: ip("10.206.0.100"),
            end: ip("10.206.0.199"),
        };
        let (cidr, gateway) = (net("10.206.0.0/24"), ip("10.206.0.1"));
        let plan = plan_around(NETWORK, cidr, gateway, range).unwrap();
        assert_eq!(plan.dynamic, Some(range));
        assert_eq!(plan.hosts.len(), 253 - 100);
        assert!(plan.hosts.iter().all(|h| !range.contains(h.ip)));
        let ends: Vec<(u8, u8)> = plan
            .ranges()
            .iter()
            .map(|r| (r.start.octets()[3], r.end.octets()[3]))
            .collect();
        assert_eq!(ends, [(100, 199), (2, 99), (200, 254)]);
        assert_eq!(detect(NETWORK, &plan.hosts), plan.hosts);
    }

    #[test]
    fn the_default_network_keeps_its_lower_half_to_others() {
        let cidr = net("192.168.122.0/24");
        let plan = plan(
            NETWORK,
            cidr,
            ip("192.168.122.1"),
            shared_network_dynamic(cidr),
        )
        .unwrap();
        assert_eq!(plan.dynamic.unwrap().end, ip("192.168.122.127"));
        assert_eq!(plan.hosts[0].ip, ip("192.168.122.128"));
    }

    /// The function is part of what networks out there were born with: it may never change.
    #[test]
    fn the_address_function_stays_what_it_is() {
        assert_eq!(
            mac_for(NETWORK, ip("10.206.0.10")).to_string(),
            "52:54:00:19:61:de"
        );
    }

    #[test]
    fn an_address_comes_back_last() {
        let plan = plan(NETWORK, net("10.206.0.0/24"), ip("10.206.0.1"), 250).unwrap();
        let mut last_used = BTreeMap::new();
        let mut taken = Taken::default();
        let mut order = Vec::new();
        for second in 1..=6 {
            let choice = allocate(&subnet(), &plan.hosts, &taken, &last_used).unwrap();
            order.push(choice.ip.octets()[3]);
            last_used.insert(choice.ip, Timestamp::from_second(second));
        }
        assert_eq!(order, [252, 253, 254, 252, 253, 254], "each in its turn");
        for (n, slot) in plan.hosts.iter().enumerate() {
            taken.insert(slot.ip, format!("instance/i{n}"));
        }
        let error = allocate(&subnet(), &plan.hosts, &taken, &last_used).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no address is free in 10.206.0.0/24: 3 of 3 are in use"
        );
    }

    #[test]
    fn only_entries_with_our_hardware_address_are_ours() {
        let ours = HostEntry {
            mac: mac_for(NETWORK, ip("10.206.0.77")),
            ip: ip("10.206.0.77"),
        };
        let moved = HostEntry {
            mac: ours.mac,
            ip: ip("10.206.0.78"),
        };
        let foreign = HostEntry {
            mac: "52:54:00:aa:bb:cc".parse().unwrap(),
            ip: ip("10.206.0.79"),
        };
        assert_eq!(detect(NETWORK, &[foreign, moved, ours]), [ours]);
        assert_eq!(
            detect(Uid::from_bytes([8; 16]), &[foreign, moved, ours]),
            []
        );
    }

    proptest! {
        #[test]
        fn a_plan_divides_without_overlap(
            network: [u8; 16],
            cidr in any_net(16..=30),
            gateway: u32,
            dynamic in 0u32..300,
        ) {
            let network = Uid::from_bytes(network);
            let size = 1u32 << (32 - cidr.prefix_len());
            let gateway = Ipv4Addr::from(u32::from(cidr.network()) + 1 + gateway % (size - 2));
            let plan = plan(network, cidr, gateway, dynamic).unwrap();
            let subnet = Subnet::new(cidr, gateway, vec![]).unwrap();
            prop_assert!(!plan.hosts.is_empty() && plan.hosts.len() <= MAX_SLOTS);
            let ips: BTreeSet<_> = plan.hosts.iter().map(|h| h.ip).collect();
            let macs: BTreeSet<_> = plan.hosts.iter().map(|h| h.mac).collect();
            prop_assert_eq!(ips.len(), plan.hosts.len());
            prop_assert_eq!(macs.len(), plan.hosts.len());
            for host in &plan.hosts {
                prop_assert!(subnet.check(host.ip).is_ok());
                prop_assert!(host.mac.to_string().starts_with("52:54:00:"));
                prop_assert!(plan.dynamic.is_none_or(|d| !d.contains(host.ip)));
            }
            let ranges = plan.ranges();
            for host in &plan.hosts {
                prop_assert_eq!(ranges.iter().filter(|r| r.contains(host.ip)).count(), 1);
            }
            for range in &ranges {
                prop_assert!(!range.contains(gateway));
                let own = is_slots_own(*range, &plan.hosts);
                prop_assert_eq!(own, plan.dynamic != Some(*range));
            }
            if let Some(range) = plan.dynamic {
                prop_assert!(range.start <= range.end && !range.contains(gateway));
                prop_assert!(subnet.check(range.start).is_ok() && subnet.check(range.end).is_ok());
            }
            prop_assert_eq!(detect(network, &plan.hosts), plan.hosts);
        }

        #[test]
        fn two_addresses_of_a_network_never_share_a_hardware_address(
            network: [u8; 16], cidr in any_net(8..=30), a: u32, b: u32,
        ) {
            let network = Uid::from_bytes(network);
            let within = |n: u32| Ipv4Addr::from(u32::from(cidr.network()) | n & u32::from(cidr.hostmask()));
            let (a, b) = (within(a), within(b));
            prop_assert_eq!(a == b, mac_for(network, a) == mac_for(network, b));
        }

        #[test]
        fn what_is_allocated_is_a_free_slot(
            used in prop::collection::btree_set(2u8..=254, 0..253),
            times in prop::collection::btree_map(2u8..=254, 0i64..1_000_000, 0..253),
        ) {
            let at = |n: u8| Ipv4Addr::new(10, 206, 0, n);
            let plan = plan(NETWORK, net("10.206.0.0/24"), at(1), 8).unwrap();
            let mut taken = Taken::default();
            used.iter().for_each(|n| taken.insert(at(*n), "x"));
            let last: BTreeMap<_, _> =
                times.iter().map(|(n, t)| (at(*n), Timestamp::from_second(*t))).collect();
            match allocate(&subnet(), &plan.hosts, &taken, &last) {
                Ok(choice) => {
                    prop_assert!(!taken.contains(choice.ip));
                    let chosen = HostEntry { mac: choice.mac, ip: choice.ip };
                    prop_assert!(plan.hosts.contains(&chosen));
                    let older = plan.hosts.iter().any(|h| {
                        !taken.contains(h.ip) && last.get(&h.ip) < last.get(&choice.ip)
                    });
                    prop_assert!(!older, "an older one was free");
                }
                Err(_) => prop_assert!(plan.hosts.iter().all(|h| taken.contains(h.ip))),
            }
        }
    }
}
