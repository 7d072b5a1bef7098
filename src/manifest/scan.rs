//! The first reading of a document: its shape, before any type is asked for.
//!
//! Finds what serde accepts silently (a key given twice: the last one wins) and what no manifest
//! needs (merge keys, tags), and bounds what aliases may expand to before anything is built.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use super::document::{Document, Fault, Format};
use super::locate::Spot;
use super::origin::Problem;
use super::path::{FieldPath, Segment};
use super::wording::{TOO_MUCH, is_final};

/// What aliases may make of a document, in bytes of text plus a few for each value.
const MAX_EXPANSION: usize = 8 << 20;

/// The shape of a document.
#[derive(Debug)]
pub(super) struct Scan {
    /// Everything in it, numbers and all; not exact enough to build objects from.
    pub(super) tree: Value,
    /// Fields and entries without a value.
    pub(super) nulls: HashSet<FieldPath>,
    /// What is wrong with it whatever it describes.
    pub(super) problems: Vec<Problem>,
}

/// Reads a document for its shape.
pub(super) fn scan(document: &Document) -> Result<Scan, Fault> {
    document.refuse_control_characters()?;
    refuse_excess(document)?;
    let scanner = Scanner::default();
    let tree = document.read(Reader(&scanner))?;
    Ok(Scan {
        tree,
        nulls: scanner.nulls.take(),
        problems: scanner.problems.take(),
    })
}

/// libyaml reads a whole document before serde sees its first value, in time that grows with the
/// square of its levels and memory of 200 bytes a value. So a document that may have very many of
/// either is read from its beginning piece by piece.
fn refuse_excess(document: &Document) -> Result<(), Fault> {
    if document.format == Format::Json {
        return Ok(());
    }
    let deep = document.beginnings(&['[', '{'], 1 << 13);
    let wide = document.beginnings(&[',', '\n', '-', '?'], 1 << 17);
    for beginning in deep.chain(wide) {
        match beginning.read(Reader(&Scanner::default())) {
            Err(fault) if is_final(&fault.message) => return Err(fault),
            _ => {}
        }
    }
    Ok(())
}

#[derive(Default)]
struct Scanner {
    path: RefCell<FieldPath>,
    nulls: RefCell<HashSet<FieldPath>>,
    problems: RefCell<Vec<Problem>>,
    spent: Cell<usize>,
}

impl Scanner {
    fn spend<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let spent = self.spent.get().saturating_add(bytes).saturating_add(32);
        self.spent.set(spent);
        if spent > MAX_EXPANSION {
            return Err(E::custom(TOO_MUCH));
        }
        Ok(())
    }

    fn found(&self, key: &str, spot: Spot, message: String, help: Option<&str>) {
        let path = self.path.borrow().key(key);
        let problem = Problem {
            path,
            spot,
            message,
            help: help.map(str::to_owned),
        };
        self.problems.borrow_mut().push(problem);
    }

    fn below<T>(&self, segment: Segment, read: impl FnOnce() -> T) -> T {
        self.path.borrow_mut().push(segment);
        let result = read();
        self.path.borrow_mut().pop();
        result
    }
}

#[derive(Clone, Copy)]
struct Reader<'s>(&'s Scanner);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

macro_rules! scalar {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<Value, E> {
            self.0.spend(16)?;
            Ok(Value::from(value))
        }
    )*};
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    scalar! {
        visit_bool(bool);
        visit_i64(i64);
        visit_u64(u64);
        visit_f64(f64);
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.0.spend(text.len())?;
        Ok(Value::from(text))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.0.spend(16)?;
        let path = self.0.path.borrow().clone();
        self.0.nulls.borrow_mut().insert(path);
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.0.spend(32)?;
        let mut entries = Vec::new();
        loop {
            let segment = Segment::Index(entries.len());
            match self.0.below(segment, || seq.next_element_seed(self))? {
                Some(entry) => entries.push(entry),
                None => return Ok(Value::Array(entries)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.0.spend(32)?;
        let mut fields = Map::new();
        let mut repeats: HashMap<String, usize> = HashMap::new();
        while let Some(key) = map.next_key_seed(KeyText)? {
            self.0.spend(key.len())?;
            if key == "<<" {
                let help = Some("write the fields out");
                self.0.found(
                    &key,
                    Spot::Key,
                    "merge keys (\"<<\") are not supported".to_owned(),
                    help,
                );
            }
            let segment = Segment::Key(key.clone());
            let value = self.0.below(segment, || map.next_value_seed(self))?;
            if fields.contains_key(&key) {
                let count = repeats.entry(key.clone()).or_insert(0);
                *count += 1;
                let path = self.0.path.borrow().key(key.as_str());
                let message = format!("duplicate key \"{path}\"");
                self.0.found(&key, Spot::Repeated(*count), message, None);
            } else {
                fields.insert(key, value);
            }
        }
        Ok(Value::Object(fields))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("YAML tags (\"!name\") are not supported"))
    }
}

struct KeyText;

impl<'de> DeserializeSeed<'de> for KeyText {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<String, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }
}
