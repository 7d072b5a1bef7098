//! The IPv4 range of a network.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::error::NetError;

/// A range of addresses, both ends belonging to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first address.
    pub start: Ipv4Addr,
    /// The last address.
    pub end: Ipv4Addr,
}

impl Range {
    /// Returns whether the address is in it.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        (self.start..=self.end).contains(&ip)
    }
}

/// What is to be known of a network before an address in it can be given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    cidr: Ipv4Net,
    gateway: Ipv4Addr,
    dynamic: Vec<Range>,
}

impl Subnet {
    /// Makes a subnet; `dynamic` are the ranges that its DHCP server gives out by itself.
    ///
    /// # Errors
    /// [`NetError::Prefix`] and [`NetError::Gateway`].
    pub fn new(cidr: Ipv4Net, gateway: Ipv4Addr, dynamic: Vec<Range>) -> Result<Self, NetError> {
        let cidr = cidr.trunc();
        if !(8..=30).contains(&cidr.prefix_len()) {
            return Err(NetError::Prefix(cidr));
        }
        let subnet = Self {
            cidr,
            gateway,
            dynamic,
        };
        let special = gateway == cidr.network() || gateway == cidr.broadcast();
        if special || !cidr.contains(&gateway) {
            return Err(NetError::Gateway { gateway, cidr });
        }
        Ok(subnet)
    }

    /// Returns the range as a prefix.
    pub const fn cidr(&self) -> Ipv4Net {
        self.cidr
    }

    /// Returns the host's own address in it.
    pub const fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Returns the ranges that the DHCP server gives out by itself.
    pub fn dynamic(&self) -> &[Range] {
        &self.dynamic
    }

    /// Returns whether the DHCP server gives the address out by itself.
    pub fn is_dynamic(&self, ip: Ipv4Addr) -> bool {
        self.dynamic.iter().any(|range| range.contains(ip))
    }

    /// Returns the addresses that an instance can have, upwards: all but network, broadcast and
    /// gateway.
    pub fn hosts(&self) -> impl DoubleEndedIterator<Item = Ipv4Addr> + use<> {
        let gateway = u32::from(self.gateway);
        let (first, last) = (
            u32::from(self.cidr.network()),
            u32::from(self.cidr.broadcast()),
        );
        (first + 1..last)
            .filter(move |ip| *ip != gateway)
            .map(Ipv4Addr::from)
    }

    /// Returns how many addresses [`Subnet::hosts`] has.
    pub fn host_count(&self) -> usize {
        // Without network, broadcast and gateway; a /30 has four addresses at least.
        (1usize << (32 - self.cidr.prefix_len())) - 3
    }

    /// Makes sure that an instance can have the address.
    ///
    /// # Errors
    /// [`NetError::Outside`] or [`NetError::Special`].
    pub fn check(&self, ip: Ipv4Addr) -> Result<(), NetError> {
        let cidr = self.cidr;
        if !cidr.contains(&ip) {
            return Err(NetError::Outside { ip, cidr });
        }
        let what = match ip {
            ip if ip == cidr.network() => "network address",
            ip if ip == cidr.broadcast() => "broadcast address",
            ip if ip == self.gateway => "gateway",
            _ => return Ok(()),
        };
        Err(NetError::Special { ip, what, cidr })
    }
}

