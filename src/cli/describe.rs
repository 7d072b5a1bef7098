//! `describe`: everything about an object, related things and events at the end.

use clap::Args;

use super::args::SelectArgs;
use super::context::Ctx;
use super::get::looked_again;
use super::targets::Targets;
use crate::api::{Kind, Object, ObjectKey};
use crate::error::Result;
use crate::observe::{Depth, Scope};
use crate::output;

/// What to describe.
#[derive(Debug, Clone, Args)]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    select: SelectArgs,
}

/// Describes objects.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: DescribeArgs) -> Result<()> {
    ctx.has_one_form()?;
    let keys = match Targets::parse(noun, &args.select.targets, "describe")? {
        Targets::Named(keys) => keys,
        Targets::Kinds(kinds) => {
            let filter = output::Filter::parse(args.select.selector.as_deref(), None, &kinds)?;
            let mut keys: Vec<ObjectKey> = Vec::new();
            for kind in kinds {
                let objects = ctx.world()?.list(kind, Scope::Managed, Depth::Listing)?;
                keys.extend(
                    objects
                        .iter()
                        .filter(|o| filter.matches(o))
                        .filter_map(Object::key),
                );
            }
            keys
        }
    };
    for (number, key) in keys.iter().enumerate() {
        if number > 0 {
            ctx.ui().out_line("\n")?;
        }
        let world = ctx.world()?;
        looked_again(world, world.get(key)?)?;
        let described = world.describe(key)?;
        output::describe(ctx.ui(), &described)?;
    }
    Ok(())
}
