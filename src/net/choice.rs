//! Which address an instance gets where it asks for one, or where the network has no slots.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::api::{Timestamp, Uid};

use super::error::NetError;
use super::mac::Mac;
use super::slots::{HostEntry, mac_for};
use super::subnet::Subnet;

/// An address for an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Hardware address.
    pub mac: Mac,
    /// Address.
    pub ip: Ipv4Addr,
    /// Whether the network has a host entry for it already; otherwise one must be added.
    pub slot: bool,
}

/// The addresses that somebody has: reservations of others, leases, records, intents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken(BTreeMap<Ipv4Addr, String>);

impl Taken {
    /// Notes that `by` has the address; who was noted first stays.
    pub fn insert(&mut self, ip: Ipv4Addr, by: impl Into<String>) {
        self.0.entry(ip).or_insert_with(|| by.into());
    }

    /// Returns whether somebody has the address.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        self.0.contains_key(&ip)
    }

    /// Returns who has the address.
    pub fn by(&self, ip: Ipv4Addr) -> Option<&str> {
        self.0.get(&ip).map(String::as_str)
    }
}

/// Gives the address that was asked for.
///
/// # Errors
/// [`NetError::Outside`], [`NetError::Special`] or [`NetError::Taken`].
pub fn fixed(
    network: Uid,
    subnet: &Subnet,
    slots: &[HostEntry],
    taken: &Taken,
    ip: Ipv4Addr,
) -> Result<Choice, NetError> {
    subnet.check(ip)?;
    if taken.contains(ip) {
        let by = taken.by(ip).map(str::to_owned);
        return Err(NetError::Taken { ip, by });
    }
    Ok(Choice {
        mac: mac_for(network, ip),
        ip,
        slot: slots.iter().any(|slot| slot.ip == ip),
    })
}

/// Picks an address in a network without slots: the longest unused one outside the dynamic range,
/// else inside it; from the top, where people's own fixed addresses are rarer.
///
/// # Errors
/// [`NetError::Full`] with the counts.
pub fn free(
    network: Uid,
    subnet: &Subnet,
    taken: &Taken,
    last_used: &BTreeMap<Ipv4Addr, Timestamp>,
) -> Result<Choice, NetError> {
    let free = || subnet.hosts().rev().filter(|ip| !taken.contains(*ip));
    // Nearly always there is a fresh one near the top, and a /8 need not be walked.
    let best = free()
        .find(|ip| !subnet.is_dynamic(*ip) && !last_used.contains_key(ip))
        .or_else(|| free().min_by_key(|ip| (subnet.is_dynamic(*ip), last_used.get(ip))));
    match best {
        Some(ip) => Ok(Choice {
            mac: mac_for(network, ip),
            ip,
            slot: false,
        }),
        None => {
            let total = subnet.host_count();
            Err(NetError::Full {
                cidr: subnet.cidr(),
                total,
                used: total,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::subnet::Range;
    use super::super::subnet::tests::{any_net, net};
    use super::*;

    const NETWORK: Uid = Uid::from_bytes([7; 16]);

    fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 206, 0, last)
    }

    fn subnet(dynamic: (u8, u8)) -> Subnet {
        let range = Range {
            start: at(dynamic.0),
            end: at(dynamic.1),
        };
        Subnet::new(net("10.206.0.0/24"), at(1), vec![range]).unwrap()
    }

    #[test]
    fn outside_the_dynamic_range_where_there_is_room() {
        let none = BTreeMap::new();
        let choice = free(NETWORK, &subnet((100, 254)), &Taken::default(), &none).unwrap();
        assert_eq!(choice.ip, at(99));
        let choice = free(NETWORK, &subnet((2, 254)), &Taken::default(), &none).unwrap();
        assert_eq!(
            choice.ip,
            at(254),
            "the whole network is dynamic, as libvirt's default is"
        );
        let used = BTreeMap::from([(at(254), Timestamp::from_second(1))]);
        let choice = free(NETWORK, &subnet((2, 254)), &Taken::default(), &used).unwrap();
        assert_eq!(choice.ip, at(253), "an address comes back last");
    }

    #[test]
    fn a_wish_is_granted_or_refused_with_the_holders_name() {
        let subnet = subnet((2, 9));
        let slots = [HostEntry {
            mac: mac_for(NETWORK, at(50)),
            ip: at(50),
        }];
        let mut taken = Taken::default();
        taken.insert(at(60), "instance/db");
        let wish = |ip| fixed(NETWORK, &subnet, &slots, &taken, ip);
        assert!(wish(at(50)).unwrap().slot);
        assert!(!wish(at(51)).unwrap().slot);
        assert_eq!(
            wish(at(60)).unwrap_err().to_string(),
            "10.206.0.60 is taken by instance/db"
        );
        assert!(matches!(
            wish(at(1)),
            Err(NetError::Special {
                what: "gateway",
                ..
            })
        ));
        assert!(matches!(
            wish(Ipv4Addr::LOCALHOST),
            Err(NetError::Outside { .. })
        ));
    }

    #[test]
    fn a_full_network_says_how_full() {
        let small = Subnet::new(net("10.206.0.0/29"), at(1), vec![]).unwrap();
        let mut taken = Taken::default();
        small.hosts().for_each(|ip| taken.insert(ip, "a lease"));
        let error = free(NETWORK, &small, &taken, &BTreeMap::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no address is free in 10.206.0.0/29: 5 of 5 are in use"
        );
    }

    proptest! {
        #[test]
        fn whoever_asks_one_after_another_gets_different_addresses(
            cidr in any_net(24..=30), gateway: u32, low: u32, high: u32,
        ) {
            let size = 1u32 << (32 - cidr.prefix_len());
            let nth = |n: u32| Ipv4Addr::from(u32::from(cidr.network()) + 1 + n % (size - 2));
            let (a, b) = (nth(low).min(nth(high)), nth(low).max(nth(high)));
            let dynamic = Range { start: a, end: b };
            let subnet = Subnet::new(cidr, nth(gateway), vec![dynamic]).unwrap();
            let mut taken = Taken::default();
            let mut been_dynamic = false;
            for _ in 0..size - 3 {
                let choice = free(NETWORK, &subnet, &taken, &BTreeMap::new()).unwrap();
                prop_assert!(subnet.check(choice.ip).is_ok());
                prop_assert!(!taken.contains(choice.ip));
                prop_assert!(!been_dynamic || dynamic.contains(choice.ip));
                been_dynamic |= dynamic.contains(choice.ip);
                taken.insert(choice.ip, "x");
            }
            prop_assert!(free(NETWORK, &subnet, &taken, &BTreeMap::new()).is_err());
        }
    }
}
