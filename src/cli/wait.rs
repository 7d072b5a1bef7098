//! `wait`: until a condition holds, or cannot hold any more.

use std::time::Instant;

use clap::Args;

use super::args::SelectArgs;
use super::context::Ctx;
use super::selection::select;
use super::targets::Targets;
use crate::api::{Kind, ObjectKey, Span};
use crate::engine::{self, Goal};
use crate::error::{Error, Result};
use crate::observe::World;

/// How many objects are waited for at once: each has a thread, which sleeps.
const MOST: usize = 64;

/// What to wait for.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitForArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// condition=TYPE[=STATUS], delete, create or jsonpath='{PATH}'=VALUE (can be repeated: all must hold)
    #[arg(long = "for", value_name = "GOAL", required = true)]
    goals: Vec<String>,
    /// Wait for all objects of the kind that kvmctl manages
    #[arg(long)]
    all: bool,
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
    let keys = keys(ctx, noun, &args)?;
    let deadline = Instant::now() + args.timeout.duration();
    let reporter = ctx.reporter();
    let results = ctx.results()?;
    // What one comes to stops no other, and is told at once.
    let tell = |error: Error| {
        if keys.len() > 1 && !error.kind().is_signal() {
            ctx.ui().error(&error);
        }
        error
    };
    let batch = engine::run_all(&keys, MOST, |key| {
        let world = ctx.world()?;
        let each = |goal| engine::wait_for(world, key, goal, deadline, reporter.as_ref());
        let waited = goals.iter().try_for_each(each);
        reporter.finished(key);
        waited.map_err(tell)?;
        results.tell(key, goals.last().map_or("condition met", Goal::met))
    });
    results.show(&keys, World::get)?;
    batch.into_result(|_| {})
}

fn keys(ctx: &Ctx, noun: Option<Kind>, args: &WaitForArgs) -> Result<Vec<ObjectKey>> {
    let selector = args.select.selector.as_deref();
    match Targets::parse(noun, &args.select.targets, "wait")? {
        Targets::Named(_) if args.all || selector.is_some() => Err(Error::usage(
            "name cannot be provided when a selector or --all is specified",
        )),
        Targets::Named(keys) => Ok(keys),
        Targets::Kinds(_) if !args.all && selector.is_none() => Err(Error::usage(
            "resource(s) were provided, but no name was specified",
        )
        .hint("kvmctl wait --for=condition=Ready instance NAME")
        .hint("kvmctl wait --for=condition=Ready instances --all")),
        Targets::Kinds(kinds) => {
            let keys = select(ctx, &kinds, selector)?;
            let goes = |goal: &str| goal == "delete";
            if keys.is_empty() && !args.goals.iter().all(|g| goes(g)) {
                // A script that waits for a label that nothing has must not go on.
                return Err(Error::not_found("no matching resources found")
                    .hint(format!("kvmctl get {}", kinds[0].info().plural)));
            }
            Ok(keys)
        }
    }
}
