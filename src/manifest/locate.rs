//! Where a field stands: reads a document up to the field and fails there, and the parser's error
//! tells line and column.
//!
//! serde hands out no positions but those of errors; a second YAML parser beside the first would
//! not agree with it.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};

use super::document::Document;
use super::path::{FieldPath, Segment};
use super::refuse::Refuse;

/// What of a field is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Spot {
    /// Its key.
    Key,
    /// Its key, where it stands for the n-th time (from 0).
    Repeated(usize),
    /// Its value.
    Value,
}

/// Returns line and column of a field, from 1; of the nearest field above it when it is not there.
pub(super) fn locate(document: &Document, path: &FieldPath, spot: Spot) -> Option<(usize, usize)> {
    let mut wanted = path.clone();
    let mut spot = spot;
    loop {
        let probe = Probe {
            rest: wanted.segments(),
            spot,
        };
        match document.read(probe) {
            Err(fault) => return fault.place,
            Ok(()) => wanted = wanted.parent()?,
        }
        spot = Spot::Value;
        if !wanted.is_root() && matches!(wanted.segments().last(), Some(Segment::Key(_))) {
            spot = Spot::Key;
        }
    }
}

#[derive(Clone, Copy)]
struct Probe<'p> {
    rest: &'p [Segment],
    spot: Spot,
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        if self.rest.is_empty() {
            return Refuse("found").deserialize(d);
        }
        d.deserialize_any(self)
    }
}

macro_rules! pass {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: serde::de::Error>(self, _: $type) -> Result<(), E> {
            Ok(())
        }
    )*};
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    pass! {
        visit_bool(bool);
        visit_i64(i64);
        visit_i128(i128);
        visit_u64(u64);
        visit_u128(u128);
        visit_f64(f64);
        visit_str(&str);
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Segment::Index(wanted), rest)) = self.rest.split_first() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Self { rest, ..self })?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (wanted, rest) = match self.rest.split_first() {
            Some((Segment::Key(wanted), rest)) => (Some(wanted.as_str()), rest),
            _ => (None, self.rest),
        };
        let stop_after = match self.spot {
            Spot::Key if rest.is_empty() => Some(0),
            Spot::Repeated(n) if rest.is_empty() => Some(n),
            _ => None,
        };
        let mut seen = 0;
        loop {
            let key = KeyProbe {
                wanted,
                stop: stop_after == Some(seen),
            };
            match map.next_key_seed(key)? {
                None => return Ok(()),
                Some(true) if stop_after.is_none() => {
                    map.next_value_seed(Self { rest, ..self })?;
                }
                Some(matched) => {
                    seen += usize::from(matched);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("a YAML tag"))
    }
}

struct KeyProbe<'p> {
    wanted: Option<&'p str>,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for KeyProbe<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyProbe<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        let matched = self.wanted == Some(key);
        if matched && self.stop {
            return Err(E::custom("found"));
        }
        Ok(matched)
    }
}
