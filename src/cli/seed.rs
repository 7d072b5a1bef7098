//! `seed`: what went into the seed ISO, read back from the ISO itself, with secrets masked.

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::Kind;
use crate::engine::guest;
use crate::error::Result;

/// Whose seed.
#[derive(Debug, Clone, Args)]
pub(crate) struct SeedArgs {
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE")]
    target: String,
}

/// Prints the seed.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: SeedArgs) -> Result<()> {
    ctx.has_one_form()?;
    let key = Targets::one_instance(noun, &[args.target], "seed")?;
    for (name, text) in guest::seed(ctx.world()?, &key)? {
        ctx.ui().out_line(&format!("--- {name}"))?;
        ctx.ui().out_foreign(&text)?;
        if !text.ends_with('\n') {
            ctx.ui().out_line("")?;
        }
    }
    Ok(())
}
