//! `<network>`: a libvirt network with its addresses and DHCP reservations.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::interface::{Mac, Mtu};
use super::network_dns::DnsXml;
use super::object::ObjectMetadata;
use super::tree::Element;
use super::{XmlError, read, write};
use crate::api::Uid;

/// A network (formatnetwork.html).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkXml {
    /// Name.
    pub name: String,
    /// Identity; libvirt makes one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uid>,
    /// kvmctl's own element in `<metadata>`.
    #[serde(skip)]
    pub metadata: Option<ObjectMetadata>,
    /// How it reaches the outside; isolated when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<ForwardXml>,
    /// Bridge of the host; libvirt chooses a name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeXml>,
    /// Largest packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// Hardware address of the bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// DNS domain of the guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DnsDomainXml>,
    /// What its name server knows of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsXml>,
    /// Addresses of the host in it.
    #[serde(rename = "ip", default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpXml>,
}

/// `<forward>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardXml {
    /// `nat`, `route`, `open`, `bridge`, `private`…; `nat` when absent.
    #[serde(rename = "@mode", default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Device it is bound to.
    #[serde(rename = "@dev", default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// How addresses are translated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<NatXml>,
    /// Devices guests are attached to directly.
    #[serde(rename = "interface", default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<ForwardInterface>,
}

/// `<nat>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatXml {
    /// `yes`: IPv6 is translated too (libvirt 6.5), not routed.
    #[serde(rename = "@ipv6", default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
}

/// `<interface dev='eth0'/>` of a forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardInterface {
    /// Name of the device.
    #[serde(rename = "@dev")]
    pub dev: String,
}

/// `<bridge>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeXml {
    /// Name of the bridge.
    #[serde(rename = "@name", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Spanning tree: `on` or `off`.
    #[serde(rename = "@stp", default, skip_serializing_if = "Option::is_none")]
    pub stp: Option<String>,
    /// Forward delay in seconds.
    #[serde(rename = "@delay", default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
}

/// `<domain name='…' localOnly='yes'/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsDomainXml {
    /// The domain.
    #[serde(rename = "@name")]
    pub name: String,
    /// `yes`: its names are never asked of another server.
    #[serde(
        rename = "@localOnly",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub local_only: Option<String>,
}

/// `<ip>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpXml {
    /// `ipv4` or `ipv6`; `ipv4` when absent.
    #[serde(rename = "@family", default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Address of the host.
    #[serde(rename = "@address")]
    pub address: IpAddr,
    /// Netmask, instead of a prefix.
    #[serde(rename = "@netmask", default, skip_serializing_if = "Option::is_none")]
    pub netmask: Option<IpAddr>,
    /// Length of the network's part.
    #[serde(rename = "@prefix", default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<u8>,
    /// DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<DhcpXml>,
}

/// `<dhcp>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpXml {
    /// Ranges for guests without a reservation.
    #[serde(rename = "range", default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<RangeXml>,
    /// Reservations.
    #[serde(rename = "host", default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<DhcpHostXml>,
}

/// `<range>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeXml {
    /// First address.
    #[serde(rename = "@start")]
    pub start: IpAddr,
    /// Last address.
    #[serde(rename = "@end")]
    pub end: IpAddr,
}

/// `<host>` of `<dhcp>`: a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpHostXml {
    /// Hardware address; IPv6 reservations have an id instead.
    #[serde(rename = "@mac", default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Client id.
    #[serde(rename = "@id", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Name in DNS.
    #[serde(rename = "@name", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address that is reserved.
    #[serde(rename = "@ip", default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

