//! What `diff`, `edit` and `patch` see of an instance.

use super::apply::{Existing, existing};
use super::desired;
use super::masks::{learn, unmask};
use super::metadata;
use crate::api::{Instance, Kind, Object, ObjectKey};
use crate::error::{Error, Result};
use crate::manifest;
use crate::observe::World;

/// The two sides of a diff, as YAML, secrets masked.
#[derive(Debug, Clone)]
pub struct Sides {
    /// What is compared.
    pub name: String,
    /// As it is.
    pub live: String,
    /// As it would be.
    pub wanted: String,
}

/// Works out what applying an instance would change.
///
/// # Errors
/// What libvirt or the store refuses.
pub(crate) fn sides(world: &World, instance: &Instance) -> Result<Sides> {
    let name = instance
        .metadata
        .name
        .clone()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    let key = ObjectKey::new(Kind::Instance, name);
    let text = |instance: &Instance| {
        let mut shown = instance.clone();
        shown.spec = manifest::printable(shown.spec);
        manifest::to_manifest_yaml(&Object::from(shown))
    };
    match existing(world, &key)? {
        Existing::Whole(record, _) => {
            let mut wanted = instance.clone();
            unmask(&mut wanted.spec, Some(&record.spec))?;
            let record = learn(&record, &wanted.spec).unwrap_or(*record);
            let merged = desired::merged(&record, &wanted)?;
            let mut after = super::instance_of(&record, &key.name);
            after.spec = merged.spec;
            after.metadata.labels = merged.labels;
            after.metadata.annotations = merged.annotations;
            Ok(Sides {
                name: key.to_string(),
                live: text(&super::instance_of(&record, &key.name)),
                wanted: text(&after),
            })
        }
        _ => Ok(Sides {
            name: key.to_string(),
            live: String::new(),
            wanted: text(instance),
        }),
    }
}

/// Returns an instance as a manifest: what `patch` and `edit` begin with.
///
/// # Errors
/// `NotFound`, or a conflict where it is not ours.
pub(crate) fn manifest_of(world: &World, key: &ObjectKey) -> Result<Instance> {
    let domain = super::lifecycle::find(world, key)?;
    metadata::owned(&domain, key)?;
    let record = super::record_of(world, &domain)?;
    let mut instance = super::instance_of(&record, &key.name);
    // By its identity a manifest without an image is known to be of one that was adopted.
    instance.metadata.uid = record.adopted.then_some(record.uid);
    Ok(instance)
}
