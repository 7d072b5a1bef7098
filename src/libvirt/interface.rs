//! Interfaces that come to a domain and go from it.

use virt::sys;

use super::domain::Domain;
use super::error::LibvirtError;
use super::xml::domain::DomainXml;
use super::xml::interface::InterfaceXml;

/// Where a change of a device is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In what runs now.
    Live,
    /// In the definition.
    Definition,
    /// In both, with the same address on the guest's bus.
    Both,
}

impl Place {
    pub(super) const fn flags(self) -> u32 {
        match self {
            Self::Live => sys::VIR_DOMAIN_AFFECT_LIVE,
            Self::Definition => sys::VIR_DOMAIN_AFFECT_CONFIG,
            Self::Both => sys::VIR_DOMAIN_AFFECT_LIVE | sys::VIR_DOMAIN_AFFECT_CONFIG,
        }
    }
}

impl Domain {
    /// Plugs an interface in.
    ///
    /// # Errors
    /// What the driver refuses, as when no port is free.
    pub fn attach_interface(&self, nic: &InterfaceXml, place: Place) -> Result<(), LibvirtError> {
        let xml = nic.to_xml()?;
        self.ask(
            "virDomainAttachDeviceFlags",
            "attach an interface to",
            |raw| raw.attach_device_flags(&xml, place.flags()),
        )
    }

    /// Takes an interface away; in what runs, asks the guest to let go of it and does not wait.
    ///
    /// # Errors
    /// [`super::Cause::NotFound`] when it is not there; what the driver refuses.
    pub fn detach_interface(&self, nic: &InterfaceXml, place: Place) -> Result<(), LibvirtError> {
        let xml = nic.to_xml()?;
        self.ask(
            "virDomainDetachDeviceFlags",
            "detach an interface from",
            |raw| raw.detach_device_flags(&xml, place.flags()),
        )
    }
}

impl DomainXml {
    /// Returns the interface of a hardware address.
    pub fn interface(&self, mac: &str) -> Option<&InterfaceXml> {
        let mut nics = self.devices.interfaces.iter();
        nics.find(|nic| nic.mac().is_some_and(|m| m.eq_ignore_ascii_case(mac)))
    }
}
