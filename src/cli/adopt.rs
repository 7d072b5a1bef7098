//! `adopt` and `forget`: whose a domain is.

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, ObjectKey};
use crate::engine;
use crate::error::{Error, Result};

/// Which domains.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdoptArgs {
    /// Objects: instance NAME… or instance/NAME…
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
}

/// Writes our mark into domains that were made by hand.
pub(crate) fn adopt(ctx: &Ctx, noun: Option<Kind>, args: AdoptArgs) -> Result<()> {
    let keys = instances(noun, &args, "adopt")?;
    ctx.change(keys, false, |world, key, _| engine::adopt(world, key))
}

/// Removes our mark, and nothing else.
pub(crate) fn forget(ctx: &Ctx, noun: Option<Kind>, args: AdoptArgs) -> Result<()> {
    let keys = instances(noun, &args, "forget")?;
    ctx.change(keys, false, |world, key, _| engine::forget(world, key))
}

fn instances(noun: Option<Kind>, args: &AdoptArgs, verb: &str) -> Result<Vec<ObjectKey>> {
    let keys = Targets::parse(noun, &args.targets, verb)?.named()?;
    match keys.iter().find(|k| k.kind != Kind::Instance) {
        Some(other) => Err(Error::usage(format!(
            "{other} cannot be adopted or forgotten: only instances can"
        ))),
        None => Ok(keys),
    }
}
