//! `adopt` and `forget`: whose a domain or network is.

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, Name, ObjectKey};
use crate::engine;
use crate::error::{Error, Result};
use crate::shell::shell_words;

/// Which domains and networks.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdoptArgs {
    /// Objects: instance NAME…, network NAME… or instance/NAME…
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
}

/// Writes our mark into what was made by hand.
pub(crate) fn adopt(ctx: &Ctx, noun: Option<Kind>, args: AdoptArgs) -> Result<()> {
    let keys = keys(noun, &args, "adopt")?;
    ctx.change(keys, false, engine::adopt)
}

/// Removes our mark, and nothing else.
pub(crate) fn forget(ctx: &Ctx, noun: Option<Kind>, args: AdoptArgs) -> Result<()> {
    let keys = keys(noun, &args, "forget")?;
    ctx.change(keys, false, engine::forget)
}

fn keys(noun: Option<Kind>, args: &AdoptArgs, verb: &str) -> Result<Vec<ObjectKey>> {
    Targets::parse(noun, &args.targets, verb)
        .map_err(|e| renaming(e, &args.targets))?
        .named()
}

/// libvirt takes names that kvmctl does not; such a domain gets another first.
fn renaming(error: Error, targets: &[String]) -> Error {
    let mut names = targets
        .iter()
        .map(|t| t.split_once('/').map_or(&**t, |(_, name)| name));
    match names.find(|name| Name::new(*name).is_err()) {
        Some(odd) => {
            let odd = shell_words(&[odd]);
            error.hint(format!("virsh domrename {odd} NEW-NAME"))
        }
        None => error,
    }
}
