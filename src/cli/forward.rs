//! `net forward INSTANCE HOST:GUEST…`: the short way to forwards, whose names need not be chosen.

use clap::Args;

use super::args::DryRunArgs;
use super::context::Ctx;
use super::create::forward::MoreArgs;
use super::targets::Targets;
use crate::api::{Kind, Name, Object, ObjectKey, PortMapping};
use crate::engine::{ApplyMode, ApplyOptions};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::observe::suffix;

/// What to forward, and to whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct ForwardArgs {
    /// Instance that answers
    #[arg(value_name = "INSTANCE", index = 1)]
    target: String,
    /// Ports, as 8080:80, 8080:80/udp, 127.0.0.1:8080:80 or 0:80 for a free one
    #[arg(value_name = "HOST:GUEST", index = 2, required = true, num_args = 1..)]
    ports: Vec<PortMapping>,
    /// Name of the forward, instead of INSTANCE-PORT
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    #[command(flatten)]
    more: MoreArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Makes the forwards and prints which ports of the host they have.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: ForwardArgs) -> Result<()> {
    let words = std::slice::from_ref(&args.target);
    let instance = Targets::one_instance(None, words, "net forward")?.name;
    if args.name.is_some() && args.ports.len() > 1 {
        return Err(Error::usage(
            "--name names one forward, and several are asked for",
        ));
    }
    let mut objects: Vec<Object> = Vec::new();
    let mut keys: Vec<ObjectKey> = Vec::new();
    for ports in &args.ports {
        let name = match &args.name {
            Some(name) => name.clone(),
            None => free_name(ctx, &instance, ports, &keys)?,
        };
        keys.push(ObjectKey::new(Kind::PortForward, name.clone()));
        objects.push(args.more.forward(name, &instance, ports)?.into());
    }
    let options = ApplyOptions {
        mode: ApplyMode::Create,
        dry_run: ctx.dry_run(&args.dry_run)?,
        wait: None,
        error_unchanged: false,
    };
    ctx.apply(objects, &options)
}

/// Names a forward after its instance and port; a second one of that name gets a number.
fn free_name(ctx: &Ctx, instance: &Name, ports: &PortMapping, ours: &[ObjectKey]) -> Result<Name> {
    let plain = suffix(ports);
    let numbered = (2..100).map(|n| format!("{plain}-{n}"));
    for suffix in std::iter::once(plain.clone()).chain(numbered) {
        let name = instance
            .with_suffix(&suffix)
            .map_err(|e| Error::usage(e.to_string()))?;
        let key = ObjectKey::new(Kind::PortForward, name);
        let taken = ours.contains(&key) || (ports.host == 0 && exists(ctx, &key)?);
        if !taken {
            return Ok(key.name);
        }
    }
    Err(Error::usage("no name is left for the forward").hint("--name NAME"))
}

fn exists(ctx: &Ctx, key: &ObjectKey) -> Result<bool> {
    match ctx.world()?.get(key) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}
