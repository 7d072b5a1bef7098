//! Objects that are chosen by what they are and not by name: `--all`, `-l`.

use super::context::Ctx;
use crate::api::{Kind, Object, ObjectKey};
use crate::error::Result;
use crate::observe::{Depth, Scope};
use crate::output;

/// Returns the objects of some kinds that can be changed, all or those that a selector matches.
///
/// # Errors
/// Usage, for a selector that is none; what the daemon or the store refuses.
pub(crate) fn select(ctx: &Ctx, kinds: &[Kind], selector: Option<&str>) -> Result<Vec<ObjectKey>> {
    let filter = output::Filter::parse(selector, None, kinds)?;
    let mut keys = Vec::new();
    for &kind in kinds {
        let objects = ctx.world()?.list(kind, Scope::Managed, Depth::Listing)?;
        keys.extend(
            objects
                .iter()
                // What the catalogue offers and what is built in is not there to be changed.
                .filter(|o| filter.matches(o) && super::get::is_on_the_host(o))
                .filter_map(Object::key),
        );
    }
    Ok(keys)
}
