//! One port, which is never 0.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why something is not a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no port: a port is a number between 1 and 65535")]
pub struct InvalidPortNumber(String);

impl InvalidPortNumber {
    fn of(given: impl fmt::Debug) -> Self {
        Self(format!("{given:?}"))
    }
}

/// A port of TCP or UDP: 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortNumber(u16);

impl PortNumber {
    /// The port of HTTP.
    pub const HTTP: Self = Self(80);

    /// Makes a port of a number; 0 is none.
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for PortNumber {
    type Err = InvalidPortNumber;

    fn from_str(text: &str) -> Result<Self, InvalidPortNumber> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = plain.then(|| text.parse().ok()).flatten();
        let port = number.and_then(Self::new);
        port.ok_or_else(|| InvalidPortNumber::of(text))
    }
}

impl Serialize for PortNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl<'de> Deserialize<'de> for PortNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let port = u16::try_from(number).ok().and_then(Self::new);
        port.ok_or_else(|| serde::de::Error::custom(InvalidPortNumber::of(number)))
    }
}

impl JsonSchema for PortNumber {
    fn schema_name() -> Cow<'static, str> {
        "PortNumber".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": 65535})
    }
}

/// Whether, and at which port, clients without TLS are sent to the port that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectToHttps {
    /// Not at all, or at port 80.
    Usual(bool),
    /// At this port.
    At(PortNumber),
}

impl RedirectToHttps {
    /// Returns the port that is listened on for them.
    pub const fn port(self) -> Option<PortNumber> {
        match self {
            Self::Usual(false) => None,
            Self::Usual(true) => Some(PortNumber::HTTP),
            Self::At(port) => Some(port),
        }
    }
}

impl Serialize for RedirectToHttps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Usual(yes) => serializer.serialize_bool(*yes),
            Self::At(port) => port.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for RedirectToHttps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = RedirectToHttps;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a port")
            }
            fn visit_bool<E: serde::de::Error>(self, yes: bool) -> Result<RedirectToHttps, E> {
                Ok(RedirectToHttps::Usual(yes))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<RedirectToHttps, E> {
                let port = u16::try_from(number).ok().and_then(PortNumber::new);
                let port = port.ok_or_else(|| E::custom(InvalidPortNumber::of(number)));
                port.map(RedirectToHttps::At)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for RedirectToHttps {
    fn schema_name() -> Cow<'static, str> {
        "RedirectToHttps".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "true (port 80), false, or the port that is listened on.",
            "type": ["boolean", "integer"],
            "minimum": 1,
            "maximum": 65535
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_never_0_and_never_above_65535() {
        for good in ["1", "80", "65535"] {
            assert_eq!(good.parse::<PortNumber>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "65536", "-1", "+80", "80 ", "80;", "http", "8e1"] {
            assert!(bad.parse::<PortNumber>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<PortNumber>("0").is_err());
        assert!(serde_json::from_str::<PortNumber>("70000").is_err());
        assert!(serde_json::from_str::<PortNumber>("\"80\"").is_err());
    }

    #[test]
    fn a_redirect_is_a_word_or_a_port() {
        for (text, port) in [
            ("true", Some(80)),
            ("false", None),
            ("8080", PortNumber::new(8080).map(PortNumber::get)),
        ] {
            let read: RedirectToHttps = serde_json::from_str(text).unwrap();
            assert_eq!(read.port().map(PortNumber::get), port);
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        for bad in ["0", "70000", "\"80; include x\"", "null", "-1"] {
            assert!(
                serde_json::from_str::<RedirectToHttps>(bad).is_err(),
                "{bad}"
            );
        }
    }
}
