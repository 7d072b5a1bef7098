//! A port of the host for a port of a guest, as the firewall sees it: values of which every one is
//! parsed, so that nothing else can reach a rule.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::api::{Name, PortMapping, Protocol, Uid};

pub use super::segment::{Bridge, LibvirtRules, Segment};

/// A stretch of ports of the host: what one forward takes from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The host's address; all of them when absent.
    pub address: Option<IpAddr>,
    /// The protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl Claim {
    /// Returns whether there is a packet that both want.
    pub fn meets(&self, other: &Self) -> bool {
        let same_address = match (self.address, other.address) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        same_address
            && self.protocol == other.protocol
            && self.first <= other.last
            && other.first <= self.last
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(a)) => write!(f, "[{a}]:")?,
            Some(IpAddr::V4(a)) => write!(f, "{a}:")?,
            None => {}
        }
        write!(f, "{}", self.first)?;
        if self.last > self.first {
            write!(f, "-{}", self.last)?;
        }
        write!(f, "/{}", protocol_name(self.protocol))
    }
}

/// Returns the name that firewalls know a protocol by.
pub const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// One forward, with the addresses that hold now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mapping {
    owner: Uid,
    name: Option<Name>,
    claim: Claim,
    guest: IpAddr,
    guest_port: u16,
    segment: Segment,
    localhost: bool,
}

/// Why there can be no such rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapping {
    /// Port 0 stands for a free port that has not been chosen yet.
    #[error("host port 0 has not been replaced by a free port")]
    NoPort,
    /// The last port would be above 65535.
    #[error("port {first} and the {count} that follow it go past 65535")]
    PastEnd {
        /// First port.
        first: u16,
        /// How many in a row.
        count: u16,
    },
    /// An IPv4 port for an IPv6 guest, or the other way round.
    #[error("{host} and {guest} are of different address families")]
    Families {
        /// The host's address.
        host: IpAddr,
        /// The guest's address.
        guest: IpAddr,
    },
    /// The kernel routes nothing from `::1` to another interface.
    #[error("the kernel forwards nothing that comes to ::1")]
    Loopback6,
    /// The guest's address is not one of its network.
    #[error("{guest} is not in {subnet}")]
    Outside {
        /// The guest's address.
        guest: IpAddr,
        /// The network's.
        subnet: IpNet,
    },
}

impl Mapping {
    /// Makes the mapping of one guest address; `localhost` opens the port on 127.0.0.1, too.
    ///
    /// A guest with addresses of both families has a mapping for each. `owner` is the uid of the
    /// PortForward, or of the instance that the port belongs to.
    ///
    /// # Errors
    /// [`InvalidMapping`].
    pub fn new(
        owner: Uid,
        ports: &PortMapping,
        guest: IpAddr,
        segment: Segment,
        localhost: bool,
    ) -> Result<Self, InvalidMapping> {
        if ports.host == 0 {
            return Err(InvalidMapping::NoPort);
        }
        let last = last_port(ports.host, ports.count)?;
        last_port(ports.guest, ports.count)?;
        if let Some(host) = ports.address.filter(|h| h.is_ipv4() != guest.is_ipv4()) {
            return Err(InvalidMapping::Families { host, guest });
        }
        if matches!(ports.address, Some(IpAddr::V6(a)) if a.is_loopback()) {
            return Err(InvalidMapping::Loopback6);
        }
        if !segment.subnet.contains(&guest) {
            let subnet = segment.subnet;
            return Err(InvalidMapping::Outside { guest, subnet });
        }
        let any = |a: &IpAddr| a.is_unspecified();
        let address = ports.address.filter(|a| !any(a));
        let only_loopback = address.is_some_and(|a| a.is_loopback());
        Ok(Self {
            owner,
            name: None,
            claim: Claim {
                address,
                protocol: ports.protocol,
                first: ports.host,
                last,
            },
            guest,
            guest_port: ports.guest,
            localhost: guest.is_ipv4() && (localhost || only_loopback),
            segment,
        })
    }

    /// Writes the name of the forward into the rules, for `store rebuild`.
    #[must_use]
    pub fn named(mut self, name: Name) -> Self {
        self.name = Some(name);
        self
    }

    /// Returns whose it is.
    pub const fn owner(&self) -> Uid {
        self.owner
    }

    /// Returns the name of a forward that stands alone.
    pub const fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Returns what it takes of the host.
    pub const fn claim(&self) -> Claim {
        self.claim
    }

    /// Returns the guest's address.
    pub const fn guest(&self) -> IpAddr {
        self.guest
    }

