//! Networks: definitions, DHCP host entries, leases.

use std::net::{IpAddr, Ipv4Addr};

use virt::network::Network as Raw;
use virt::sys;

use super::conn::{Host, call, plain};
use super::error::LibvirtError;
use super::ffi;
use super::xml::network::{DhcpHostXml, NetworkXml};
use crate::api::Uid;

/// A network.
#[derive(Debug, Clone)]
pub struct Network {
    raw: Raw,
    /// Its name.
    pub name: String,
}

/// A DHCP lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Hardware address.
    pub mac: String,
    /// The address.
    pub ip: IpAddr,
    /// Name that the guest gave itself.
    pub hostname: Option<String>,
    /// What the client calls itself towards the server, as hex bytes with colons.
    pub client_id: Option<String>,
    /// When it ends, in seconds since 1970.
    pub expires: i64,
}

impl Host {
    /// Looks a network up.
    ///
    /// # Errors
    /// NotFound.
    pub fn network(&self, name: &str) -> Result<Network, LibvirtError> {
        let name = plain("look up a network", name)?;
        let raw = call("virNetworkLookupByName", "find network", name, || {
            self.conn.lookup_network_by_name(name)
        })?;
        Ok(Network {
            raw,
            name: name.to_owned(),
        })
    }

    /// Looks a network up by its identity.
    ///
    /// # Errors
    /// NotFound.
    pub fn network_by_uid(&self, uid: Uid) -> Result<Network, LibvirtError> {
        let text = uid.to_string();
        let raw = call("virNetworkLookupByUUID", "find network", &text, || {
            self.conn.lookup_network_by_uuid_string(&text)
        })?;
        let name = raw
            .name()
            .map_err(|e| LibvirtError::new(format!("find network {text}"), &e))?;
        Ok(Network { raw, name })
    }

    /// Lists all networks, active or not.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn networks(&self) -> Result<Vec<Network>, LibvirtError> {
        let all = call("virConnectListAllNetworks", "list", "networks", || {
            self.conn.list_all_networks(0)
        })?;
        let reading = |e: virt::error::Error| LibvirtError::new("list networks".to_owned(), &e);
        all.into_iter()
            .map(|raw| {
                Ok(Network {
                    name: raw.name().map_err(reading)?,
                    raw,
                })
            })
            .collect()
    }

    /// Defines a network.
    ///
    /// # Errors
    /// Exists, and what the driver refuses.
    pub fn define_network(&self, xml: &NetworkXml) -> Result<Network, LibvirtError> {
        let text = xml.to_xml()?;
        let raw = call("virNetworkDefineXML", "define network", &xml.name, || {
            self.conn.define_network_xml(&text)
        })?;
        Ok(Network {
            raw,
            name: xml.name.clone(),
        })
    }

    /// Lists the leases of a network; none where the network or driver has no leases.
    ///
    /// # Errors
    /// When the connection is broken or the network is gone.
    pub fn leases(&self, network: &str) -> Result<Vec<Lease>, LibvirtError> {
        let network = self.network(network)?;
        if !network.is_active()? {
            return Ok(Vec::new());
        }
        let raw = network.ask(
            "virNetworkGetDHCPLeases",
            "list the leases of",
            ffi::leases::leases,
        );
        let leases = match raw {
            Ok(leases) => leases,
            Err(e) if e.is_no_support() => Vec::new(),
            Err(e) => return Err(e),
        };
        Ok(leases
            .into_iter()
            .filter_map(|lease| {
                Some(Lease {
                    mac: lease.mac?,
                    ip: lease.address?.parse().ok()?,
                    hostname: lease.hostname,
                    client_id: lease.client_id,
                    expires: lease.expires,
                })
            })
            .collect())
    }
}

pub(super) const LIVE: sys::virNetworkUpdateFlags = sys::VIR_NETWORK_UPDATE_AFFECT_LIVE;
pub(super) const CONFIG: sys::virNetworkUpdateFlags = sys::VIR_NETWORK_UPDATE_AFFECT_CONFIG;
const DHCP_HOST: sys::virNetworkUpdateSection = sys::VIR_NETWORK_SECTION_IP_DHCP_HOST;

fn has_mac(entry: &DhcpHostXml, mac: &str) -> bool {
    let held = entry.mac.as_deref();
    held.is_some_and(|held| held.eq_ignore_ascii_case(mac))
}

impl Network {
    fn ask<T>(
        &self,
        api: &'static str,
        doing: &str,
        f: impl FnOnce(&Raw) -> Result<T, virt::error::Error>,
    ) -> Result<T, LibvirtError> {
        let subject = format!("network {:?}", self.name);
        call(api, doing, &subject, || f(&self.raw))
    }

    /// Returns whether it is up.
    ///
    /// # Errors
    /// When it is gone.
    pub fn is_active(&self) -> Result<bool, LibvirtError> {
        self.ask("virNetworkIsActive", "look at", Raw::is_active)
    }

    /// Returns whether it starts with the host.
    ///
    /// # Errors
    /// When it is gone or transient.
    pub fn autostart(&self) -> Result<bool, LibvirtError> {
        self.ask("virNetworkGetAutostart", "look at", Raw::autostart)
    }

