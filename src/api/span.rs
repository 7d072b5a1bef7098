//! Lengths of time as people type them: `30s`, `10m`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time given by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a length of time: write 30s, 10m, 1h30m or 500ms")]
pub struct InvalidSpan(pub String);

impl Span {
    /// Makes a span of whole seconds.
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// Makes a span of a length as the standard library has it.
    pub const fn of(duration: Duration) -> Self {
        Self(duration)
    }

    /// Returns the length as the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let fail = || InvalidSpan(text.to_owned());
        if let Ok(seconds) = text.parse::<u64>() {
            return Ok(Self::seconds(seconds));
        }
        let mut rest = text;
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| fail())?;
            let letters = tail
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let millis = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(fail()),
            };
            let part = number
                .checked_mul(millis)
                .map(Duration::from_millis)
                .ok_or_else(fail)?;
            total = total.checked_add(part).ok_or_else(fail)?;
            rest = tail;
        }
        if text.is_empty() {
            Err(fail())
        } else {
            Ok(Self(total))
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if millis != 0 {
            return write!(f, "{}ms", self.0.as_millis());
        }
        match (secs / 3600, secs / 60 % 60, secs % 60) {
            (0, 0, 0) => f.write_str("0s"),
            (0, 0, s) => write!(f, "{s}s"),
            (0, m, 0) => write!(f, "{m}m"),
            (0, m, s) => write!(f, "{m}m{s}s"),
            (h, 0, 0) => write!(f, "{h}h"),
            (h, m, 0) => write!(f, "{h}h{m}m"),
            (h, m, s) => write!(f, "{h}h{m}m{s}s"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time: 30s, 10m, 1h30m, 500ms.",
            "type": "string"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_parse_as_go_durations_do() {
        for (text, seconds) in [
            ("30s", 30),
            ("10m", 600),
            ("1h30m", 5400),
            ("45", 45),
            ("0s", 0),
        ] {
            assert_eq!(
                text.parse::<Span>().unwrap(),
                Span::seconds(seconds),
                "{text}"
            );
        }
        for bad in ["", "s", "5x", "-1s", "1m2", "99999999999999999999s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }
}