impl NetworkXml {
    /// Reads a document, passing over what we do not know.
    ///
    /// # Errors
    /// [`XmlError::Read`] when it is not a network.
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        let mut network: Self = read("network", text)?;
        network.metadata = ObjectMetadata::find_in(&Element::parse(text)?)?;
        Ok(network)
    }

    /// Writes the document.
    ///
    /// # Errors
    /// [`XmlError`] when a text holds a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        let text = write("network", self)?;
        match &self.metadata {
            None => Ok(text),
            Some(metadata) => {
                let mut tree = Element::parse(&text)?;
                let after = if self.uuid.is_some() { "uuid" } else { "name" };
                metadata.put_into(&mut tree, after)?;
                Ok(tree.to_string())
            }
        }
    }

    /// Returns the mode of forwarding; `None` for an isolated network.
    pub fn mode(&self) -> Option<&str> {
        self.forward
            .as_ref()
            .map(|f| f.mode.as_deref().unwrap_or("nat"))
    }

    /// Returns the first IPv4 address element.
    pub fn ipv4(&self) -> Option<&IpXml> {
        self.ips.iter().find(|ip| ip.address.is_ipv4())
    }

    /// Returns the IPv4 subnet, with the host's own address in it.
    pub fn subnet(&self) -> Option<ipnet::Ipv4Net> {
        let ip = self.ipv4()?;
        let IpAddr::V4(address) = ip.address else {
            return None;
        };
        match (ip.prefix, ip.netmask) {
            (Some(prefix), _) => ipnet::Ipv4Net::new(address, prefix).ok(),
            (None, Some(IpAddr::V4(mask))) => ipnet::Ipv4Net::with_netmask(address, mask).ok(),
            _ => None,
        }
    }

    /// Returns all reservations.
    pub fn reservations(&self) -> impl Iterator<Item = &DhcpHostXml> {
        self.ips
            .iter()
            .filter_map(|ip| ip.dhcp.as_ref())
            .flat_map(|dhcp| &dhcp.hosts)
    }
}

impl DhcpHostXml {
    /// Makes a reservation.
    pub fn new(mac: &str, ip: IpAddr, name: Option<&str>) -> Self {
        Self {
            mac: Some(mac.to_owned()),
            id: None,
            name: name.map(ToOwned::to_owned),
            ip: Some(ip),
        }
    }

    /// Writes the element, as `virNetworkUpdate` wants it.
    ///
    /// # Errors
    /// [`XmlError`] when a text holds a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        write("host", self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_s_default_network_is_read() {
        let network = NetworkXml::from_xml(include_str!("testdata/network.xml")).unwrap();
        assert_eq!(network.name, "default");
        assert_eq!(network.mode(), Some("nat"));
        assert_eq!(network.subnet().unwrap().to_string(), "192.168.122.1/24");
        let dhcp = network.ipv4().unwrap().dhcp.as_ref().unwrap();
        assert_eq!(dhcp.ranges[0].end.to_string(), "192.168.122.254");
    }

    #[test]
    fn networks_round_trip() {
        let network = NetworkXml {
            name: "blue".to_owned(),
            uuid: Some(Uid::random()),
            metadata: Some(ObjectMetadata::new(Uid::random())),
            forward: Some(ForwardXml {
                mode: Some("nat".to_owned()),
                ..ForwardXml::default()
            }),
            bridge: Some(BridgeXml {
                name: Some("kvm-blue".to_owned()),
                stp: Some("on".to_owned()),
                delay: Some("0".to_owned()),
            }),
            mtu: Some(Mtu { size: 1400 }),
            domain: Some(DnsDomainXml {
                name: "blue.test".to_owned(),
                local_only: Some("yes".to_owned()),
            }),
            ips: vec![IpXml {
                family: None,
                address: "10.9.0.1".parse().unwrap(),
                netmask: None,
                prefix: Some(24),
                dhcp: Some(DhcpXml {
                    ranges: vec![RangeXml {
                        start: "10.9.0.2".parse().unwrap(),
                        end: "10.9.0.99".parse().unwrap(),
                    }],
                    hosts: vec![DhcpHostXml::new(
                        "52:54:00:00:00:01",
                        "10.9.0.100".parse().unwrap(),
                        Some("web"),
                    )],
                }),
            }],
            ..NetworkXml::default()
        };
        let back = NetworkXml::from_xml(&network.to_xml().unwrap()).unwrap();
        assert_eq!(back, network);
        assert_eq!(back.reservations().count(), 1);
    }
}
