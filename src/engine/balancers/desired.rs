//! What a load balancer should become: three sides merged.

use super::key_of;
use super::one::applied_of;
use crate::api::{API_VERSION, LoadBalancer, LoadBalancerSpec, Object, ObjectMeta};
use crate::engine::desired::{Desired, Governed};
use crate::engine::instances::Sides;
use crate::engine::options::ApplyMode;
use crate::error::Result;
use crate::manifest;
use crate::observe::World;
use crate::store::{Annotations, AppliedBalancer, BalancerRecord, Labels};

/// Works out what a balancer should become.
pub(super) fn desired(
    before: &BalancerRecord,
    wanted: &LoadBalancer,
    mode: ApplyMode,
) -> Result<BalancerRecord> {
    let meta = &wanted.metadata;
    let live = || Governed::new(&before.labels, &before.annotations, &before.spec);
    let last = before.last_applied.as_ref();
    let desired = Desired::by(
        mode,
        last.map(|l| Governed::new(&l.labels, &l.annotations, &l.spec)),
        Governed::new(&meta.labels, &meta.annotations, &wanted.spec),
        live(),
    )?;
    let same = desired.is(live());
    let applied = AppliedBalancer {
        labels: meta.labels.clone(),
        annotations: meta.annotations.clone(),
        spec: wanted.spec.clone(),
    };
    Ok(BalancerRecord {
        generation: before.generation + u64::from(desired.spec != before.spec),
        last_applied: match same {
            true => before.last_applied.clone(),
            false => Some(applied),
        },
        labels: desired.labels,
        annotations: desired.annotations,
        spec: desired.spec,
        ..before.clone()
    })
}

/// Gives a balancer another spec, as a verb of its own does.
pub(super) fn with_spec(before: &BalancerRecord, spec: LoadBalancerSpec) -> BalancerRecord {
    let mut record = BalancerRecord {
        generation: before.generation + u64::from(spec != before.spec),
        spec,
        ..before.clone()
    };
    if record.spec != before.spec {
        record.last_applied = Some(applied_of(&record));
    }
    record
}

/// Works out what applying a balancer would change.
///
/// # Errors
/// What the store refuses.
pub(in crate::engine) fn sides(world: &World, wanted: &LoadBalancer) -> Result<Sides> {
    let key = key_of(wanted)?;
    let bare = |labels: &Labels, annotations: &Annotations, spec: &LoadBalancerSpec| {
        manifest::to_manifest_yaml(&Object::from(LoadBalancer {
            api_version: API_VERSION.to_owned(),
            kind: "LoadBalancer".to_owned(),
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
    let (live, wanted) = match world.store_for_reading()?.balancer_named(&key.name)? {
        Some(before) => {
            let after = desired(&before, wanted, ApplyMode::Apply)?;
            (
                bare(&before.labels, &before.annotations, &before.spec),
                bare(&after.labels, &after.annotations, &after.spec),
            )
        }
        None => {
            let as_given = bare(&meta.labels, &meta.annotations, &wanted.spec);
            (String::new(), as_given)
        }
    };
    let name = key.to_string();
    Ok(Sides { name, live, wanted })
}
