//! `apply`: objects become as a file says.

use clap::Args;

use super::applyset::ApplySetArgs;
use super::args::{DryRunArgs, FileArgs, WaitArgs};
use super::context::Ctx;
use crate::api::Kind;
use crate::engine::{ApplyMode, ApplyOptions};
use crate::error::{Error, Result};

/// What to apply and how far to go.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    set: ApplySetArgs,
    /// Fail with exit code 3 when nothing needed changing
    #[arg(long)]
    error_unchanged: bool,
}

/// Applies manifests.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: ApplyArgs) -> Result<()> {
    if args.files.files.is_empty() {
        return Err(Error::usage("must specify -f").hint("kvmctl apply -f stack.yaml"));
    }
    let dry_run = ctx.dry_run(&args.dry_run)?;
    let mut objects = ctx.manifests(&args.files, "apply")?;
    let prune = args.set.join(ctx, &mut objects, dry_run)?;
    let options = ApplyOptions {
        mode: ApplyMode::Apply,
        dry_run,
        wait: args
            .wait
            .wanted(false)
            .then(|| args.wait.timeout.duration()),
        error_unchanged: args.error_unchanged,
    };
    ctx.apply(objects, &options)?;
    prune.run(ctx, dry_run)
}
