//! Secrets: what applying one does.

use super::settle::{kept_meta, key_of, settle};
use crate::api::{Kind, Secret};
use crate::engine::options::{Applied, ApplyOptions};
use crate::engine::owned;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::{self, Step};
use crate::store::{STORE_WAIT, SecretRecord};

/// Writes a secret into the store.
pub(super) fn apply_secret(
    world: &World,
    wanted: &Secret,
    options: &ApplyOptions,
) -> Result<Applied> {
    let key = key_of(Kind::Secret, &wanted.metadata)?;
    if wanted.data.values().any(|v| v.expose() == "***") {
        return Err(Error::usage(format!(
            "{key}: the values are masked (***), as `get` prints them"
        ))
        .hint("give the values themselves"));
    }
    let old = world
        .store_for_reading()?
        .get::<SecretRecord>(&key.name)?
        .map(SecretRecord::into_object);
    let mut new = wanted.clone();
    new.metadata = kept_meta(&wanted.metadata, old.as_ref().map(|o| &o.metadata));
    let same = old.as_ref().is_some_and(|o| *o == new);
    let step = Step::Secret(plan::secret::Step::Write(Box::new(new.clone())));
    let options = &owned::options(
        world,
        &new.metadata,
        old.as_ref().map(|o| &o.metadata),
        options,
    )?;
    settle(world, key, old.is_some(), same, step, options, || {
        let store = world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        Ok(store.put(&SecretRecord::new(new)?)?)
    })
}
