//! `store`: kvmctl's own files.

use clap::Subcommand;

use super::context::Ctx;
use crate::engine::{Batch, rebuild};
use crate::error::Result;

/// What to do with the store.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum StoreCommand {
    /// Bring the store back from libvirt, the pool and the seeds
    Rebuild,
    /// Print where the store is
    Path,
}

/// Runs a store command.
pub(crate) fn run(ctx: &Ctx, command: StoreCommand) -> Result<()> {
    ctx.has_one_form()?;
    match command {
        StoreCommand::Path => ctx
            .ui()
            .out_line(&ctx.world()?.store_path().display().to_string()),
        StoreCommand::Rebuild => {
            let world = ctx.world()?;
            let mut found = rebuild::run(world)?;
            let errors = found.take_errors();
            let lines = found.lines();
            for line in &lines {
                ctx.ui().out_line(line)?;
            }
            if lines.is_empty() && errors.is_empty() {
                ctx.ui().out_line("nothing is missing from the store")?;
            }
            let done = lines.len();
            Batch { done, errors }.into_result(|e| ctx.ui().error(e))
        }
    }
}
