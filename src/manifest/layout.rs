//! What a document holds, by its `apiVersion` and `kind`: one object, or a List of them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::locate::Spot;
use super::origin::Problem;
use super::path::FieldPath;
use crate::api::{API_VERSION, KINDS, Kind};
use crate::error::did_you_mean;

/// What a document holds, by the look of it.
#[derive(Debug)]
pub(super) struct Layout {
    /// Prefix and kind of each object; no kind where it is unknown.
    pub(super) entries: Vec<(FieldPath, Option<Kind>)>,
    pub(super) is_list: bool,
    pub(super) problems: Vec<Problem>,
}

impl Layout {
    /// Looks at a document; nothing but problems where no object of it can be read.
    pub(super) fn of(tree: &Value) -> Result<Self, Vec<Problem>> {
        let mut layout = Self {
            entries: Vec::new(),
            is_list: false,
            problems: Vec::new(),
        };
        layout.is_list = tree.get("kind").and_then(Value::as_str) == Some("List");
        if !layout.is_list {
            layout.add(tree, FieldPath::root());
        } else if let Some(items) = tree.get("items").and_then(Value::as_array) {
            for (n, item) in items.iter().enumerate() {
                layout.add(item, FieldPath::of("items").index(n));
            }
        } else {
            let items = FieldPath::of("items");
            layout.problems.push(Problem::of_value(
                items,
                "a List has a list of objects here",
            ));
        }
        if layout.kinds().next().is_none() && !layout.problems.is_empty() {
            return Err(layout.problems);
        }
        Ok(layout)
    }

    fn add(&mut self, tree: &Value, prefix: FieldPath) {
        match header(tree) {
            Ok(kind) => self.entries.push((prefix, Some(kind))),
            Err(problems) => {
                let located = problems.into_iter().map(|p| Problem {
                    path: prefix.join(&p.path),
                    ..p
                });
                self.problems.extend(located);
                self.entries.push((prefix, None));
            }
        }
    }

    /// The kinds that are known.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.entries.iter().filter_map(|(_, kind)| *kind)
    }

    /// The observed part of each object, which a manifest's reader ignores.
    pub(super) fn statuses(&self) -> BTreeSet<FieldPath> {
        self.entries
            .iter()
            .map(|(prefix, _)| prefix.key("status"))
            .collect()
    }
}

/// Reads `apiVersion` and `kind`, and reports both when both are wrong.
fn header(tree: &Value) -> Result<Kind, Vec<Problem>> {
    let Value::Object(fields) = tree else {
        let rule = "expected an object with apiVersion, kind, metadata and spec";
        return Err(vec![Problem::of_value(FieldPath::root(), rule)]);
    };
    let text = |name: &str| fields.get(name).filter(|v| !v.is_null());
    let unset: Vec<String> = ["apiVersion", "kind"]
        .into_iter()
        .filter(|name| text(name).is_none())
        .map(|name| format!("{name} not set"))
        .collect();
    let mut problems = Vec::new();
    if !unset.is_empty() {
        problems.push(Problem::of_value(FieldPath::root(), unset.join(", ")));
    }
    if let Some(version) = text("apiVersion").filter(|v| v.as_str() != Some(API_VERSION)) {
        let rule = format!("{version} is not known; this version reads \"{API_VERSION}\"");
        problems.push(Problem::of_value(FieldPath::of("apiVersion"), rule));
    }
    let kind = text("kind").and_then(|value| {
        let known = value.as_str().and_then(Kind::from_manifest);
        if known.is_none() {
            problems.push(unknown_kind(value));
        }
        known
    });
    match kind {
        Some(kind) if problems.is_empty() => Ok(kind),
        _ => Err(problems),
    }
}

fn unknown_kind(value: &Value) -> Problem {
    let word = value.as_str().unwrap_or_default();
    let near = Kind::from_noun(word)
        .map(|kind| kind.info().name)
        .or_else(|| did_you_mean(word, KINDS.iter().map(|row| row.name)));
    let all: Vec<_> = KINDS.iter().map(|row| row.name).collect();
    let help = match near {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("the kinds are {}", all.join(", ")),
    };
    Problem {
        path: FieldPath::of("kind"),
        spot: Spot::Value,
        message: format!("unknown kind {value}"),
        help: Some(help),
    }
}
