//! `wait`: until a condition holds, or cannot hold any more.

use std::time::Instant;

use clap::Args;

use super::args::SelectArgs;
use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, Object, ObjectKey, Span};
use crate::engine::{self, Goal};
use crate::error::{Error, Result};
use crate::observe::{Depth, Scope};
use crate::output;

/// What to wait for.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitForArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// condition=TYPE[=STATUS], delete, create or jsonpath='{PATH}'=VALUE (can be repeated: all must hold)
    #[arg(long = "for", value_name = "GOAL", required = true)]
    goals: Vec<String>,
    /// How long to wait at the most
    #[arg(long, value_name = "TIME", default_value = "30s")]
    timeout: Span,
}

/// Waits.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: WaitForArgs) -> Result<()> {
    let goals: Vec<Goal> = args
        .goals
        .iter()
        .map(|g| Goal::parse(g))
        .collect::<Result<_>>()?;
    let keys = keys(ctx, noun, &args.select)?;
    let deadline = Instant::now() + args.timeout.duration();
    let reporter = ctx.reporter();
    for key in keys {
        for goal in &goals {
            engine::wait_for(ctx.world()?, &key, goal, deadline, reporter.as_ref())?;
        }
        ctx.print_outcome(&key, goals.last().map_or("condition met", Goal::met))?;
    }
    Ok(())
}

fn keys(ctx: &Ctx, noun: Option<Kind>, select: &SelectArgs) -> Result<Vec<ObjectKey>> {
    match (
        &select.selector,
        Targets::parse(noun, &select.targets, "wait")?,
    ) {
        (None, targets) => targets.named(),
        (Some(selector), Targets::Kinds(kinds)) => {
            let filter = output::Filter::parse(Some(selector), None, &kinds)?;
            let mut keys = Vec::new();
            for kind in kinds {
                let objects = ctx.world()?.list(kind, Scope::Managed, Depth::Listing)?;
                keys.extend(
                    objects
                        .iter()
                        .filter(|o| filter.matches(o))
                        .filter_map(Object::key),
                );
            }
            Ok(keys)
        }
        (Some(_), Targets::Named(_)) => {
            Err(Error::usage("give either names or a selector, not both"))
        }
    }
}
