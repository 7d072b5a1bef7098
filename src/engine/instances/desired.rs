//! What an instance should become, of what was applied, what is wanted and what is there.

use serde_json::{Value, json};

use crate::api::{Instance, InstanceSpec};
use crate::error::{Error, Result};
use crate::manifest;
use crate::store::InstanceRecord;

/// What an instance should become.
pub(super) struct Desired {
    pub(super) spec: InstanceSpec,
    pub(super) labels: crate::store::Labels,
    pub(super) annotations: crate::store::Annotations,
    kept: Vec<String>,
}

impl Desired {
    /// Wants what is given, and nothing else.
    pub(super) fn whole(wanted: &Instance) -> Self {
        Self {
            spec: wanted.spec.clone(),
            labels: wanted.metadata.labels.clone(),
            annotations: wanted.metadata.annotations.clone(),
            kept: Vec::new(),
        }
    }

    /// Merges three ways: what was applied last, what is wanted now, what is there.
    pub(super) fn merged(record: &InstanceRecord, wanted: &Instance) -> Result<Self> {
        let last = match &record.last_applied {
            Some(last) => tree(&last.labels, &last.annotations, &last.spec)?,
            None => Value::Null,
        };
        let new = tree(
            &wanted.metadata.labels,
            &wanted.metadata.annotations,
            &wanted.spec,
        )?;
        let live = tree(&record.labels, &record.annotations, &record.spec)?;
        let merged = manifest::merge(&last, &new, &live);
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

fn tree(
    labels: &crate::store::Labels,
    annotations: &crate::store::Annotations,
    spec: &InstanceSpec,
) -> Result<Value> {
    let value = |v: serde_json::Result<Value>| {
        v.map_err(|e| Error::failed("cannot write the spec").caused_by(e))
    };
    Ok(json!({
        "labels": value(serde_json::to_value(labels))?,
        "annotations": value(serde_json::to_value(annotations))?,
        "spec": value(serde_json::to_value(spec))?,
    }))
}
