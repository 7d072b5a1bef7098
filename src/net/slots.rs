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
mod tests;
