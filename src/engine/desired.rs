//! What an object should become, of what was applied, what is wanted and what is there.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::options::ApplyMode;
use crate::error::{Error, Result};
use crate::manifest;
use crate::store::{Annotations, Labels};

/// What a manifest governs of an object.
#[derive(Debug)]
pub(super) struct Governed<'a, S> {
    pub(super) labels: &'a Labels,
    pub(super) annotations: &'a Annotations,
    pub(super) spec: &'a S,
}

impl<'a, S> Governed<'a, S> {
    /// Puts the parts together.
    pub(super) const fn new(labels: &'a Labels, annotations: &'a Annotations, spec: &'a S) -> Self {
        Self {
            labels,
            annotations,
            spec,
        }
    }
}

/// What an object should become.
#[derive(Debug)]
pub(super) struct Desired<S> {
    pub(super) spec: S,
    pub(super) labels: Labels,
    pub(super) annotations: Annotations,
    kept: Vec<String>,
}

impl<S: Clone + Serialize + DeserializeOwned> Desired<S> {
    /// Wants what is given, and nothing else.
    pub(super) fn whole(wanted: Governed<'_, S>) -> Self {
        Self {
            spec: wanted.spec.clone(),
            labels: wanted.labels.clone(),
            annotations: wanted.annotations.clone(),
            kept: Vec::new(),
        }
    }

    /// Works out what an object should become in one of the ways of changing it.
    ///
    /// # Errors
    /// As [`Self::merged`].
    pub(super) fn by(
        mode: ApplyMode,
        last: Option<Governed<'_, S>>,
        wanted: Governed<'_, S>,
        live: Governed<'_, S>,
    ) -> Result<Self> {
        match mode {
            ApplyMode::Replace => Ok(Self::whole(wanted)),
            ApplyMode::Apply | ApplyMode::Create => Self::merged(last, wanted, live),
        }
    }

    /// Merges three ways: what was applied last, what is wanted now, what is there.
    ///
    /// # Errors
    /// If something of it cannot be written as JSON, or comes out as no spec.
    pub(super) fn merged(
        last: Option<Governed<'_, S>>,
        wanted: Governed<'_, S>,
        live: Governed<'_, S>,
    ) -> Result<Self> {
        let last = last.map_or(Ok(Value::Null), tree)?;
        let merged = manifest::merge(&last, &tree(wanted)?, &tree(live)?);
        let part = |name: &str| merged.result.get(name).cloned().unwrap_or(json!({}));
        let odd = |e: serde_json::Error| Error::failed("the merged spec is invalid").caused_by(e);
        Ok(Self {
            spec: serde_json::from_value(part("spec")).map_err(odd)?,
            labels: serde_json::from_value(part("labels")).map_err(odd)?,
            annotations: serde_json::from_value(part("annotations")).map_err(odd)?,
            kept: merged
                .unmanaged_kept
                .iter()
                .map(ToString::to_string)
                .collect(),
        })
    }

    /// Returns whether it is what is there.
    pub(super) fn is(&self, live: Governed<'_, S>) -> bool
    where
        S: PartialEq,
    {
        self.spec == *live.spec
            && self.labels == *live.labels
            && self.annotations == *live.annotations
    }

    /// Tells of the fields that no manifest mentions and that stay.
    pub(super) fn kept_note(&self) -> Option<String> {
        if self.kept.is_empty() {
            return None;
        }
        let fields = if self.kept.len() == 1 {
            "field"
        } else {
            "fields"
        };
        Some(format!(
            "{} unmanaged {fields} kept: {} (kvmctl edit sets them)",
            self.kept.len(),
            self.kept.join(", ")
        ))
    }
}

fn tree<S: Serialize>(governed: Governed<'_, S>) -> Result<Value> {
    let value = |v: serde_json::Result<Value>| {
        v.map_err(|e| Error::failed("cannot write the spec").caused_by(e))
    };
    Ok(json!({
        "labels": value(serde_json::to_value(governed.labels))?,
        "annotations": value(serde_json::to_value(governed.annotations))?,
        "spec": value(serde_json::to_value(governed.spec))?,
    }))
}
