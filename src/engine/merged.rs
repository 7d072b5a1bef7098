//! The three-way merge of objects that live in the store: what was applied last, what is wanted now,
//! what is there.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::manifest;
use crate::store::{Annotations, Labels};

/// The parts of an object that a manifest governs.
pub(super) type Parts<'p, S> = (&'p Labels, &'p Annotations, &'p S);

/// Merges what is wanted into what is there.
///
/// # Errors
/// When the merged parts are no spec.
pub(super) fn merged<S: Serialize + DeserializeOwned>(
    last: Option<Parts<'_, S>>,
    new: Parts<'_, S>,
    live: Parts<'_, S>,
) -> Result<(Labels, Annotations, S)> {
    let last = last.map_or(Ok(Value::Null), tree)?;
    let merged = manifest::merge(&last, &tree(new)?, &tree(live)?).result;
    let part = |name: &str| merged.get(name).cloned().unwrap_or(json!({}));
    let odd = |e: serde_json::Error| Error::failed("the merged spec is invalid").caused_by(e);
    Ok((
        serde_json::from_value(part("labels")).map_err(odd)?,
        serde_json::from_value(part("annotations")).map_err(odd)?,
        serde_json::from_value(part("spec")).map_err(odd)?,
    ))
}

fn tree<S: Serialize>((labels, annotations, spec): Parts<'_, S>) -> Result<Value> {
    let value = |v: serde_json::Result<Value>| {
        v.map_err(|e| Error::failed("cannot write the spec").caused_by(e))
    };
    Ok(json!({
        "labels": value(serde_json::to_value(labels))?,
        "annotations": value(serde_json::to_value(annotations))?,
        "spec": value(serde_json::to_value(spec))?,
    }))
}