    /// Returns the guest's first port and its last.
    pub const fn guest_ports(&self) -> (u16, u16) {
        let more = self.claim.last - self.claim.first;
        (self.guest_port, self.guest_port + more)
    }

    /// Returns the network.
    pub const fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Returns whether it is reached by 127.0.0.1, too.
    pub const fn localhost(&self) -> bool {
        self.localhost
    }

    /// Returns whether only the host itself can reach it.
    pub fn only_localhost(&self) -> bool {
        self.claim.address.is_some_and(|a| a.is_loopback())
    }

    /// Returns the stretches that one rule can translate: all ports when they keep their numbers
    /// (or there is but one), else each port by itself.
    pub fn legs(&self) -> impl Iterator<Item = Leg> {
        let same = self.claim.first == self.guest_port || self.claim.first == self.claim.last;
        let (step, guest) = (same, self.guest_port);
        let (first, last) = (self.claim.first, self.claim.last);
        let whole = step.then_some(Leg { first, last, guest });
        let each = (!step).then(move || {
            (first..=last).map(move |port| Leg {
                first: port,
                last: port,
                guest: guest + (port - first),
            })
        });
        whole.into_iter().chain(each.into_iter().flatten())
    }
}

/// Ports of the host that one rule translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// First port of the host.
    pub first: u16,
    /// Last port of the host.
    pub last: u16,
    /// The guest's port for the first.
    pub guest: u16,
}

fn last_port(first: u16, count: u16) -> Result<u16, InvalidMapping> {
    first
        .checked_add(count.saturating_sub(1))
        .ok_or(InvalidMapping::PastEnd { first, count })
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.guest_ports();
        write!(f, "{} -> {}", self.claim, Endpoint(self.guest, first))?;
        if last > first {
            write!(f, "-{last}")?;
        }
        Ok(())
    }
}

/// An address and a port, as rules and people write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint(pub IpAddr, pub u16);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(a) => write!(f, "{a}:{}", self.1),
            IpAddr::V6(a) => write!(f, "[{a}]:{}", self.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> Segment {
        Segment {
            bridge: "virbr0".parse().unwrap(),
            subnet: "10.0.0.0/24".parse().unwrap(),
            libvirt: LibvirtRules::Nat,
        }
    }

    fn mapping(ports: &str) -> Result<Mapping, InvalidMapping> {
        let guest = "10.0.0.2".parse().unwrap();
        Mapping::new(
            Uid::random(),
            &ports.parse().unwrap(),
            guest,
            segment(),
            true,
        )
    }

    #[test]
    fn only_names_of_interfaces_are_bridges() {
        for good in ["virbr0", "br-1.2", "a", "kvm_blue"] {
            assert!(good.parse::<Bridge>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "-i",
            "a b",
            "a/b",
            "br\n0",
            "0123456789abcdef",
            "bř",
        ] {
            assert!(bad.parse::<Bridge>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_no_rule_can_do_is_refused() {
        assert_eq!(mapping("0:80"), Err(InvalidMapping::NoPort));
        assert_eq!(
            mapping("[::1]:80:80").unwrap_err().to_string(),
            "::1 and 10.0.0.2 are of different address families"
        );
        let outside = Mapping::new(
            Uid::random(),
            &"80:80".parse().unwrap(),
            "10.0.1.2".parse().unwrap(),
            segment(),
            true,
        );
        assert!(matches!(outside, Err(InvalidMapping::Outside { .. })));
    }

    #[test]
    fn a_range_that_keeps_its_numbers_is_one_leg() {
        let same: Vec<Leg> = mapping("8000-8010:8000-8010").unwrap().legs().collect();
        assert_eq!((same.len(), same[0].last), (1, 8010));
        let moved: Vec<Leg> = mapping("8000-8002:90-92").unwrap().legs().collect();
        assert_eq!(
            moved.iter().map(|l| l.guest).collect::<Vec<_>>(),
            [90, 91, 92]
        );
        assert_eq!(mapping("8080:80").unwrap().legs().count(), 1);
    }

    #[test]
    fn claims_meet_where_one_packet_suits_both() {
        let claim = |ports: &str| mapping(ports).unwrap().claim();
        assert!(claim("8080:80").meets(&claim("127.0.0.1:8080:81")));
        assert!(claim("8000-8010:8000-8010").meets(&claim("8010:80")));
        assert!(!claim("8080:80").meets(&claim("8080:80/udp")));
        assert!(!claim("127.0.0.1:8080:80").meets(&claim("10.9.9.9:8080:80")));
        assert_eq!(
            claim("127.0.0.1:8000-8001:8000-8001/udp").to_string(),
            "127.0.0.1:8000-8001/udp"
        );
    }
}
