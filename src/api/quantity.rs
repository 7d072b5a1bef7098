//! Sizes of memory and disks.
//!
//! `G` and `Gi` are both 2³⁰, as in qemu-img and as users of libvirt expect; `GB` is 10⁹.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, greater than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a size: {rule}")]
pub struct InvalidQuantity {
    /// The text as it was given.
    pub value: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

const FORM: &str = "write a positive number and a unit, as 512M, 10G, 1.5Gi or 20GB";
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

impl Quantity {
    /// Makes a size of `bytes`; zero is no size.
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes == 0 { None } else { Some(Self(bytes)) }
    }

    /// Makes a size of `n` MiB (at least one byte is kept for `n` = 0 by taking 1 MiB).
    pub const fn mib(n: u64) -> Self {
        Self(if n == 0 { MIB } else { n * MIB })
    }

    /// Makes a size of `n` GiB (1 GiB for `n` = 0).
    pub const fn gib(n: u64) -> Self {
        Self(if n == 0 { GIB } else { n * GIB })
    }

    /// Returns the size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Returns the size in KiB, rounded up; libvirt counts memory so.
    pub const fn kib(self) -> u64 {
        self.0.div_ceil(KIB)
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let fail = |rule| InvalidQuantity {
            value: text.to_owned(),
            rule,
        };
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let factor = match unit.trim_start() {
            "" | "B" => 1,
            "K" | "Ki" | "KiB" | "k" => KIB,
            "M" | "Mi" | "MiB" | "m" => MIB,
            "G" | "Gi" | "GiB" | "g" => GIB,
            "T" | "Ti" | "TiB" | "t" => TIB,
            "KB" | "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(fail(FORM)),
        };
        let bytes = scaled(number, factor).ok_or_else(|| fail(FORM))?;
        Self::from_bytes(bytes).ok_or_else(|| fail("a size is greater than zero"))
    }
}

/// Multiplies a decimal number by `factor` without floating point, so that 0.1Gi is exact.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.len() > 9 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let bytes = u128::from(whole) * u128::from(factor) + part * u128::from(factor) / scale;
    u64::try_from(bytes)
        .ok()
        .filter(|b| i64::try_from(*b).is_ok())
}

impl fmt::Display for Quantity {
    /// Prints the largest binary unit that is exact: `10Gi`, `1536Mi`, `123`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (factor, unit) in [(TIB, "Ti"), (GIB, "Gi"), (MIB, "Mi"), (KIB, "Ki")] {
            if self.0.is_multiple_of(factor) {
                return f.pad(&format!("{}{unit}", self.0 / factor));
            }
        }
        f.pad(&self.0.to_string())
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 512M or 10G")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Quantity, E> {
                bytes.to_string().parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Quantity, E> {
                bytes.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size: 512M, 10G (2^30, as in qemu-img), 1.5Gi, 20GB (10^9).",
            "type": ["string", "integer"]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_those_of_qemu_img() {
        for (text, bytes) in [
            ("1", 1),
            ("512M", 512 * MIB),
            ("10G", 10 * GIB),
            ("10Gi", 10 * GIB),
            ("10GiB", 10 * GIB),
            ("10GB", 10_000_000_000),
            ("1.5Gi", 1536 * MIB),
            ("0.5G", 512 * MIB),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().bytes(), bytes, "{text}");
        }
        for bad in [
            "",
            "G",
            "-1G",
            "0",
            "0G",
            "1X",
            "1..2G",
            "1.G",
            ".5G",
            "1e3",
            "99999999T",
            "10 G B",
        ] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes in 1u64..(1 << 50)) {
            let size = Quantity::from_bytes(bytes).unwrap();
            prop_assert_eq!(size.to_string().parse::<Quantity>().unwrap(), size);
        }
    }
}
