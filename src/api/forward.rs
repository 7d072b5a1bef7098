//! Port forwards: a port of the host for a port of an instance.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meta::ObjectMeta;
use super::name::Name;
use super::port::{PortMapping, Protocol};

/// A port of the host for a port of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortForward {
    /// `kvmctl/v1`.
    pub api_version: String,
    /// `PortForward`.
    pub kind: String,
    /// Name, labels and identity.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: PortForwardSpec,
    /// What is observed. Ignored in a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PortForwardStatus>,
}

/// What is wanted of a forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortForwardSpec {
    /// Instance that answers.
    pub instance: Name,
    /// Which of its networks; the first in which it has an address when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Address of the host that is answered at; all of them when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Port of the host, the first of them when `count` says more; 0 takes a free one, which the
    /// status names.
    pub host_port: u16,
    /// Port of the instance, the first of them when `count` says more.
    pub guest_port: u16,
    /// How many ports in a row; 1 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u16>,
    /// `tcp` or `udp`; tcp when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Whether programs of the host reach it at localhost, too; yes when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localhost: Option<bool>,
    /// Whether a port of the host below 1024 may be taken, such as that of SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_privileged_ports: Option<bool>,
}

/// How a forward is doing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ForwardPhase {
    /// Its making has begun and not ended.
    Pending,
    /// Its rules are in force, as they should be.
    Active,
    /// There are rules, but not those that are wanted now, or nobody whom they could lead to.
    Stale,
    /// It has no rules, or not all.
    Missing,
    /// The caller has no right to see the rules.
    Unknown,
    /// Its deletion has begun and not ended.
    Terminating,
}

/// What is observed of a forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortForwardStatus {
    /// How it is doing.
    pub phase: ForwardPhase,
    /// Why, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Port of the host that it really has, the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// Address of the instance that it leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Ipv4Addr>,
    /// Network in which that address is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// What carries it: `iptables`, `nftables`…
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Connections that were led to the instance since its rules were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Packets that were forwarded to the instance; those of the host itself are not among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Protocols by which it is reached: `IPv4`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_families: Vec<String>,
    /// Generation of the spec that this status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<u64>,
}

impl PortForwardSpec {
    /// Makes the spec of a mapping to an instance.
    pub fn of_mapping(instance: Name, mapping: &PortMapping) -> Self {
        Self {
            instance,
            network: None,
            address: mapping.address,
            host_port: mapping.host,
            guest_port: mapping.guest,
            count: (mapping.count > 1).then_some(mapping.count),
            protocol: (mapping.protocol != Protocol::Tcp).then_some(mapping.protocol),
            localhost: None,
            allow_privileged_ports: None,
        }
    }

    /// Returns the ports, as they are wanted: the host's may be 0.
    pub fn mapping(&self) -> PortMapping {
        PortMapping {
            address: self.address,
            host: self.host_port,
            guest: self.guest_port,
            count: self.count.unwrap_or(1),
            protocol: self.protocol.unwrap_or_default(),
        }
    }
}

impl PortForward {
    /// Returns the ports, with that of the host which was really taken.
    pub fn mapping(&self) -> PortMapping {
        let taken = self.status.as_ref().and_then(|s| s.host_port);
        let wanted = self.spec.mapping();
        PortMapping {
            host: taken.unwrap_or(wanted.host),
            ..wanted
        }
    }

    /// Returns the name of the instance whose `spec.ports` it is a view of; none for one of its own.
    pub fn owner(&self) -> Option<&Name> {
        self.metadata.owner_references.first().map(|o| &o.name)
    }
}

impl fmt::Display for ForwardPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Stale => "Stale",
            Self::Missing => "Missing",
            Self::Unknown => "Unknown",
            Self::Terminating => "Terminating",
        })
    }
}
