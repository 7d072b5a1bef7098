//! Ranges of addresses, as networks are told them.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a range of addresses: {rule}")]
pub struct InvalidCidr {
    /// The text as it was given.
    pub value: String,
    /// The rule it breaks, worded for a person.
    pub rule: String,
}

fn invalid(value: &str, rule: impl Into<String>) -> InvalidCidr {
    InvalidCidr {
        value: value.to_owned(),
        rule: rule.into(),
    }
}

/// An IPv4 range as a prefix, `10.10.0.0/24`: the address is the first of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(Ipv4Net);

/// An IPv6 range as a prefix, `fd00:10::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr6(Ipv6Net);

/// Addresses from one to another, both belonging to it: `10.10.0.2-10.10.0.9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// The first address.
    pub start: Ipv4Addr,
    /// The last address.
    pub end: Ipv4Addr,
}

impl Cidr {
    /// Makes a range of a prefix; what stands after the prefix is cut off.
    pub fn new(net: Ipv4Net) -> Self {
        Self(net.trunc())
    }

    /// Returns the prefix.
    pub const fn net(self) -> Ipv4Net {
        self.0
    }
}

impl Cidr6 {
    /// Makes a range of a prefix; what stands after the prefix is cut off.
    pub fn new(net: Ipv6Net) -> Self {
        Self(net.trunc())
    }

    /// Returns the prefix.
    pub const fn net(self) -> Ipv6Net {
        self.0
    }

    /// Returns its first address for a host, which is the host's own.
    pub fn gateway(self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.0.network()) + 1)
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let net: Ipv4Net = text
            .parse()
            .map_err(|_| invalid(text, "write an IPv4 prefix, as 10.10.0.0/24"))?;
        if net.trunc() != net {
            let rule = format!("it begins at {}", net.trunc());
            return Err(invalid(text, rule));
        }
        Ok(Self(net))
    }
}

impl FromStr for Cidr6 {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let net: Ipv6Net = text
            .parse()
            .map_err(|_| invalid(text, "write an IPv6 prefix, as fd00:10::/64"))?;
        if net.trunc() != net {
            let rule = format!("it begins at {}", net.trunc());
            return Err(invalid(text, rule));
        }
        Ok(Self(net))
    }
}

impl FromStr for AddressRange {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let form = || invalid(text, "write FIRST-LAST, as 10.10.0.2-10.10.0.9");
        let (start, end) = text.split_once('-').ok_or_else(form)?;
        let start: Ipv4Addr = start.trim().parse().map_err(|_| form())?;
        let end: Ipv4Addr = end.trim().parse().map_err(|_| form())?;
        if start > end {
            return Err(invalid(text, "the first address is above the last"));
        }
        Ok(Self { start, end })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Display for Cidr6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.start, self.end))
    }
}

macro_rules! as_text {
    ($name:ident, $pattern:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    };
}

as_text!(Cidr, "^[0-9.]+/[0-9]+$");
as_text!(Cidr6, "^[0-9a-fA-F:]+/[0-9]+$");
as_text!(AddressRange, "^[0-9.]+ *- *[0-9.]+$");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_begins_at_its_first_address() {
        assert_eq!(
            "10.10.0.0/24".parse::<Cidr>().unwrap().to_string(),
            "10.10.0.0/24"
        );
        assert_eq!(
            "10.10.0.7/24".parse::<Cidr>().unwrap_err().to_string(),
            "\"10.10.0.7/24\" is not a range of addresses: it begins at 10.10.0.0/24"
        );
        assert_eq!(
            "fd00::/64".parse::<Cidr6>().unwrap().gateway().to_string(),
            "fd00::1"
        );
        for bad in [
            "",
            "10.10.0.0",
            "10.10.0.0/33",
            "fd00::/64",
            "10.0.0.0/24\n",
            "a/8",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad:?}");
        }
        for bad in ["", "fd00::", "fd00::1/64", "10.0.0.0/8"] {
            assert!(bad.parse::<Cidr6>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_range_goes_upwards() {
        let range: AddressRange = "10.0.0.2 - 10.0.0.9".parse().unwrap();
        assert_eq!(range.to_string(), "10.0.0.2-10.0.0.9");
        for bad in [
            "",
            "10.0.0.2",
            "10.0.0.9-10.0.0.2",
            "10.0.0.2-x",
            "-",
            "1-2-3",
        ] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses(address: u32, address6: u128, prefix in 0u8..=32, end: u32) {
            let net = Ipv4Net::new(Ipv4Addr::from(address), prefix).unwrap();
            let cidr = Cidr::new(net);
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
            let net = Ipv6Net::new(Ipv6Addr::from(address6), prefix * 4).unwrap();
            let cidr = Cidr6::new(net);
            prop_assert_eq!(cidr.to_string().parse::<Cidr6>(), Ok(cidr));
            let (low, high) = (address.min(end), address.max(end));
            let range = AddressRange { start: low.into(), end: high.into() };
            prop_assert_eq!(range.to_string().parse::<AddressRange>(), Ok(range));
        }

        #[test]
        fn nothing_hostile_gets_through(text in "\\PC{0,24}") {
            let plain = |c: char| c.is_ascii_hexdigit() || "./:-".contains(c);
            if let Ok(cidr) = text.parse::<Cidr>() {
                prop_assert!(cidr.to_string().chars().all(plain));
            }
            if let Ok(range) = text.parse::<AddressRange>() {
                prop_assert!(range.to_string().chars().all(plain));
            }
        }
    }
}
