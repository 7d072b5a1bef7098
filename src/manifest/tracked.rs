//! A serde adapter that knows where it is: it reports every unknown field instead of stopping at
//! the first, leaves out what it is told to, and remembers the path at which reading failed.
//!
//! The parsers underneath keep their positions, because values still come straight from them.

use std::collections::HashSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};

use super::path::Segment;
use super::tracker::Tracker;

/// A deserializer, or a seed, under watch.
pub(super) struct Tracked<'t, T> {
    pub(super) inner: T,
    pub(super) tracker: &'t Tracker<'t>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Tracked<'_, S> {
    type Value = S::Value;
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let tracker = self.tracker;
        self.inner
            .deserialize(Tracked { inner, tracker })
            .map_err(|error| tracker.note_own_message(error))
    }
}

#[derive(Clone, Copy)]
enum Shape {
    Struct(&'static [&'static str]),
    Other,
}

macro_rules! forward {
    ($($method:ident($($arg:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($arg,)* Watch { inner: visitor, tracker: self.tracker, shape: Shape::Other })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Tracked<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let shape = Shape::Struct(fields);
        let tracker = self.tracker;
        let watch = Watch {
            inner: visitor,
            tracker,
            shape,
        };
        self.inner.deserialize_struct(name, fields, watch)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

struct Watch<'t, V> {
    inner: V,
    tracker: &'t Tracker<'t>,
    shape: Shape,
}

macro_rules! visit {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value).map_err(|e| self.tracker.note_message(e))
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watch<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool(bool);
        visit_i64(i64);
        visit_i128(i128);
        visit_u64(u64);
        visit_u128(u128);
        visit_f64(f64);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let tracker = self.tracker;
        self.inner.visit_some(Tracked { inner, tracker })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let tracker = self.tracker;
        self.inner.visit_newtype_struct(Tracked { inner, tracker })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if let Shape::Struct(_) = self.shape {
            // serde would fill the fields by their order.
            return Err(A::Error::invalid_type(Unexpected::Seq, &self.inner));
        }
        let tracker = self.tracker;
        self.inner.visit_seq(Entries {
            inner,
            tracker,
            index: 0,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let seen = HashSet::new();
        let (tracker, shape) = (self.tracker, self.shape);
        let fields = Fields {
            inner,
            tracker,
            shape,
            seen,
            key: String::new(),
        };
        self.inner.visit_map(fields)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(data)
    }
}

struct Entries<'t, A> {
    inner: A,
    tracker: &'t Tracker<'t>,
    index: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let tracker = self.tracker;
        loop {
            let segment = Segment::Index(self.index);
            self.index += 1;
            if tracker.skips(&segment) {
                if self.inner.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
                continue;
            }
            let empty = tracker.is_null(&segment);
            return tracker.below(segment, || {
                if empty {
                    self.inner
                        .next_element_seed(tracker.refuse("an empty list entry"))?;
                }
                self.inner.next_element_seed(Tracked {
                    inner: seed,
                    tracker,
                })
            });
        }
    }
}

struct Fields<'t, A> {
    inner: A,
    tracker: &'t Tracker<'t>,
    shape: Shape,
    seen: HashSet<String>,
    key: String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let mut seed = Some(seed);
        loop {
            let seed = KeySeed {
                seed: &mut seed,
                fields: self.tracker,
                shape: self.shape,
                seen: &mut self.seen,
            };
            match self.inner.next_key_seed(seed)? {
                None => return Ok(None),
                Some((key, Some(value))) => {
                    self.key = key;
                    return Ok(Some(value));
                }
                Some((_, None)) => {
                    self.inner.next_value::<IgnoredAny>()?;
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let tracker = self.tracker;
        let segment = Segment::Key(std::mem::take(&mut self.key));
        let empty = tracker.is_null(&segment);
        tracker.below(segment, || {
            if empty {
                self.inner
                    .next_value_seed(tracker.refuse("no value; write \"\" for an empty text"))?;
            }
            self.inner.next_value_seed(Tracked {
                inner: seed,
                tracker,
            })
        })
    }
}

/// Reads a key as text and hands it on, or nothing when the field is left out.
struct KeySeed<'a, 't, S> {
    seed: &'a mut Option<S>,
    fields: &'t Tracker<'t>,
    shape: Shape,
    seen: &'a mut HashSet<String>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<'_, '_, S> {
    type Value = (String, Option<S::Value>);
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        // The seed runs inside the visitor, so that the parser gives its error the key's place.
        d.deserialize_str(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for KeySeed<'_, '_, S> {
    type Value = (String, Option<S::Value>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let segment = Segment::Key(key.to_owned());
        let first = self.seen.insert(key.to_owned());
        let known = match self.shape {
            Shape::Struct(fields) if !fields.contains(&key) => {
                if !self.fields.skips(&segment) {
                    self.fields.note_unknown(key, fields);
                }
                false
            }
            // A field without a value is a field that is not there.
            Shape::Struct(_) => !self.fields.is_null(&segment),
            Shape::Other => true,
        };
        if !first || !known || self.fields.skips(&segment) {
            return Ok((String::new(), None));
        }
        let Some(seed) = self.seed.take() else {
            return Ok((String::new(), None));
        };
        let text: StrDeserializer<'_, E> = key.into_deserializer();
        match seed.deserialize(text) {
            Ok(value) => Ok((key.to_owned(), Some(value))),
            Err(error) => {
                let error = self.fields.note_message(error);
                self.fields.note_key(key);
                Err(error)
            }
        }
    }
}
