//! `explain`: the fields of a kind, from the schema.

use clap::Args;

use super::context::Ctx;
use crate::api::Kind;
use crate::error::Result;
use crate::manifest::{self, Depth};

/// Which field.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainArgs {
    /// Kind or field, as instance or instance.spec.env
    #[arg(value_name = "PATH")]
    path: String,
    /// Show all fields below it
    #[arg(long)]
    recursive: bool,
}

/// Prints the documentation of a field.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: ExplainArgs) -> Result<()> {
    let depth = if args.recursive {
        Depth::Recursive
    } else {
        Depth::Fields
    };
    let explanation = manifest::explain(&args.path, depth)?;
    ctx.ui().out(&explanation.to_string())
}
