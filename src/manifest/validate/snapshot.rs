//! The rules of snapshots.

use super::text::control_character;
use crate::api::SnapshotSpec;
use crate::manifest::origin::Problem;
use crate::manifest::path::FieldPath;

const LONGEST: usize = 1024;

pub(super) fn check(spec: &SnapshotSpec, problems: &mut Vec<Problem>) {
    let mut refuse = |field: &str, rule: String| {
        problems.push(Problem::of_value(FieldPath::of(field), rule));
    };
    if spec.source().is_none() {
        refuse("spec", "names one of volume and instance".to_owned());
    }
    if let Some(text) = &spec.description {
        if text.len() > LONGEST {
            let rule = format!("{} bytes, at most {LONGEST}", text.len());
            refuse("spec.description", rule);
        } else if let Some(c) = control_character(text) {
            refuse("spec.description", format!("has the control character {c}"));
        }
    }
    if spec.retain == Some(0) {
        refuse("spec.retain", "must be at least 1".to_owned());
    }
    if spec.memory == Some(true) {
        if spec.instance.is_none() {
            let rule = "goes with instance: a volume has no memory";
            refuse("spec.memory", rule.to_owned());
        }
        if spec.base.is_some() {
            let rule = "goes without base: it stands alone";
            refuse("spec.memory", rule.to_owned());
        }
    }
}
