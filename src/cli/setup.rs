//! `setup`: the pool, the network and the store that everything else needs.

use std::path::PathBuf;

use clap::Args;

use super::args::YesArgs;
use super::context::Ctx;
use super::prompt;
use crate::api::Kind;
use crate::engine::persist::{self, Persist};
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
    /// Install units of systemd: one runs `kvmctl reconcile` whenever the host or libvirt starts, one
    /// keeps `kvmctl reconcile --watch` running
    #[arg(long, conflicts_with = "no_persist")]
    persist: bool,
    /// Take those units away
    #[arg(long, visible_alias = "unpersist")]
    no_persist: bool,
}

/// Sets the host up.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: SetupArgs) -> Result<()> {
    ctx.has_one_form()?;
    let options = SetupOptions {
        pool_path: args.pool_path,
        cidr: args.cidr,
        probe: !args.no_probe,
    };
    let world = ctx.world()?;
    let unit = match (args.persist, args.no_persist) {
        (true, _) => persist::plan(world, Persist::Install)?,
        (_, true) => persist::plan(world, Persist::Remove)?,
        _ => None,
    };
    let plan = setup::plan(world, &options)?;
    let lines = unit.iter().flat_map(|unit| unit.lines());
    for line in plan.lines().into_iter().chain(lines) {
        ctx.ui().status(&line);
    }
    if plan.is_empty() && unit.is_none() {
        return Ok(());
    }
    if !args.yes.yes {
        prompt::confirm(ctx, "Go on?", "--yes")?;
    }
    for done in setup::run(ctx.world()?, plan, ctx.reporter().as_ref())? {
        ctx.ui().out_line(&done)?;
    }
    for done in unit.map(|unit| unit.run()).transpose()?.unwrap_or_default() {
        ctx.ui().out_line(&done)?;
    }
    Ok(())
}
