//! Networks: the libvirt networks that instances are plugged into.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cidr::{AddressRange, Cidr, Cidr6};
use super::condition::Condition;
use super::meta::{ObjectMeta, Timestamp};

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// `kvmctl/v1`.
    pub api_version: String,
    /// `Network`.
    pub kind: String,
    /// Name, labels and identity.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: NetworkSpec,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<NetworkStatus>,
}

/// How a network reaches the outside.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Guests reach the outside by the host's address; nobody outside reaches them but by forwards.
    #[default]
    Nat,
    /// Guests reach each other and the host, nothing else.
    Isolated,
    /// Guests are plugged into a bridge that the host has already.
    Bridge,
    /// Guests are plugged into a network device of the host, beside the host.
    Macvtap,
    /// Guests are reached from outside by plain routing.
    Route,
    /// As route, without any firewall rule of libvirt's.
    Open,
}

impl NetworkMode {
    /// All modes, in the order of help.
    pub const ALL: [Self; 6] = [
        Self::Nat,
        Self::Isolated,
        Self::Bridge,
        Self::Macvtap,
        Self::Route,
        Self::Open,
    ];

    /// Returns the word of the manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Isolated => "isolated",
            Self::Bridge => "bridge",
            Self::Macvtap => "macvtap",
            Self::Route => "route",
            Self::Open => "open",
        }
    }

    /// Returns whether libvirt makes a bridge for it, with addresses of its own.
    pub const fn has_own_bridge(self) -> bool {
        !matches!(self, Self::Bridge | Self::Macvtap)
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for NetworkMode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|m| m.as_str() == text);
        known.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("{text:?} is no mode of a network; the modes are {all}")
        })
    }
}

/// What a network should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkSpec {
    /// How it reaches the outside; `nat` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetworkMode>,
    /// Its IPv4 range, as `10.10.0.0/24`; a free one when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// Address of the host in it; the first of the range when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// With mode `bridge`, the bridge of the host; with others, a name for the network's own one
    /// instead of one that is made from its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// With mode `macvtap`, the device of the host that guests are plugged into; with `nat` and
    /// `route`, the only one that they reach the outside by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Domain under which guests find each other by name; `NAME.internal` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_domain: Option<String>,
    /// How addresses are given out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<DhcpSpec>,
    /// Its IPv6 range, as `fd00:10::/64`; none when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Cidr6>,
    /// Largest packet in bytes, which guests are told too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether it starts with the host; it does when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
}

impl NetworkSpec {
    /// Returns the mode, said or not.
    pub fn mode(&self) -> NetworkMode {
        self.mode.unwrap_or_default()
    }

    /// Returns whether addresses are given out.
    pub fn has_dhcp(&self) -> bool {
        let said = self.dhcp.as_ref().and_then(|d| d.enabled);
        self.mode().has_own_bridge() && said.unwrap_or(true)
    }
}

/// How a network gives out addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DhcpSpec {
    /// Whether it gives out any; it does when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Addresses for guests that kvmctl knows nothing of, as `10.10.0.2-10.10.0.9`; instances have
    /// theirs from the rest. The lowest few when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<AddressRange>,
}

/// Where a network stands in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NetworkPhase {
    /// Its making was begun and has not ended.
    #[default]
    Pending,
    /// It is up.
    Active,
    /// It is down.
    Inactive,
    /// Its deletion was begun and has not ended.
    Terminating,
}

impl fmt::Display for NetworkPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Terminating => "Terminating",
        })
    }
}

/// What is observed of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkStatus {
    /// Where it stands.
    pub phase: NetworkPhase,
    /// Why, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether kvmctl made or adopted it.
    pub managed: bool,
    /// How it reaches the outside, where kvmctl knows the mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetworkMode>,
    /// Its bridge on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Device of the host that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its IPv4 range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// Address of the host in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Cidr6>,
    /// Domain of the guests' names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_domain: Option<String>,
    /// Largest packet, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether it starts with the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// Addresses that are given out to guests that kvmctl knows nothing of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_range: Option<AddressRange>,
    /// Addresses that were set aside for instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<SlotStatus>,
    /// Interfaces in it, of instances and of other domains, also of those that are off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<AttachedInterface>,
    /// Addresses that are set aside by hardware address, but for slots nobody has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<ReservationStatus>,
    /// Addresses that were given out by DHCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<LeaseStatus>,
    /// Firewall of its bridge, where the caller may look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<NetworkFirewall>,
    /// Observed facts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation that is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<u64>,
}

/// The firewall of a network's bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkFirewall {
    /// Firewall that libvirt writes the bridge's rules with, `iptables` or `nftables`; none where it
    /// has no rule for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Whether libvirt's own rules are there.
    pub libvirt_rules: LibvirtRulesState,
    /// Those that are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Whether libvirt's own rules of a network are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LibvirtRulesState {
    /// They are.
    Present,
    /// Some are missing; only a restart of the daemon brings them back.
    Missing,
    /// libvirt keeps none for such a network.
    NotExpected,
}

/// How many of the addresses for instances are in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlotStatus {
    /// Those that instances have.
    pub used: usize,
    /// All of them.
    pub total: usize,
}

impl fmt::Display for SlotStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.used, self.total))
    }
}

/// An interface in a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachedInterface {
    /// Name of the domain, which for an instance is the instance's.
    pub domain: String,
    /// Whether the domain is an instance of kvmctl's.
    pub managed: bool,
    /// Whether it runs.
    pub running: bool,
    /// Hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Address that is reserved for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Device of the host, as `vnet3`, while the domain runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// An address that is set aside by hardware address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReservationStatus {
    /// The address.
    pub address: Ipv4Addr,
    /// Hardware address.
    pub mac: String,
    /// Who has it, as `instance/web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

/// An address that was given out by DHCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseStatus {
    /// The address.
    pub address: IpAddr,
    /// Hardware address.
    pub mac: String,
    /// Name that the guest gave itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// When it ends; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_has_a_word() {
        for mode in NetworkMode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        assert!("NAT".parse::<NetworkMode>().is_err());
    }
}
