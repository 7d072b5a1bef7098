//! `attach-network`, `detach-network`: interfaces of an instance that come and go.

use std::net::Ipv4Addr;

use clap::Args;

use super::context::Ctx;
use super::create::instance::network;
use super::targets::Targets;
use crate::api::{Kind, NicModel, ObjectKey};
use crate::engine::{self, Applied, Interrupt};
use crate::error::{Error, Result};
use crate::plan::Outcome;

/// What to attach, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct AttachArgs {
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE", index = 1)]
    target: String,
    /// Network to attach it to
    #[arg(value_name = "NETWORK", index = 2)]
    network: String,
    /// Address in the network; a free one is reserved when nothing is said
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Hardware address of the interface
    #[arg(long, value_name = "ADDRESS")]
    mac: Option<String>,
    /// Model of the interface: virtio, e1000e or rtl8139
    #[arg(long, value_name = "MODEL")]
    model: Option<NicModel>,
}

/// What to detach.
#[derive(Debug, Clone, Args)]
pub(crate) struct DetachArgs {
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE", index = 1)]
    target: String,
    /// Network to detach it from, or hardware address of the interface
    #[arg(value_name = "NETWORK|MAC", index = 2)]
    network: String,
}

/// Attaches an instance to a network.
pub(crate) fn attach(ctx: &Ctx, noun: Option<Kind>, args: AttachArgs) -> Result<()> {
    let key = Targets::one_instance(noun, &[args.target], "instances attach-network")?;
    let mut wanted = network(&args.network)?;
    wanted.ip = args.ip.or(wanted.ip);
    wanted.mac = args.mac.or(wanted.mac);
    wanted.model = args.model.or(wanted.model);
    catch_signals()?;
    let applied = engine::attach_network(ctx.world()?, &key, &wanted, ctx.reporter().as_ref())?;
    tell(ctx, &key, &applied, "attached")
}

/// Detaches an instance from a network.
pub(crate) fn detach(ctx: &Ctx, noun: Option<Kind>, args: DetachArgs) -> Result<()> {
    let key = Targets::one_instance(noun, &[args.target], "instances detach-network")?;
    catch_signals()?;
    let reporter = ctx.reporter();
    let applied = engine::detach_network(ctx.world()?, &key, &args.network, reporter.as_ref())?;
    tell(ctx, &key, &applied, "detached")
}

fn catch_signals() -> Result<()> {
    Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))
}

fn tell(ctx: &Ctx, key: &ObjectKey, applied: &Applied, word: &str) -> Result<()> {
    ctx.reporter().finished(key);
    for note in &applied.notes {
        ctx.ui().status(&format!("{key}: {note}"));
    }
    match applied.outcome {
        Outcome::Unchanged => ctx.print_outcome(key, &format!("already {word}")),
        _ => ctx.print_outcome(key, word),
    }
}
