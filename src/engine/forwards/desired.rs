//! What a forward should become: three ways merged, and both sides of a diff.

use super::one::{key_of, listed};
use crate::api::{API_VERSION, Object, ObjectMeta, PortForward, PortForwardSpec};
use crate::engine::instances::Sides;
use crate::engine::merged::merged as merge;
use crate::engine::options::ApplyMode;
use crate::error::Result;
use crate::manifest;
use crate::observe::World;
use crate::store::{Annotations, ForwardRecord, Labels};

/// Works out what a forward should become.
pub(super) fn desired(
    before: &ForwardRecord,
    wanted: &PortForward,
    mode: ApplyMode,
) -> Result<ForwardRecord> {
    let (labels, annotations, spec) = match mode {
        ApplyMode::Replace => (
            wanted.metadata.labels.clone(),
            wanted.metadata.annotations.clone(),
            wanted.spec.clone(),
        ),
        _ => merged(before, wanted)?,
    };
    let changed = spec != before.spec;
    Ok(ForwardRecord {
        labels,
        annotations,
        generation: before.generation + u64::from(changed),
        spec,
        ..before.clone()
    })
}

/// Merges three ways: what was applied last, what is wanted now, what is there.
fn merged(
    before: &ForwardRecord,
    wanted: &PortForward,
) -> Result<(Labels, Annotations, PortForwardSpec)> {
    let last = before.last_applied.as_ref();
    let meta = &wanted.metadata;
    merge(
        last.map(|l| (&l.labels, &l.annotations, &l.spec)),
        (&meta.labels, &meta.annotations, &wanted.spec),
        (&before.labels, &before.annotations, &before.spec),
    )
}

/// Works out what applying a forward would change.
///
/// # Errors
/// What libvirt or the store refuses.
pub(in crate::engine) fn sides(world: &World, wanted: &PortForward) -> Result<Sides> {
    let key = key_of(wanted)?;
    let bare = |labels: &Labels, annotations: &Annotations, spec: &PortForwardSpec| {
        manifest::to_manifest_yaml(&Object::from(PortForward {
            api_version: API_VERSION.to_owned(),
            kind: "PortForward".to_owned(),
            metadata: ObjectMeta {
                labels: labels.clone(),
                annotations: annotations.clone(),
                ..ObjectMeta::named(key.name.clone())
            },
            spec: spec.clone(),
            status: None,
        }))
    };
    let meta = &wanted.metadata;
    let as_given = bare(&meta.labels, &meta.annotations, &wanted.spec);
    let (live, wanted) = match world.store_for_reading()?.forward_named(&key.name)? {
        Some(before) => {
            let after = desired(&before, wanted, ApplyMode::Apply)?;
            (
                bare(&before.labels, &before.annotations, &before.spec),
                bare(&after.labels, &after.annotations, &after.spec),
            )
        }
        None => match listed(&world.wanted_forwards()?, &key) {
            Some(listed) => {
                let meta = &listed.metadata;
                (
                    bare(&meta.labels, &meta.annotations, &listed.spec),
                    as_given,
                )
            }
            None => (String::new(), as_given),
        },
    };
    let name = key.to_string();
    Ok(Sides { name, live, wanted })
}
