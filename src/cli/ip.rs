//! `ip`: the address, and nothing else.

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, Object};
use crate::error::{Error, Result};

/// Which instances.
#[derive(Debug, Clone, Args)]
pub(crate) struct IpArgs {
    /// Names of instances
    #[arg(value_name = "NAME", required = true)]
    targets: Vec<String>,
}

/// Prints the primary address of each instance, one a line.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: IpArgs) -> Result<()> {
    ctx.has_one_form()?;
    for key in Targets::parse(noun, &args.targets, "ip")?.named()? {
        let Object::Instance(instance) = ctx.world()?.get(&key)? else {
            continue;
        };
        let address = instance
            .status
            .as_ref()
            .and_then(|s| s.address)
            .ok_or_else(|| {
                Error::not_found(format!("{key} has no address yet"))
                    .hint(format!("kvmctl describe {key}"))
            })?;
        ctx.ui().out_line(&address.to_string())?;
    }
    Ok(())
}
