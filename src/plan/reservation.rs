//! A reserved address, and how a person would have it entered into a network.

use std::net::Ipv4Addr;

use crate::api::Name;
use crate::shell::shell_words;

/// A reserved address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// libvirt network.
    pub network: String,
    /// Hardware address.
    pub mac: String,
    /// Address.
    pub ip: Ipv4Addr,
    /// Host name that dnsmasq answers for.
    pub host: Name,
}

impl Reservation {
    /// Returns the command that adds or deletes its entry in a section of the network.
    pub(super) fn update(&self, command: &str, section: &str) -> String {
        let (network, entry) = (self.network.as_str(), self.entry(section));
        let args = [
            "net-update",
            network,
            command,
            section,
            &entry,
            "--live",
            "--config",
        ];
        format!("virsh {}", shell_words(&args))
    }

    /// Only for printing: the engine goes through typed XML.
    fn entry(&self, section: &str) -> String {
        let (ip, host) = (self.ip.to_string(), self.host.as_str());
        match section {
            "dns-host" => [
                "<host ip='",
                &ip,
                "'><hostname>",
                host,
                "</hostname></host>",
            ]
            .concat(),
            _ => [
                "<host mac='",
                &self.mac,
                "' name='",
                host,
                "' ip='",
                &ip,
                "'/>",
            ]
            .concat(),
        }
    }
}
