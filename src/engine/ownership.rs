//! `adopt` and `forget` for the kinds that others can have made.

use super::{instances, networks};
use crate::api::{Kind, ObjectKey, Reporter};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::Outcome;

/// Makes what was made by hand ours.
///
/// # Errors
/// `NotFound`; usage for a kind that only kvmctl makes; what libvirt refuses.
pub fn adopt(world: &World, key: &ObjectKey, reporter: &dyn Reporter) -> Result<Outcome> {
    let outcome = match key.kind {
        Kind::Instance => instances::adopt(world, key),
        Kind::Network => networks::adopt(world, key),
        _ => Err(neither(key)),
    }?;
    followed(world, outcome, reporter)
}

/// Leaves what is ours alone from now on.
///
/// # Errors
/// As [`adopt`]; a conflict where it is not ours.
pub fn forget(world: &World, key: &ObjectKey, reporter: &dyn Reporter) -> Result<Outcome> {
    let outcome = match key.kind {
        Kind::Instance => instances::forget(world, key),
        Kind::Network => networks::forget(world, key),
        _ => Err(neither(key)),
    }?;
    followed(world, outcome, reporter)
}

/// What is ours is what balancers and forwards lead to: they follow.
fn followed(world: &World, outcome: Outcome, reporter: &dyn Reporter) -> Result<Outcome> {
    if outcome.changed() {
        super::tidy(world, reporter);
    }
    Ok(outcome)
}

fn neither(key: &ObjectKey) -> Error {
    Error::usage(format!(
        "{key} cannot be adopted or forgotten: only instances and networks can"
    ))
}
