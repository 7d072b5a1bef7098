//! An instance becomes what it was when a snapshot of it was taken with its memory.

use super::{OBJECT_WAIT, memory, note};
use crate::api::{Kind, Name, ObjectKey, Reporter};
use crate::error::{Error, Result};
use crate::observe::World;

/// Reverts an instance; what it is now is lost. Returns what a person should know.
///
/// # Errors
/// `NotFound`; usage for a snapshot of something else or without memory; a conflict for what has
/// changed since.
pub fn revert(
    world: &World,
    instance: &ObjectKey,
    to: &Name,
    reporter: &dyn Reporter,
) -> Result<Vec<String>> {
    let key = ObjectKey::new(Kind::Snapshot, to.clone());
    let store = world.store()?;
    let _snapshot = store.lock_object(key.kind, key.name.as_str(), OBJECT_WAIT)?;
    let _instance = store.lock_object(Kind::Instance, instance.name.as_str(), OBJECT_WAIT)?;
    let record = super::whole(world, &key)?;
    let same = record.source.kind == instance.kind && record.source.name == instance.name;
    if !same {
        return Err(Error::usage(format!(
            "{key} was taken of {}, not of {instance}",
            record.source
        )));
    }
    let domain = match (record.spec.memory, record.domain) {
        (Some(true), Some(domain)) => domain,
        _ => {
            return Err(Error::usage(format!("{key} was taken without memory"))
                .hint(format!("kvmctl snapshots restore {to} --stop")));
        }
    };
    let notes = memory::revert(world, &key, domain, &record.name_in_libvirt(), reporter)?;
    note(
        world,
        &record,
        "Reverted",
        &format!("{instance} became what it was then"),
    );
    Ok(notes)
}
