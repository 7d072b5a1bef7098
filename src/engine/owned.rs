//! Secrets that were made along with an instance (`--secret-env-file`): they are written again when
//! the instance is made again, and go with it.

use std::sync::{Mutex, MutexGuard};

use super::options::{ApplyMode, ApplyOptions};
use crate::api::{Kind, ObjectKey, ObjectMeta};
use crate::error::Result;
use crate::observe::World;

/// Returns how a secret is to be written: one that is left over from an earlier try at the same
/// instance does not hinder the next.
pub(super) fn options(
    world: &World,
    wanted: &ObjectMeta,
    old: Option<&ObjectMeta>,
    options: &ApplyOptions,
) -> Result<ApplyOptions> {
    let mut options = options.clone();
    let same_owner =
        old.is_some_and(|o| o.made_for().is_some() && o.made_for() == wanted.made_for());
    if same_owner && !exists(world, wanted.made_for().unwrap_or_default())? {
        options.mode = ApplyMode::Apply;
    }
    Ok(options)
}

fn exists(world: &World, owner: &str) -> Result<bool> {
    let name = owner.split_once('/').map_or(owner, |(_, name)| name);
    match world.host()?.domain(name) {
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Returns the secrets that were made for an object.
pub(super) fn secrets_of(world: &World, owner: &ObjectKey) -> Result<Vec<ObjectKey>> {
    if owner.kind != Kind::Instance {
        return Ok(Vec::new());
    }
    let owner = owner.to_string();
    let secrets = world.secrets()?.into_iter();
    let theirs = secrets.filter(|s| s.metadata.made_for() == Some(owner.as_str()));
    let names = theirs.filter_map(|s| s.metadata.name);
    Ok(names
        .map(|name| ObjectKey::new(Kind::Secret, name))
        .collect())
}

/// Locks a list; one that a panic left behind is still a list.
pub(super) fn lock(list: &Mutex<Vec<ObjectKey>>) -> MutexGuard<'_, Vec<ObjectKey>> {
    list.lock().unwrap_or_else(|e| e.into_inner())
}
