//! Names in a network's DNS. An address has one entry there, which may hold several names.

use std::net::Ipv4Addr;

use virt::sys;

use super::error::LibvirtError;
use super::network::{CONFIG, LIVE, Network};
use super::xml::network_dns::DnsHostXml;

const DNS_HOST: sys::virNetworkUpdateSection = sys::VIR_NETWORK_SECTION_DNS_HOST;

impl Network {
    /// Lets its name server answer a name with an address, in force and in the definition. It hears of
    /// it by a signal: in contrast to a DHCP entry this costs milliseconds.
    ///
    /// What an address is called already it stays called, whoever said so. A driver without such
    /// entries has none.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn add_name(&self, ip: Ipv4Addr, name: &str) -> Result<(), LibvirtError> {
        let entry = DnsHostXml::new(ip.into(), name).to_xml()?;
        let add = |flags| {
            let what = (sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, DNS_HOST);
            self.update("name an address in", what, &entry, flags)
        };
        let refused = match add(LIVE | CONFIG) {
            Ok(()) => return Ok(()),
            Err(e) if e.is_no_support() => return Ok(()),
            Err(e) => e,
        };
        // It is there, wholly or in one place after a crash, or the network is not up.
        let lacking = self.places(|xml| xml.names_of(ip.into()).is_none())?;
        match lacking {
            0 => Ok(()),
            all if all == LIVE | CONFIG => Err(refused),
            some => add(some),
        }
    }

    /// Removes the name of an address, wherever it is. An entry that says anything but one of `names`
    /// is somebody else's, and stays.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn remove_name(&self, ip: Ipv4Addr, names: &[&str]) -> Result<(), LibvirtError> {
        let held = self.places(|xml| {
            let found = xml.names_of(ip.into());
            matches!(found, Some([only]) if names.contains(&only.as_str()))
        })?;
        if held == 0 {
            return Ok(());
        }
        // libvirt takes what has this address or one of the names; each address has one entry.
        let entry = DnsHostXml::any(ip.into()).to_xml()?;
        let what = (sys::VIR_NETWORK_UPDATE_COMMAND_DELETE, DNS_HOST);
        self.update("forget a name in", what, &entry, held)
    }
}
