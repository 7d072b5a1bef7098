//! The names of the networks that are ours.

use super::Rebuilt;
use crate::error::Result;
use crate::observe::{Depth, Scope, World};

/// A network's definition says everything of it; the store has only its name, for completion. The
/// addresses in it come back with the instances that have them.
pub(super) fn rebuild(world: &World, rebuilt: &mut Rebuilt) -> Result<()> {
    let store = world.store()?;
    let known = store.load_index().networks;
    let found = world.networks(Scope::Managed, Depth::Listing)?;
    let named = found
        .iter()
        .filter_map(|n| Some((n.metadata.uid?, n.metadata.name.as_ref()?)));
    let new = named.filter(|(uid, _)| !known.contains_key(uid));
    rebuilt
        .networks
        .extend(new.map(|(_, name)| name.to_string()));
    Ok(())
}
