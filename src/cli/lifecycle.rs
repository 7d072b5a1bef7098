//! `start`, `stop`, `restart`, `pause`, `resume`, `resize` of instances.

use clap::Args;

use super::args::{SelectArgs, WaitArgs};
use super::context::Ctx;
use super::targets::Targets;
use crate::api::{InstanceSpec, Kind, ObjectKey, Quantity, Span};
use crate::engine::{self, Change, StopOptions};
use crate::error::{Error, Result};
use crate::observe::{Depth, Scope};
use crate::output;

/// What to start.
#[derive(Debug, Clone, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// Fail with exit code 3 when nothing needed changing
    #[arg(long)]
    error_unchanged: bool,
}

/// What to stop, and how long the guest may take.
#[derive(Debug, Clone, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// How long the guest gets to shut down
    #[arg(long, value_name = "TIME", default_value = "90s")]
    timeout: Span,
    /// Cut the power when the guest has not shut down in time
    #[arg(long)]
    force: bool,
    /// Fail with exit code 3 when nothing needed changing
    #[arg(long)]
    error_unchanged: bool,
}

/// What to pause or resume.
#[derive(Debug, Clone, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Fail with exit code 3 when nothing needed changing
    #[arg(long)]
    error_unchanged: bool,
}

/// The new size.
#[derive(Debug, Clone, Args)]
pub(crate) struct ResizeArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Instance type
    #[arg(long = "type", value_name = "TYPE")]
    instance_type: Option<String>,
    /// Number of virtual CPUs
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cpus: Option<u32>,
    /// Memory
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<Quantity>,
    /// Size of the root disk; it can only grow
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    disk: Option<Quantity>,
}

/// Starts instances.
pub(crate) fn start(ctx: &Ctx, noun: Option<Kind>, args: StartArgs) -> Result<()> {
    let keys = keys(ctx, noun, &args.select, "start")?;
    let wait = args
        .wait
        .wanted(false)
        .then(|| args.wait.timeout.duration());
    ctx.change(keys, args.error_unchanged, |world, key, reporter| {
        let outcome = engine::lifecycle(world, key, &Change::Start, reporter)?;
        if let Some(timeout) = wait {
            engine::wait_ready(world, key, timeout, reporter)?;
        }
        Ok(outcome)
    })
}

/// Shuts instances down.
pub(crate) fn stop(ctx: &Ctx, noun: Option<Kind>, args: StopArgs) -> Result<()> {
    let change = Change::Stop(StopOptions {
        timeout: args.timeout.duration(),
        force: args.force,
    });
    each(
        ctx,
        noun,
        &args.select,
        "stop",
        args.error_unchanged,
        &change,
    )
}

/// Shuts instances down and starts them again.
pub(crate) fn restart(ctx: &Ctx, noun: Option<Kind>, args: StopArgs) -> Result<()> {
    let options = StopOptions {
        timeout: args.timeout.duration(),
        force: args.force,
    };
    each(
        ctx,
        noun,
        &args.select,
        "restart",
        args.error_unchanged,
        &Change::Restart(options),
    )
}

/// Suspends instances.
pub(crate) fn pause(ctx: &Ctx, noun: Option<Kind>, args: PauseArgs) -> Result<()> {
    each(
        ctx,
        noun,
        &args.select,
        "pause",
        args.error_unchanged,
        &Change::Pause,
    )
}

/// Resumes instances.
pub(crate) fn resume(ctx: &Ctx, noun: Option<Kind>, args: PauseArgs) -> Result<()> {
    each(
        ctx,
        noun,
        &args.select,
        "resume",
        args.error_unchanged,
        &Change::Resume,
    )
}

fn each(
    ctx: &Ctx,
    noun: Option<Kind>,
    select: &SelectArgs,
    verb: &str,
    error_unchanged: bool,
    change: &Change,
) -> Result<()> {
    let keys = keys(ctx, noun, select, verb)?;
    ctx.change(keys, error_unchanged, |world, key, reporter| {
        engine::lifecycle(world, key, change, reporter)
    })
}

/// Changes the size: the same way as an edited manifest.
pub(crate) fn resize(ctx: &Ctx, noun: Option<Kind>, args: ResizeArgs) -> Result<()> {
    let new = (&args.instance_type, args.cpus, args.memory, args.disk);
    if new == (&None, None, None, None) {
        return Err(Error::usage("nothing to resize")
            .hint("kvmctl instances resize NAME --memory 2G --cpus 2 --disk 20G"));
    }
    let keys = keys(ctx, noun, &args.select, "resize")?;
    ctx.change(keys, false, |world, key, reporter| {
        engine::change_spec(world, key, reporter, |spec: &mut InstanceSpec| {
            if args.instance_type.is_some() {
                spec.instance_type.clone_from(&args.instance_type);
                // A new type means its sizes, except for what is given beside it.
                (spec.cpus, spec.memory) = (None, None);
            }
            spec.cpus = args.cpus.or(spec.cpus);
            spec.memory = args.memory.or(spec.memory);
            spec.disk = args.disk.or(spec.disk);
        })
    })
}

fn keys(ctx: &Ctx, noun: Option<Kind>, select: &SelectArgs, verb: &str) -> Result<Vec<ObjectKey>> {
    match (
        &select.selector,
        Targets::parse(noun, &select.targets, verb)?,
    ) {
        (None, targets) => targets.named(),
        (Some(selector), Targets::Kinds(kinds)) => {
            let filter = output::Filter::parse(Some(selector), None, &kinds)?;
            let objects = ctx
                .world()?
                .list(Kind::Instance, Scope::Managed, Depth::Listing)?;
            Ok(objects
                .iter()
                .filter(|o| filter.matches(o))
                .filter_map(crate::api::Object::key)
                .collect())
        }
        (Some(_), Targets::Named(_)) => {
            Err(Error::usage("give either names or a selector, not both"))
        }
    }
}
