//! `delete`: by name, by label, all of a kind, or what a file names.

use clap::Args;

use super::args::{DryRunArgs, FileArgs, SelectArgs, YesArgs};
use super::context::Ctx;
use super::selection::select;
use super::targets::Targets;
use super::{net, prompt};
use crate::api::{Kind, Object, ObjectKey, Span};
use crate::engine::{DeleteOptions, DryRun};
use crate::error::{Error, Result};

/// What to delete and how gently.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
    #[command(flatten)]
    yes: YesArgs,
    /// Delete all objects of the kind that kvmctl manages
    #[arg(long)]
    all: bool,
    /// Seconds that a guest gets to shut down before its power is cut
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u64>,
    /// Cut the power at once
    #[arg(long)]
    force: bool,
    /// Like --grace-period=1
    #[arg(long)]
    now: bool,
    /// With networks: delete the instances in them too
    #[arg(long)]
    cascade: bool,
    /// Wait until the objects are gone
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_name = "BOOL")]
    wait: bool,
    /// How long to wait at the most
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
    /// Do not fail when an object does not exist
    #[arg(long)]
    ignore_not_found: bool,
}

/// Seconds that a guest gets when nothing is said.
const GRACE: u64 = 30;

/// Deletes objects.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: DeleteArgs) -> Result<()> {
    let options = options(ctx, &args)?;
    let mut keys = keys(ctx, noun, &args)?;
    if args.cascade {
        let sure = args.yes.yes || options.dry_run != DryRun::None;
        let along = net::cascade(ctx, &keys, sure)?;
        keys.extend(along);
    }
    if args.force && keys.iter().any(|k| k.kind == Kind::Instance) {
        ctx.ui()
            .status("Cutting the power of running instances at once (--force).");
    }
    ctx.delete(keys, &options)
}

fn options(ctx: &Ctx, args: &DeleteArgs) -> Result<DeleteOptions> {
    if args.force && args.grace_period.is_some_and(|g| g > 0) {
        return Err(Error::usage(
            "--force and --grace-period greater than 0 cannot be used together",
        ));
    }
    let grace = match (args.force, args.now, args.grace_period) {
        (true, _, _) => 0,
        (_, true, None) => 1,
        (_, _, given) => given.unwrap_or(GRACE),
    };
    Ok(DeleteOptions {
        grace,
        dry_run: ctx.dry_run(&args.dry_run)?,
        wait: args.wait,
        timeout: args.timeout.map(Span::duration),
        ignore_not_found: args.ignore_not_found,
        ..DeleteOptions::default()
    })
}

fn keys(ctx: &Ctx, noun: Option<Kind>, args: &DeleteArgs) -> Result<Vec<ObjectKey>> {
    if !args.files.files.is_empty() {
        if !args.select.targets.is_empty() {
            return Err(Error::usage("give either names or -f, not both"));
        }
        if args.all || args.select.selector.is_some() {
            return Err(Error::usage(
                "give either -f or a selection (--all, --selector), not both",
            ));
        }
        let objects = ctx.manifests(&args.files, "delete")?;
        return Ok(objects.iter().filter_map(Object::key).collect());
    }
    if args.all && args.select.selector.is_some() {
        return Err(Error::usage(
            "cannot set --all and --selector at the same time",
        ));
    }
    match Targets::parse(noun, &args.select.targets, "delete")? {
        Targets::Named(keys) if args.all || args.select.selector.is_some() => {
            let _ = keys;
            Err(Error::usage(
                "name cannot be provided when a selector or --all is specified",
            ))
        }
        Targets::Named(keys) => Ok(keys),
        Targets::Kinds(kinds) if args.all || args.select.selector.is_some() => {
            let keys = select(ctx, &kinds, args.select.selector.as_deref())?;
            if keys.is_empty() {
                ctx.ui().status("No resources found.");
            }
            confirm(ctx, args, &keys)?;
            Ok(keys)
        }
        Targets::Kinds(_) => Err(Error::usage(
            "resource(s) were provided, but no name was specified",
        )
        .hint("kvmctl delete instance NAME")
        .hint("kvmctl delete instances --all")),
    }
}

/// Much at once is listed and asked about; without a terminal it needs `--yes`.
fn confirm(ctx: &Ctx, args: &DeleteArgs, keys: &[ObjectKey]) -> Result<()> {
    if keys.is_empty() || args.yes.yes || args.dry_run.dry_run.is_some() {
        return Ok(());
    }
    let list: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let question = format!("Delete {}?", list.join(", "));
    prompt::confirm(ctx, &question, "--yes")
}
