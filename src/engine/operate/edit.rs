//! What `label`, `annotate`, `edit`, `patch` and `diff` do with objects of all kinds.

use super::apply_one;
use crate::api::{Kind, Object, ObjectKey, ObjectMeta};
use crate::engine::governed::{governed, last_applied};
use crate::engine::instances::{self, Sides};
use crate::engine::networks;
use crate::engine::options::{ApplyMode, ApplyOptions, DryRun};
use crate::engine::{balancers, forwards};
use crate::error::{Error, Result};
use crate::manifest;
use crate::observe::{StoredImage, World};
use crate::plan::Outcome;

/// Changes labels and annotations of an object of any kind.
///
/// # Errors
/// `NotFound`, and what the change itself refuses.
pub fn change_meta(
    world: &World,
    key: &ObjectKey,
    dry_run: DryRun,
    mut change: impl FnMut(&mut ObjectMeta) -> Result<()>,
) -> Result<Outcome> {
    if key.kind == Kind::Instance {
        let outcome = instances::change_meta(world, &key.name, dry_run, &mut change)?;
        if dry_run == DryRun::None && outcome.changed() {
            // Its labels may be those that a balancer selects by.
            balancers::tidy(world, &crate::api::Silent);
        }
        return Ok(outcome);
    }
    if key.kind == Kind::Network {
        return networks::change_meta(world, &key.name, &mut change);
    }
    let mut object = world.get(key)?;
    change(object.meta_mut())?;
    if key.kind == Kind::InstanceType && crate::store::is_built_in(&key.name) {
        return Err(Error::conflict(format!(
            "{key} is built in and cannot be changed"
        )));
    }
    let options = ApplyOptions {
        mode: ApplyMode::Replace,
        dry_run,
        wait: None,
        error_unchanged: false,
    };
    if key.kind == Kind::Image
        && world
            .store_for_reading()?
            .get::<StoredImage>(&key.name)?
            .is_none()
    {
        return Err(Error::conflict(format!("{key} is not in the pool"))
            .hint(format!("kvmctl images pull {}", key.name)));
    }
    Ok(apply_one(world, &object, &options, &crate::api::Silent)?.outcome)
}

/// Returns an object as a manifest: what `patch` and `edit` begin with.
///
/// # Errors
/// `NotFound`.
pub fn manifest_of(world: &World, key: &ObjectKey) -> Result<serde_json::Value> {
    let object = editable(world, key)?;
    serde_json::to_value(&object).map_err(|e| Error::failed("cannot write the object").caused_by(e))
}

/// Returns an object as it was asked for, nothing masked: for a file of the caller's alone.
///
/// # Errors
/// `NotFound`, or a conflict where it is not ours.
pub fn editable(world: &World, key: &ObjectKey) -> Result<Object> {
    match key.kind {
        Kind::Instance => Ok(instances::manifest_of(world, key)?.into()),
        Kind::Network => Ok(networks::manifest_of(world, key)?.into()),
        _ => world.get(key),
    }
}

/// The two sides of a diff.
///
/// # Errors
/// What libvirt or the store refuses.
pub fn sides(world: &World, object: &Object) -> Result<Sides> {
    if let Object::Instance(instance) = object {
        return instances::sides(world, instance);
    }
    if let Object::PortForward(forward) = object {
        return forwards::sides(world, forward);
    }
    if let Object::LoadBalancer(balancer) = object {
        return balancers::sides(world, balancer);
    }
    if let Object::Network(network) = object {
        return networks::sides(world, network);
    }
    let key = object
        .key()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    let live = match world.get(&key) {
        Ok(live) => Some(live),
        Err(e) if e.kind() == crate::error::Kind::NotFound => None,
        Err(e) => return Err(e),
    };
    let (live, wanted) = match (live, object) {
        (Some(Object::Secret(live)), Object::Secret(wanted)) => {
            let (live, wanted) = super::secret::shown(Some(&live), wanted);
            (live.map(Object::from), wanted.into())
        }
        (None, Object::Secret(wanted)) => (None, super::secret::shown(None, wanted).1.into()),
        (live, wanted) => (live, wanted.clone()),
    };
    let mut wanted = wanted;
    if let Some(live) = &live {
        let there = (&live.meta().labels, &live.meta().annotations);
        let last = last_applied(world, &key)?;
        let becomes = governed(ApplyMode::Apply, wanted.meta(), there, &last);
        let meta = wanted.meta_mut();
        (meta.labels, meta.annotations) = (becomes.labels, becomes.annotations);
    }
    let text = |object: Object| manifest::to_manifest_yaml(&bare(object));
    Ok(Sides {
        name: key.to_string(),
        live: live.map(text).unwrap_or_default(),
        wanted: text(wanted),
    })
}

/// Without what kvmctl sets itself.
fn bare(mut object: Object) -> Object {
    let meta = object.meta_mut();
    meta.uid = None;
    meta.creation_timestamp = None;
    meta.generation = None;
    match &mut object {
        Object::Image(image) => image.status = None,
        Object::Volume(volume) => volume.status = None,
        Object::Snapshot(snapshot) => snapshot.status = None,
        _ => {}
    }
    object
}
