//! `--sort-by`: by a path, or by a column as it is shown.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde_json::Value;

use super::columns::{self, Ctx, NONE, PENDING, UNKNOWN, UNSET, Width};
use super::error::InvalidRequest;
use super::fields;
use super::jsonpath::Path;
use super::value;
use crate::api::{Kind, Object, Quantity};

/// What objects are sorted by.
#[derive(Debug, Clone, PartialEq)]
pub enum SortKey {
    /// A path in the object: `.metadata.creationTimestamp`, `{.spec.cpus}`, `status.address`.
    Path {
        /// As it was given.
        text: String,
        /// Parsed.
        path: Path,
    },
    /// A column of the table, by its title in any case: `age` puts the youngest first.
    Column(String),
}

impl SortKey {
    /// Parses the argument of `--sort-by`: a single word is a column, anything else a path.
    ///
    /// # Errors
    /// [`InvalidRequest::JsonPath`] for a path that does not parse.
    pub fn parse(text: &str) -> Result<Self, InvalidRequest> {
        if !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || "_-".contains(c))
        {
            return Ok(Self::Column(text.to_ascii_uppercase()));
        }
        Ok(Self::Path {
            text: text.to_owned(),
            path: Path::parse(text)?,
        })
    }

    /// Sorts objects of one kind; those without the value come last, equals keep their order.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a column or a path that the kind does not have.
    pub(super) fn sort(
        &self,
        kind: Kind,
        items: &mut Vec<&Object>,
        ctx: Ctx,
    ) -> Result<(), InvalidRequest> {
        let keys: Vec<Place> = match self {
            Self::Column(title) => by_column(kind, title, items, ctx)?,
            Self::Path { text, path } => by_path(kind, text, path, items)?,
        };
        let mut keyed: Vec<(Place, &Object)> =
            keys.into_iter().zip(std::mem::take(items)).collect();
        keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        items.extend(keyed.into_iter().map(|(_, item)| item));
        Ok(())
    }
}

fn by_column(
    kind: Kind,
    title: &str,
    items: &[&Object],
    ctx: Ctx,
) -> Result<Vec<Place>, InvalidRequest> {
    let titles = columns::titles(kind, Width::Wide);
    let column = titles.iter().position(|t| *t == title);
    let column = column.ok_or_else(|| InvalidRequest::SortColumn {
        given: title.to_ascii_lowercase(),
        columns: titles.join(",").to_ascii_lowercase(),
    })?;
    let place = |item: &&Object| {
        if title == "AGE" {
            let born = item.meta().creation_timestamp;
            return born.map_or(Place::Last, |t| Place::Number(-(t.as_second() as f64)));
        }
        let cells = columns::cells(item, Width::Wide, ctx);
        let text = cells.get(column).map_or("", |cell| cell.text.as_str());
        match text {
            NONE | UNSET | PENDING | UNKNOWN => Place::Last,
            text => Place::of_text(text),
        }
    };
    Ok(items.iter().map(place).collect())
}

fn by_path(
    kind: Kind,
    text: &str,
    path: &Path,
    items: &[&Object],
) -> Result<Vec<Place>, InvalidRequest> {
    let places: Vec<Place> = items
        .iter()
        .map(|item| {
            path.find(&value::of(item))
                .first()
                .map_or(Place::Last, |v| Place::of(v))
        })
        .collect();
    let known = match path.names() {
        Some(names) => fields::exists(kind, &names),
        None => items.is_empty() || places.iter().any(|p| *p != Place::Last),
    };
    if known {
        return Ok(places);
    }
    Err(InvalidRequest::SortPath {
        path: text.to_owned(),
    })
}

/// Where a value stands in the order. The order is total, whatever values are mixed.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    Number(f64),
    Address(IpAddr),
    Text(String),
    Last,
}

impl Place {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Last,
            Value::Number(n) => Self::Number(n.as_f64().unwrap_or(0.0)),
            Value::String(text) => Self::of_text(text),
            other => Self::Text(other.to_string()),
        }
    }

    /// Numbers and sizes are compared as such (`9` before `10`, `512Mi` before `1Gi`), addresses too.
    fn of_text(text: &str) -> Self {
        if let Ok(address) = text.parse() {
            return Self::Address(address);
        }
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            if let Ok(number) = text.parse() {
                return Self::Number(number);
            }
            if let Ok(size) = text.parse::<Quantity>() {
                return Self::Number(size.bytes() as f64);
            }
        }
        Self::Text(text.to_owned())
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Number(_) => 0,
            Self::Address(_) => 1,
            Self::Text(_) => 2,
            Self::Last => 3,
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Address(a), Self::Address(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Instance, Timestamp};
    use crate::output::columns::samples;

    fn three() -> [Object; 3] {
        let make = |name: &str, memory: &str, address: Option<&str>, born: i64| -> Object {
            let mut o: Instance = samples::instance(name);
            o.metadata.creation_timestamp = Some(Timestamp::from_second(born));
            let status = o.status.as_mut().unwrap();
            status.memory = Some(memory.parse().unwrap());
            status.address = address.map(|a| a.parse().unwrap());
            status.addresses.clear();
            o.into()
        };
        [
            make("a", "1Gi", Some("10.0.0.10"), 300),
            make("b", "512Mi", None, 100),
            make("c", "10Gi", Some("10.0.0.9"), 200),
        ]
    }

    fn sorted(key: &str) -> String {
        let objects = three();
        let mut items: Vec<&Object> = objects.iter().collect();
        SortKey::parse(key)
            .unwrap()
            .sort(Kind::Instance, &mut items, samples::ctx())
            .unwrap_or_else(|e| panic!("{e}"));
        items
            .iter()
            .filter_map(|i| i.key())
            .map(|k| k.name.to_string())
            .collect()
    }

    #[test]
    fn values_are_compared_as_what_they_are() {
        assert_eq!(sorted("memory"), "bac");
        assert_eq!(sorted(".status.memory"), "bac");
        assert_eq!(sorted("status.address"), "cab");
        assert_eq!(sorted("ADDRESS"), "cab");
        assert_eq!(sorted("age"), "acb");
        assert_eq!(sorted("{.metadata.creationTimestamp}"), "bca");
        assert_eq!(sorted("name"), "abc");
        assert_eq!(sorted(".metadata.labels.app"), "abc");
    }

    #[test]
    fn what_the_kind_does_not_have_is_refused_and_what_is_empty_is_not() {
        let refuse = |key: &str, objects: &[Object]| {
            let mut items: Vec<&Object> = objects.iter().collect();
            SortKey::parse(key)
                .unwrap()
                .sort(Kind::Instance, &mut items, samples::ctx())
                .unwrap_err()
        };
        assert_eq!(
            refuse(".spec.zz", &three()).to_string(),
            "couldn't find any field with path \".spec.zz\" in the list of objects"
        );
        assert!(matches!(
            refuse(".spec.zz", &[]),
            InvalidRequest::SortPath { .. }
        ));
        assert!(matches!(
            refuse("{.spec.ports[7]}", &three()),
            InvalidRequest::SortPath { .. }
        ));
        assert_eq!(
            refuse("colour", &three()).to_string(),
            "no column \"colour\" to sort by; columns are: name,status,ready,address,image,type,age,\
             cpus,memory,disk,accel,network,uid"
        );
        assert_eq!(sorted(".metadata.deletionTimestamp"), "abc");
    }
}
