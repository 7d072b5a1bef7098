//! Instance types: what applying one does.

use super::settle::{kept_meta, key_of, settle};
use crate::api::{InstanceType, Kind};
use crate::engine::governed::last_applied;
use crate::engine::options::{Applied, ApplyOptions};
use crate::error::Result;
use crate::observe::World;
use crate::plan::{self, Step};
use crate::store::{STORE_WAIT, TypeRecord};

/// Writes a type into the store.
pub(super) fn apply_type(
    world: &World,
    wanted: &InstanceType,
    options: &ApplyOptions,
) -> Result<Applied> {
    let key = key_of(Kind::InstanceType, &wanted.metadata)?;
    let old = world
        .store_for_reading()?
        .types()?
        .into_iter()
        .find(|t| t.metadata.name.as_ref() == Some(&key.name));
    let mut new = wanted.clone();
    let (live, last) = (
        old.as_ref().map(|o| &o.metadata),
        last_applied(world, &key)?,
    );
    let (metadata, applied) = kept_meta(options.mode, &wanted.metadata, live, &last);
    new.metadata = metadata;
    let record = TypeRecord::new(new.clone())?.applied(applied);
    let same = old.as_ref().is_some_and(|o| *o == new);
    let step = Step::InstanceType(plan::instance_type::Step::Write(Box::new(new)));
    settle(world, key, old.is_some(), same, step, options, || {
        let store = world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        Ok(store.put(&record)?)
    })
}
