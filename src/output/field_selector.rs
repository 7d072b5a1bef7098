//! `--field-selector status.phase=Running,metadata.name!=web`.

use serde_json::Value;

use super::error::InvalidRequest;
use super::value;
use crate::api::{Kind, Object};

/// A condition on a few fields: all its parts hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    field: String,
    wanted: String,
    equal: bool,
}

/// Returns the fields that objects of a kind are selected by.
pub const fn supported_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Instance => &[
            "metadata.name",
            "metadata.uid",
            "spec.image",
            "spec.type",
            "status.accelerator",
            "status.address",
            "status.managed",
            "status.phase",
        ],
        Kind::Image => &["metadata.name", "status.cached", "status.format"],
        Kind::Network => &[
            "metadata.name",
            "metadata.uid",
            "status.bridge",
            "status.cidr",
            "status.managed",
            "status.mode",
            "status.phase",
        ],
        Kind::Volume => &[
            "metadata.name",
            "metadata.uid",
            "spec.format",
            "status.managed",
            "status.phase",
            "status.pool",
        ],
        Kind::Snapshot => &[
            "metadata.name",
            "metadata.uid",
            "spec.instance",
            "spec.volume",
            "status.consistency",
            "status.phase",
        ],
        Kind::InstanceType | Kind::Secret => &["metadata.name"],
        Kind::PortForward => &[
            "metadata.name",
            "metadata.uid",
            "spec.hostPort",
            "spec.instance",
            "status.phase",
        ],
        Kind::LoadBalancer => &[
            "metadata.name",
            "metadata.uid",
            "spec.port",
            "spec.protocol",
            "status.phase",
        ],
    }
}

impl FieldSelector {
    /// Parses `FIELD=VALUE,FIELD==VALUE,FIELD!=VALUE`; a backslash takes `,`, `=` or `\` as it is. An
    /// empty text selects everything.
    ///
    /// # Errors
    /// [`InvalidRequest::FieldSelector`] for a part that is no comparison.
    pub fn parse(text: &str) -> Result<Self, InvalidRequest> {
        let parts = split(text, ',').into_iter().filter(|p| !p.is_empty());
        let parts = parts.map(|part| parse_part(part.trim(), text));
        Ok(Self {
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// Checks that objects of `kind` can be selected by every field named.
    ///
    /// # Errors
    /// [`InvalidRequest::UnsupportedField`], which names those that are supported.
    pub fn check(&self, kind: Kind) -> Result<(), InvalidRequest> {
        let supported = supported_fields(kind);
        let unknown = self
            .parts
            .iter()
            .find(|p| !supported.contains(&p.field.as_str()));
        unknown.map_or(Ok(()), |part| {
            Err(InvalidRequest::UnsupportedField {
                kind,
                field: part.field.clone(),
                supported: supported.to_vec(),
            })
        })
    }

    /// Returns whether an object meets every part. A field that is absent is the empty text.
    pub fn matches(&self, object: &Object) -> bool {
        self.parts.is_empty() || self.matches_value(&value::of(object))
    }

    fn matches_value(&self, object: &Value) -> bool {
        self.parts.iter().all(|part| {
            let found = part
                .field
                .split('.')
                .try_fold(object, |v, name| v.get(name));
            let text = match found {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            (text == part.wanted) == part.equal
        })
    }
}

fn parse_part(part: &str, whole: &str) -> Result<Part, InvalidRequest> {
    let invalid = |what: &str| InvalidRequest::FieldSelector {
        text: whole.to_owned(),
        what: what.to_owned(),
    };
    let sign = part
        .find('=')
        .ok_or_else(|| invalid("write FIELD=VALUE or FIELD!=VALUE"))?;
    let (left, right) = (&part[..sign], &part[sign + 1..]);
    let (field, equal) = match left.strip_suffix('!') {
        Some(field) => (field, false),
        None => (left, true),
    };
    let wanted = if equal {
        right.strip_prefix('=').unwrap_or(right)
    } else {
        right
    };
    if field.trim().is_empty() {
        return Err(invalid("a field is missing before '='"));
    }
    if split(wanted, '=').len() > 1 {
        return Err(invalid("an '=' in a value is written '\\='"));
    }
    Ok(Part {
        field: field.trim().to_owned(),
        wanted: unescape(wanted.trim()),
        equal,
    })
}

/// Splits at `separator` where no backslash stands before it.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        if !escaped && c == separator {
            parts.push(&text[from..i]);
            from = i + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[from..]);
    parts
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' {
            chars.next().unwrap_or(c)
        } else {
            c
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::output::columns::samples;

    #[test]
    fn fields_are_compared_as_text() {
        let web: Object = samples::instance("web").into();
        for (selector, holds) in [
            ("", true),
            ("status.phase=Running", true),
            ("status.phase==Running", true),
            ("status.phase!=Running", false),
            ("status.phase=Running,metadata.name!=web", false),
            ("metadata.name!=db, spec.type=t2.micro", true),
            ("status.managed=true", true),
            ("spec.image=", false),
            ("spec.image!=", true),
            ("spec.image=debian\\-12", true),
        ] {
            let parsed = FieldSelector::parse(selector).unwrap();
            parsed.check(Kind::Instance).unwrap();
            assert_eq!(parsed.matches(&web), holds, "{selector:?}");
        }
        let bare: Object = samples::bare_instance("new").into();
        assert!(
            FieldSelector::parse("status.phase=")
                .unwrap()
                .matches(&bare)
        );
    }

    #[test]
    fn every_supported_field_is_one_of_the_kind() {
        for row in crate::api::KINDS {
            for field in supported_fields(row.kind) {
                let names: Vec<&str> = field.split('.').collect();
                assert!(crate::output::fields::exists(row.kind, &names), "{field}");
            }
        }
    }

    #[test]
    fn an_unsupported_field_names_those_there_are() {
        let selector = FieldSelector::parse("spec.nope=1").unwrap();
        assert_eq!(
            selector.check(Kind::Image).unwrap_err().to_string(),
            "field label not supported for image: \"spec.nope\"; supported are: metadata.name, \
             status.cached, status.format"
        );
        for bad in ["a", "=b", "!=b", "a=b=c", "a=b,c", " = "] {
            assert!(FieldSelector::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_value_is_found_as_it_is(wanted in "[a-z=,\\\\!]{0,8}") {
            let escaped: String = wanted.chars().flat_map(|c| ['\\', c]).collect();
            let selector = FieldSelector::parse(&format!("x={escaped}"));
            let selector = selector.map_err(|e| TestCaseError::fail(e.to_string()))?;
            let object = serde_json::json!({"x": wanted});
            prop_assert!(selector.matches_value(&object));
        }
    }
}