/// Returns whether two ranges share an address.
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// Finds a /24 for a new network that overlaps none of `used` (routes and other networks).
///
/// libvirt's own 192.168.122.0/24 first, then the /24s above it, then those of 10.0.0.0/8 from
/// 10.122.0.0 on, where fewer people have a LAN. A default route, also one in two halves as VPNs
/// write it, overlaps nothing.
///
/// # Errors
/// [`NetError::NoRange`].
pub fn free_range(used: &[Ipv4Net]) -> Result<Ipv4Net, NetError> {
    let class_c = (122..=254u8).map(|third| [192, 168, third, 0]);
    let class_a = (122..=255u8)
        .chain(0..122)
        .flat_map(|second| (0..=255u8).map(move |third| [10, second, third, 0]));
    class_c
        .chain(class_a)
        .filter_map(|octets| Ipv4Net::new(Ipv4Addr::from(octets), 24).ok())
        .find(|candidate| {
            used.iter()
                .filter(|net| net.prefix_len() > 1)
                .all(|net| !overlap(*net, *candidate))
        })
        .ok_or(NetError::NoRange)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::net) fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn libvirts_own_range_first_then_the_next_free_one() {
        assert_eq!(free_range(&[]).unwrap(), net("192.168.122.0/24"));
        let default_routes = [net("0.0.0.0/0"), net("0.0.0.0/1"), net("128.0.0.0/1")];
        assert_eq!(
            free_range(&default_routes).unwrap(),
            net("192.168.122.0/24")
        );
        let used = [
            net("192.168.122.128/25"),
            net("192.168.123.0/24"),
            net("192.168.124.7/32"),
        ];
        assert_eq!(free_range(&used).unwrap(), net("192.168.125.0/24"));
        assert_eq!(
            free_range(&[net("192.168.0.0/16")]).unwrap(),
            net("10.122.0.0/24")
        );
        let nothing = [net("192.168.0.0/16"), net("10.0.0.0/8")];
        assert_eq!(free_range(&nothing), Err(NetError::NoRange));
    }

    #[test]
    fn addresses_with_a_meaning_are_refused_by_name() {
        let subnet = Subnet::new(net("10.9.0.0/24"), Ipv4Addr::new(10, 9, 0, 254), vec![]).unwrap();
        for (last, what) in [
            (0, "network address"),
            (255, "broadcast address"),
            (254, "gateway"),
        ] {
            let ip = Ipv4Addr::new(10, 9, 0, last);
            let error = subnet.check(ip).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{ip} is the {what} of 10.9.0.0/24")
            );
        }
        let error = subnet.check(Ipv4Addr::new(10, 1, 1, 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.1.1.1 is not in the network's range 10.9.0.0/24"
        );
        assert_eq!(subnet.hosts().count(), 253);
        assert_eq!(subnet.host_count(), 253);
    }

    #[test]
    fn a_gateway_elsewhere_or_a_range_without_room_is_refused() {
        let gateway = Ipv4Addr::new(10, 9, 0, 1);
        for bad in ["10.9.0.0/31", "10.9.0.1/32", "8.0.0.0/7", "0.0.0.0/0"] {
            assert!(Subnet::new(net(bad), gateway, vec![]).is_err(), "{bad}");
        }
        assert!(Subnet::new(net("10.8.0.0/24"), gateway, vec![]).is_err());
        assert!(Subnet::new(net("10.9.0.0/24"), Ipv4Addr::new(10, 9, 0, 0), vec![]).is_err());
    }

    pub(in crate::net) fn any_net(
        prefixes: std::ops::RangeInclusive<u8>,
    ) -> impl Strategy<Value = Ipv4Net> {
        (any::<u32>(), prefixes).prop_map(|(ip, len)| Ipv4Net::new(ip.into(), len).unwrap().trunc())
    }

    proptest! {
        #[test]
        fn overlap_means_a_common_address(a in any_net(24..=32), b in any_net(24..=32), near: bool) {
            // Two random networks hardly ever meet: bring them together half of the time.
            let b = if near {
                let ip = u32::from(a.network()) & !0xff | u32::from(b.network()) & 0xff;
                Ipv4Net::new(ip.into(), b.prefix_len()).unwrap().trunc()
            } else { b };
            let ips = |n: Ipv4Net| u32::from(n.network())..=u32::from(n.broadcast());
            let common = ips(a).any(|ip| ips(b).contains(&ip));
            prop_assert_eq!(overlap(a, b), common);
        }

        #[test]
        fn a_free_range_overlaps_nothing(used in prop::collection::vec(any_net(2..=32), 0..40)) {
            if let Ok(found) = free_range(&used) {
                prop_assert!(used.iter().all(|n| !overlap(*n, found)));
            }
        }
    }
}
