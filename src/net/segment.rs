//! The part of a network that the rules of a forward speak of.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::InvalidName;

/// The name of a bridge, as the kernel takes it for an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bridge(Arc<str>);

impl Bridge {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Bridge {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let first = text.bytes().next();
        if text.len() <= 15
            && first.is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(plain)
        {
            return Ok(Self(text.into()));
        }
        Err(InvalidName {
            value: text.to_owned(),
            what: "bridge name",
            rule: "at most 15 letters, digits, '-', '_' and '.', the first one a letter or digit",
        })
    }
}

impl fmt::Display for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Which rules of its own libvirt keeps for a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LibvirtRules {
    /// Filter and masquerade (`mode='nat'`).
    Nat,
    /// Filter only (`mode='route'`).
    Filter,
    /// Filter, and nothing leads out: its guests know no way to anybody but the host.
    Isolated,
    /// None (`mode='open'`, bridges of the host).
    None,
}

/// The part of a network that rules speak of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Its bridge.
    pub bridge: Bridge,
    /// Its addresses, of the family of the guest's address.
    pub subnet: IpNet,
    /// What libvirt adds.
    pub libvirt: LibvirtRules,
}
