//! `console`: the serial console, until Ctrl-].

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::Kind;
use crate::engine::guest;
use crate::error::Result;

/// Which console.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConsoleArgs {
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE")]
    target: String,
    /// Take the console from whoever has it
    #[arg(long)]
    force: bool,
}

/// Attaches to the console.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: ConsoleArgs) -> Result<()> {
    let key = Targets::one_instance(noun, &[args.target], "console")?;
    let console = guest::open_console(ctx.world()?, &key, args.force)?;
    ctx.ui().status(&format!(
        "Attached to the console of {key}. Leave with Ctrl-]."
    ));
    console.run()?;
    ctx.ui().status("");
    Ok(())
}
