//! `diff`: what apply would change. 0: nothing, 1: something, above: an error.

use clap::Args;

use super::args::FileArgs;
use super::context::Ctx;
use crate::api::Kind;
use crate::engine;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::output;

/// What to compare.
#[derive(Debug, Clone, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    files: FileArgs,
}

/// Prints a unified diff of every object that apply would change.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: DiffArgs) -> Result<()> {
    if args.files.files.is_empty() {
        return Err(Error::usage("must specify -f").hint("kvmctl diff -f stack.yaml"));
    }
    let objects = ctx.manifests(&args.files, "diff").map_err(above_one)?;
    let mut differs = false;
    for object in &objects {
        let sides = engine::sides(ctx.world().map_err(above_one)?, object).map_err(above_one)?;
        differs |= output::print_diff(ctx.ui(), &sides.name, &sides.live, &sides.wanted)?;
    }
    if differs {
        Err(Error::new(ErrorKind::Remote(1), ""))
    } else {
        Ok(())
    }
}

/// Exit code 1 means "differs" here, so that other failures take another.
fn above_one(error: Error) -> Error {
    if error.kind() == ErrorKind::Failed {
        error.with_kind(ErrorKind::Usage)
    } else {
        error
    }
}
