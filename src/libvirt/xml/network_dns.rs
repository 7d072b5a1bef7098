//! `<dns>` of a network: what its name server knows of itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::network::NetworkXml;
use super::{XmlError, write};

/// `<dns>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsXml {
    /// `no`: the network has no name server.
    #[serde(rename = "@enable", default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<String>,
    /// Addresses with their names.
    #[serde(rename = "host", default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<DnsHostXml>,
}

/// `<host>` of `<dns>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsHostXml {
    /// The address.
    #[serde(rename = "@ip")]
    pub ip: IpAddr,
    /// Its names.
    #[serde(rename = "hostname", default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl DnsHostXml {
    /// Makes an entry of one name.
    pub fn new(ip: IpAddr, name: &str) -> Self {
        let names = vec![name.to_owned()];
        Self { ip, names }
    }

    /// Means the entry of an address, whatever names it has.
    pub const fn any(ip: IpAddr) -> Self {
        let names = Vec::new();
        Self { ip, names }
    }

    /// Writes the element, as `virNetworkUpdate` wants it.
    ///
    /// # Errors
    /// [`XmlError`] when a text holds a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        write("host", self)
    }
}

impl NetworkXml {
    /// Returns whether it has a name server, which libvirt runs where the host has an address in it.
    pub fn has_dns(&self) -> bool {
        let off = self.dns.as_ref().and_then(|dns| dns.enable.as_deref()) == Some("no");
        !off && !self.ips.is_empty()
    }

    /// Returns the names of an address, where its name server was told any.
    pub fn names_of(&self, ip: IpAddr) -> Option<&[String]> {
        let hosts = self.dns.iter().flat_map(|dns| &dns.hosts);
        let mut of_ip = hosts.filter(|host| host.ip == ip);
        of_ip.next().map(|host| host.names.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let text = "<network><name>n</name><dns><txt name='a' value='b'/><host ip='10.9.0.2'>\
                    <hostname>web</hostname><hostname>git</hostname></host></dns>\
                    <ip address='10.9.0.1' prefix='24'/></network>";
        let network = NetworkXml::from_xml(text).unwrap();
        let ip = "10.9.0.2".parse().unwrap();
        assert_eq!(network.names_of(ip).unwrap(), ["web", "git"]);
        assert_eq!(network.names_of("10.9.0.3".parse().unwrap()), None);
        assert!(network.has_dns());
        let off = NetworkXml::from_xml(&text.replace("<dns>", "<dns enable='no'>"));
        assert!(!off.unwrap().has_dns());
        let entry = DnsHostXml::new(ip, "web").to_xml().unwrap();
        assert!(entry.contains("<hostname>web</hostname>"), "{entry}");
        let any = DnsHostXml::any(ip).to_xml().unwrap();
        assert_eq!(any.trim(), "<host ip=\"10.9.0.2\"/>");
    }
}
