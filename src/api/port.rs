//! Port mappings of an instance, in the notation people know from containers.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The transport protocol of a mapping.
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
pub enum Protocol {
    /// TCP, which is meant when nothing is said.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// `[ADDRESS:]HOST[-HOST]:GUEST[-GUEST][/tcp|/udp]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortMapping {
    /// The host address that is listened on; all of them when absent.
    pub address: Option<IpAddr>,
    /// First host port; 0 asks for a free one.
    pub host: u16,
    /// First guest port.
    pub guest: u16,
    /// How many ports in a row.
    pub count: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// Why a text is not a port mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a port mapping: {rule}")]
pub struct InvalidPort {
    /// The text as it was given.
    pub value: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

const FORM: &str =
    "write HOST:GUEST, as 8080:80, 8080:80/udp, 127.0.0.1:8080:80, 0:80 or 8000-8010:8000-8010";

impl FromStr for PortMapping {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        let fail = |rule| InvalidPort {
            value: text.to_owned(),
            rule,
        };
        let (ports, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(fail("the protocol is tcp or udp")),
        };
        let (rest, guest) = ports.rsplit_once(':').ok_or_else(|| fail(FORM))?;
        let (address, host) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((address, host)) => {
                let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
                let parsed = bare.unwrap_or(address).parse().map_err(|_| fail(FORM))?;
                (Some(parsed), host)
            }
        };
        let (host, hosts) = range(host).ok_or_else(|| fail(FORM))?;
        let (guest, count) = range(guest).ok_or_else(|| fail(FORM))?;
        if hosts != count {
            return Err(fail("both ranges have the same number of ports"));
        }
        if guest == 0 {
            return Err(fail("a guest port is between 1 and 65535"));
        }
        if host == 0 && count > 1 {
            return Err(fail("a range starts at port 1 or above"));
        }
        Ok(Self {
            address,
            host,
            guest,
            count,
            protocol,
        })
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let port = |s: &str| {
        s.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| s.parse().ok())
            .flatten()
    };
    match text.split_once('-') {
        None => Some((port(text)?, 1)),
        Some((first, last)) => {
            let (first, last): (u16, u16) = (port(first)?, port(last)?);
            Some((first, last.checked_sub(first)?.checked_add(1)?))
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl PortMapping {
    /// Returns the last host port.
    pub const fn last_host(&self) -> u16 {
        self.host.saturating_add(self.count.saturating_sub(1))
    }

    /// Returns the last guest port.
    pub const fn last_guest(&self) -> u16 {
        self.guest.saturating_add(self.count.saturating_sub(1))
    }

    /// Returns whether both take a port of the host that the other takes. One that is still to be
    /// chosen is taken by nobody.
    pub fn clashes(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.host != 0
            && other.host != 0
            && self.host <= other.last_host()
            && other.host <= self.last_host()
            && overlap(self.address, other.address)
    }

    /// Returns whether the host port `port` at `address` (all of them when absent) is taken by it.
    pub fn takes(&self, protocol: Protocol, address: Option<IpAddr>, port: u16) -> bool {
        self.clashes(&Self {
            address,
            host: port,
            guest: 1,
            count: 1,
            protocol,
        })
    }
}

/// No address means all of them, and so do `0.0.0.0` and `::`.
pub(crate) fn overlap(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
        _ => true,
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(a)) => write!(f, "[{a}]:")?,
            Some(IpAddr::V4(a)) => write!(f, "{a}:")?,
            None => {}
        }
        let (host, guest) = (self.host, self.guest);
        if self.count <= 1 {
            write!(f, "{host}:{guest}")?;
        } else {
            let (last, last_guest) = (self.last_host(), self.last_guest());
            write!(f, "{host}-{last}:{guest}-{last_guest}")?;
        }
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

impl Serialize for PortMapping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortMapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PortMapping {
    fn schema_name() -> Cow<'static, str> {
        "PortMapping".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port of the host for a port of the guest: 8080:80, 8080:80/udp, 127.0.0.1:8080:80, 0:80.",
            "type": "string"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_clash_where_they_take_one_port_of_the_host() {
        let clash = |a: &str, b: &str| {
            let (a, b): (PortMapping, PortMapping) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(a.clashes(&b), b.clashes(&a), "{a} {b}");
            a.clashes(&b)
        };
        assert!(clash("8080:80", "8080:81"));
        assert!(clash("8080:80", "127.0.0.1:8080:80"));
        assert!(clash("8000-8010:1-11", "8010:80"));
        assert!(clash("0.0.0.0:8080:80", "127.0.0.1:8080:80"));
        for (a, b) in [
            ("8080:80", "8080:80/udp"),
            ("8000-8010:1-11", "8011:80"),
            ("127.0.0.2:8080:80", "127.0.0.1:8080:80"),
            ("0:80", "0:80"),
        ] {
            assert!(!clash(a, b), "{a} {b}");
        }
    }

    #[test]
    fn mappings_print_as_they_are_typed() {
        for text in [
            "8080:80",
            "8080:80/udp",
            "127.0.0.1:8080:80",
            "0:80",
            "8000-8010:8000-8010",
            "[::1]:8080:80",
        ] {
            assert_eq!(text.parse::<PortMapping>().unwrap().to_string(), text);
        }
        for bad in [
            "", "80", ":80", "8080:", "8080:0", "1:2/icmp", "x:80", "1-3:1-2", "70000:80",
            "+80:80", "5-3:5-3",
        ] {
            assert!(bad.parse::<PortMapping>().is_err(), "{bad:?}");
        }
    }
}