    /// Sets whether it starts with the host.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn set_autostart(&self, on: bool) -> Result<(), LibvirtError> {
        self.ask("virNetworkSetAutostart", "set the autostart of", |raw| {
            raw.set_autostart(on)
        })
    }

    /// Brings it up.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn start(&self) -> Result<(), LibvirtError> {
        self.ask("virNetworkCreate", "start", Raw::create)
    }

    /// Takes it down.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn stop(&self) -> Result<(), LibvirtError> {
        self.ask("virNetworkDestroy", "stop", Raw::destroy)
    }

    /// Removes its definition.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn undefine(&self) -> Result<(), LibvirtError> {
        self.ask("virNetworkUndefine", "undefine", Raw::undefine)
    }

    /// Returns what is in force: live where it is up.
    ///
    /// # Errors
    /// When it is gone.
    pub fn definition(&self) -> Result<NetworkXml, LibvirtError> {
        let text = self.ask("virNetworkGetXMLDesc", "read", |raw| raw.xml_desc(0))?;
        Ok(NetworkXml::from_xml(&text)?)
    }

    /// Returns what the next start brings up; our metadata stands only there until then.
    ///
    /// # Errors
    /// When it is gone.
    pub fn configured(&self) -> Result<NetworkXml, LibvirtError> {
        Ok(NetworkXml::from_xml(&self.definition_text()?)?)
    }

    /// Returns the whole definition as text, for changes that keep what we do not know.
    ///
    /// # Errors
    /// When it is gone.
    pub fn definition_text(&self) -> Result<String, LibvirtError> {
        self.text(sys::VIR_NETWORK_XML_INACTIVE)
    }

    fn text(&self, flags: sys::virNetworkXMLFlags) -> Result<String, LibvirtError> {
        let read = |flags| self.ask("virNetworkGetXMLDesc", "read", |raw| raw.xml_desc(flags));
        match read(flags) {
            // The test driver keeps one definition only.
            Err(e) if flags != 0 && e.is_no_support() => read(0),
            text => text,
        }
    }

    /// Redefines it from a changed text.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn redefine(&self, host: &Host, text: &str) -> Result<(), LibvirtError> {
        call("virNetworkDefineXML", "define network", &self.name, || {
            host.conn.define_network_xml(text)
        })
        .map(drop)
    }

    /// Reserves an address: adds a DHCP host entry, in force and in the definition. An entry that is
    /// in one of the two already, as after a crash, is completed.
    ///
    /// Costs half a second on a network that is up: libvirt puts its firewall rules up again.
    ///
    /// # Errors
    /// Exists, where address or hardware address has an entry. A name that another entry has, as that
    /// of a domain that was renamed since, is left out: only the address matters.
    pub fn add_host(&self, mac: &str, ip: Ipv4Addr, name: &str) -> Result<(), LibvirtError> {
        let named_so = |h: &DhcpHostXml| h.name.as_deref() == Some(name);
        let free = self.where_host(|h| !named_so(h) || has_mac(h, mac))?;
        let name = (free == self.all_places()?).then_some(name);
        let entry = DhcpHostXml::new(mac, IpAddr::V4(ip), name);
        let lacking = self.where_host(|h| !has_mac(h, mac) || h.ip != entry.ip)?;
        let flags = if lacking == 0 { CONFIG } else { lacking };
        self.update(
            "reserve an address in",
            (sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, DHCP_HOST),
            &entry.to_xml()?,
            flags,
        )
    }

    /// Removes the DHCP host entry of a hardware address, wherever it is.
    ///
    /// # Errors
    /// NotFound, where there is none.
    pub fn remove_host(&self, mac: &str) -> Result<(), LibvirtError> {
        let everywhere = self.all_places()?;
        let held = everywhere & !self.where_host(|h| !has_mac(h, mac))?;
        if held == 0 {
            return Err(super::domain::missing(
                "free an address",
                &format!("the DHCP host entry of {mac}"),
            ));
        }
        // libvirt finds it by hardware address alone, in whatever case that was written.
        let entry = DhcpHostXml {
            mac: Some(mac.to_owned()),
            id: None,
            name: None,
            ip: None,
        };
        self.update(
            "free an address in",
            (sys::VIR_NETWORK_UPDATE_COMMAND_DELETE, DHCP_HOST),
            &entry.to_xml()?,
            held,
        )
    }

    /// Returns in which places (in force, definition) each entry passes `other`: in which there is
    /// none that does not.
    fn where_host(&self, other: impl Fn(&DhcpHostXml) -> bool) -> Result<u32, LibvirtError> {
        self.places(|xml| xml.reservations().all(&other))
    }

    /// Returns for which of its two definitions, the one in force and the one of the next start, `is`.
    pub(super) fn places(&self, is: impl Fn(&NetworkXml) -> bool) -> Result<u32, LibvirtError> {
        let mut found = 0;
        let places = self.all_places()?;
        for (place, flags) in [(LIVE, 0), (CONFIG, sys::VIR_NETWORK_XML_INACTIVE)] {
            if places & place != 0 && is(&NetworkXml::from_xml(&self.text(flags)?)?) {
                found |= place;
            }
        }
        Ok(found)
    }

    fn all_places(&self) -> Result<u32, LibvirtError> {
        Ok(CONFIG | if self.is_active()? { LIVE } else { 0 })
    }

    pub(super) fn update(
        &self,
        doing: &str,
        (command, section): (sys::virNetworkUpdateCommand, sys::virNetworkUpdateSection),
        xml: &str,
        flags: sys::virNetworkUpdateFlags,
    ) -> Result<(), LibvirtError> {
        self.ask("virNetworkUpdate", doing, |raw| {
            raw.update(command, section, -1, xml, flags)
        })
    }
}
