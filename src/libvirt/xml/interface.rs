//! `<interface>`: a domain's network cards.

use serde::{Deserialize, Serialize};

use super::disk::Alias;
use super::{XmlError, write};

/// A network card (formatdomain.html, "Network interfaces").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceXml {
    /// `network`, `user`, `bridge`, `direct`…
    #[serde(rename = "@type")]
    pub kind: String,
    /// Hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// What it is plugged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<InterfaceSource>,
    /// The host's end, as `vnet3`. Only read.
    #[serde(default, skip_serializing)]
    pub target: Option<InterfaceTarget>,
    /// What the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Largest packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// Name libvirt gives the device. Only read.
    #[serde(default, skip_serializing)]
    pub alias: Option<Alias>,
}

/// `<mac address='…'/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mac {
    /// The address.
    #[serde(rename = "@address")]
    pub address: String,
}

/// `<source>` of an interface; which fields are there follows from the type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSource {
    /// libvirt network.
    #[serde(rename = "@network", default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Bridge of the host.
    #[serde(rename = "@bridge", default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Device of the host.
    #[serde(rename = "@dev", default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
}

/// `<target dev='vnet0'/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceTarget {
    /// Name of the device.
    #[serde(rename = "@dev")]
    pub dev: String,
}

/// `<model type='virtio'/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The model.
    #[serde(rename = "@type")]
    pub kind: String,
}

/// `<mtu size='1500'/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mtu {
    /// Bytes.
    #[serde(rename = "@size")]
    pub size: u32,
}

impl InterfaceXml {
    /// Makes a card that is plugged into a libvirt network.
    pub fn on_network(network: &str, mac: &str, model: &str) -> Self {
        Self {
            source: Some(InterfaceSource {
                network: Some(network.to_owned()),
                ..InterfaceSource::default()
            }),
            ..Self::user(mac, model)
        }
        .of_kind("network")
    }

    /// Makes a card with QEMU's user-mode network, which needs no right and no network.
    pub fn user(mac: &str, model: &str) -> Self {
        Self {
            kind: "user".to_owned(),
            mac: Some(Mac {
                address: mac.to_owned(),
            }),
            source: None,
            target: None,
            model: Some(Model {
                kind: model.to_owned(),
            }),
            mtu: None,
            alias: None,
        }
    }

    /// Writes the element, as attaching and detaching want it.
    ///
    /// # Errors
    /// [`XmlError`] when a text holds a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        write("interface", self)
    }

    /// Returns the hardware address, in lower case.
    pub fn mac(&self) -> Option<String> {
        self.mac.as_ref().map(|m| m.address.to_ascii_lowercase())
    }

    /// Returns the libvirt network it is plugged into.
    pub fn network(&self) -> Option<&str> {
        self.source.as_ref()?.network.as_deref()
    }

    fn of_kind(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.kind);
        self
    }
}
