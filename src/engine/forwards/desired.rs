//! What a forward should become: three ways merged, and both sides of a diff.

use super::one::{key_of, listed};
use crate::api::{API_VERSION, Object, ObjectMeta, PortForward, PortForwardSpec};
use crate::engine::desired::{Desired, Governed};
use crate::engine::instances::Sides;
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
    let last = before.last_applied.as_ref();
    let meta = &wanted.metadata;
    let desired = Desired::by(
        mode,
        last.map(|l| Governed::new(&l.labels, &l.annotations, &l.spec)),
        Governed::new(&meta.labels, &meta.annotations, &wanted.spec),
        Governed::new(&before.labels, &before.annotations, &before.spec),
    )?;
    Ok(ForwardRecord {
        labels: desired.labels,
        annotations: desired.annotations,
        generation: before.generation + u64::from(desired.spec != before.spec),
        spec: desired.spec,
        ..before.clone()
    })
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
