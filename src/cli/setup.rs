//! `setup`: the pool, the network and the store that everything else needs.

use std::path::PathBuf;

use clap::Args;

use super::args::YesArgs;
use super::context::Ctx;
use super::prompt;
use crate::api::Kind;
use crate::engine::setup::{self, SetupOptions};
use crate::error::Result;

/// How to set up.
#[derive(Debug, Clone, Args)]
pub(crate) struct SetupArgs {
    #[command(flatten)]
    yes: YesArgs,
    /// Folder of the pool, if the pool has to be made
    #[arg(long, value_name = "FOLDER")]
    pool_path: Option<PathBuf>,
    /// Range of the network, if the network has to be made
    #[arg(long, value_name = "CIDR")]
    cidr: Option<ipnet::Ipv4Net>,
    /// Do not try whether KVM really runs a guest
    #[arg(long)]
    no_probe: bool,
}

/// Sets the host up.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: SetupArgs) -> Result<()> {
    let options = SetupOptions {
        pool_path: args.pool_path,
        cidr: args.cidr,
        probe: !args.no_probe,
    };
    let plan = setup::plan(ctx.world()?, &options)?;
    for line in plan.lines() {
        ctx.ui().status(&line);
    }
    if plan.is_empty() {
        return Ok(());
    }
    if !args.yes.yes {
        prompt::confirm(ctx, "Go on?", "--yes")?;
    }
    for done in setup::run(ctx.world()?, plan, ctx.reporter().as_ref())? {
        ctx.ui().out_line(&done)?;
    }
    Ok(())
}
