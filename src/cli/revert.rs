//! `revert`: an instance becomes what it was when a snapshot of it was taken with its memory.

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, Name};
use crate::engine::snapshots;
use crate::error::Result;

/// Which instance, and to what.
#[derive(Debug, Clone, Args)]
pub(crate) struct RevertArgs {
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE")]
    target: String,
    /// Snapshot that was taken with --memory
    #[arg(long, value_name = "SNAPSHOT")]
    to: Name,
}

/// Reverts it; what it is now is lost.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: RevertArgs) -> Result<()> {
    let key = Targets::one_instance(noun, &[args.target], "revert")?;
    let notes = snapshots::revert(ctx.world()?, &key, &args.to, ctx.reporter().as_ref())?;
    for note in notes {
        ctx.ui().warn(&note);
    }
    ctx.print_outcome(&key, "reverted")
}
