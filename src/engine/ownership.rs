//! `adopt` and `forget` for the kinds that others can have made.

use super::{instances, networks};
use crate::api::{Kind, ObjectKey};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::Outcome;

/// Makes what was made by hand ours.
///
/// # Errors
/// `NotFound`; usage for a kind that only kvmctl makes; what libvirt refuses.
pub fn adopt(world: &World, key: &ObjectKey) -> Result<Outcome> {
    match key.kind {
        Kind::Instance => instances::adopt(world, key),
        Kind::Network => networks::adopt(world, key),
        _ => Err(neither(key)),
    }
}

/// Leaves what is ours alone from now on.
///
/// # Errors
/// As [`adopt`]; a conflict where it is not ours.
pub fn forget(world: &World, key: &ObjectKey) -> Result<Outcome> {
    match key.kind {
        Kind::Instance => instances::forget(world, key),
        Kind::Network => networks::forget(world, key),
        _ => Err(neither(key)),
    }
}

fn neither(key: &ObjectKey) -> Error {
    Error::usage(format!(
        "{key} cannot be adopted or forgotten: only instances and networks can"
    ))
}
