//! A network as kvmctl makes it, from the few things in which networks differ.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::interface::Mtu;
use super::network::{
    BridgeXml, DhcpHostXml, DhcpXml, DnsDomainXml, ForwardInterface, ForwardXml, IpXml, NatXml,
    NetworkXml, RangeXml,
};
use super::object::ObjectMetadata;
use crate::api::{AddressRange, Cidr6, NetworkMode, Uid};

/// In what a network differs from another.
#[derive(Debug, Clone)]
pub struct NetworkParams {
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: Uid,
    /// How it reaches the outside.
    pub mode: NetworkMode,
    /// Bridge; libvirt chooses a name when absent.
    pub bridge: Option<String>,
    /// Device that it is bound to, or that guests are plugged into.
    pub device: Option<String>,
    /// Range and the host's address in it; none where the network outside decides them.
    pub ipv4: Option<Ipv4Params>,
    /// IPv6 range.
    pub ipv6: Option<Cidr6>,
    /// Domain of the guests' names.
    pub domain: Option<String>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// kvmctl's own element.
    pub metadata: Option<ObjectMetadata>,
}

/// The IPv4 side of a network.
#[derive(Debug, Clone)]
pub struct Ipv4Params {
    /// Range.
    pub cidr: Ipv4Net,
    /// Address of the host.
    pub gateway: Ipv4Addr,
    /// Who gets which address; nobody any by DHCP when absent.
    pub dhcp: Option<DhcpParams>,
}

/// How addresses are given out.
#[derive(Debug, Clone, Default)]
pub struct DhcpParams {
    /// Addresses that are given out.
    pub ranges: Vec<AddressRange>,
    /// Hardware addresses with the address that is kept for each.
    pub hosts: Vec<(String, Ipv4Addr)>,
}

impl NetworkParams {
    /// Builds the document.
    pub fn build(&self) -> NetworkXml {
        NetworkXml {
            name: self.name.clone(),
            uuid: Some(self.uid),
            metadata: self.metadata.clone(),
            forward: self.forward(),
            bridge: self.bridge(),
            mtu: self.mtu.map(|size| Mtu { size }),
            mac: None,
            domain: self.domain.as_ref().map(|name| DnsDomainXml {
                name: name.clone(),
                // Nobody outside can know these names.
                local_only: Some("yes".to_owned()),
            }),
            dns: None,
            ips: self.ips(),
        }
    }

    fn forward(&self) -> Option<ForwardXml> {
        let mut forward = ForwardXml {
            mode: Some(self.mode.as_str().to_owned()),
            dev: self.device.clone(),
            ..ForwardXml::default()
        };
        match self.mode {
            NetworkMode::Isolated => return None,
            NetworkMode::Nat if self.ipv6.is_some() => {
                let ipv6 = Some("yes".to_owned());
                forward.nat = Some(NatXml { ipv6 });
            }
            NetworkMode::Macvtap => {
                // libvirt's word for "plugged into a device of the host", macvtap's mode too.
                forward.mode = Some("bridge".to_owned());
                let devices = forward.dev.take().into_iter();
                forward.interfaces = devices.map(|dev| ForwardInterface { dev }).collect();
            }
            _ => {}
        }
        Some(forward)
    }

    fn bridge(&self) -> Option<BridgeXml> {
        let own = BridgeXml {
            name: self.bridge.clone(),
            stp: Some("on".to_owned()),
            delay: Some("0".to_owned()),
        };
        match self.mode {
            NetworkMode::Macvtap => None,
            NetworkMode::Bridge => Some(BridgeXml {
                stp: None,
                delay: None,
                ..own
            }),
            _ => Some(own),
        }
    }

    fn ips(&self) -> Vec<IpXml> {
        let ipv4 = self.ipv4.as_ref().map(|v4| IpXml {
            family: None,
            address: IpAddr::V4(v4.gateway),
            netmask: None,
            prefix: Some(v4.cidr.prefix_len()),
            dhcp: v4.dhcp.as_ref().map(dhcp),
        });
        let ipv6 = self.ipv6.map(|cidr| IpXml {
            family: Some("ipv6".to_owned()),
            address: IpAddr::V6(cidr.gateway()),
            netmask: None,
            prefix: Some(cidr.net().prefix_len()),
            dhcp: None,
        });
        ipv4.into_iter().chain(ipv6).collect()
    }
}

fn dhcp(params: &DhcpParams) -> DhcpXml {
    let range = |r: &AddressRange| RangeXml {
        start: IpAddr::V4(r.start),
        end: IpAddr::V4(r.end),
    };
    let host = |(mac, ip): &(String, Ipv4Addr)| DhcpHostXml::new(mac, IpAddr::V4(*ip), None);
    DhcpXml {
        ranges: params.ranges.iter().map(range).collect(),
        hosts: params.hosts.iter().map(host).collect(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::libvirt::xml) fn params(mode: NetworkMode) -> NetworkParams {
        let own = mode.has_own_bridge();
        NetworkParams {
            name: "blue".to_owned(),
            uid: Uid::random(),
            mode,
            bridge: (mode != NetworkMode::Macvtap).then(|| "kvm-0123abcd".to_owned()),
            device: matches!(mode, NetworkMode::Macvtap | NetworkMode::Nat)
                .then(|| "eth0".to_owned()),
            ipv4: own.then(|| Ipv4Params {
                cidr: "10.9.0.0/24".parse().unwrap(),
                gateway: "10.9.0.1".parse().unwrap(),
                dhcp: Some(DhcpParams {
                    ranges: vec!["10.9.0.2-10.9.0.9".parse().unwrap()],
                    hosts: vec![("52:54:00:00:00:01".to_owned(), "10.9.0.10".parse().unwrap())],
                }),
            }),
            ipv6: own.then(|| "fd00:9::/64".parse().unwrap()),
            domain: own.then(|| "blue.internal".to_owned()),
            mtu: own.then_some(1400),
            metadata: Some(ObjectMetadata::new(Uid::random())),
        }
    }

    #[test]
    fn each_mode_is_what_libvirt_calls_it() {
        let forward = |mode| params(mode).build().forward;
        let mode = |mode| forward(mode).and_then(|f| f.mode);
        assert_eq!(mode(NetworkMode::Nat).as_deref(), Some("nat"));
        assert_eq!(forward(NetworkMode::Isolated), None);
        assert_eq!(mode(NetworkMode::Bridge).as_deref(), Some("bridge"));
        assert_eq!(mode(NetworkMode::Open).as_deref(), Some("open"));
        let macvtap = forward(NetworkMode::Macvtap).unwrap();
        assert_eq!(macvtap.mode.as_deref(), Some("bridge"));
        assert_eq!((macvtap.dev, macvtap.interfaces.len()), (None, 1));
        assert_eq!(params(NetworkMode::Macvtap).build().bridge, None);
    }

    #[test]
    fn what_is_built_reads_back() {
        for mode in NetworkMode::ALL {
            let built = params(mode).build();
            let back = NetworkXml::from_xml(&built.to_xml().unwrap()).unwrap();
            assert_eq!(back, built, "{mode}");
        }
    }
}
