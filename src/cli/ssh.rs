//! `ssh`: a login, or one command, without a prompt about keys.

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::Kind;
use crate::engine::guest;
use crate::error::{Error, Kind as ErrorKind, Result};

/// Where to, and what to run there.
#[derive(Debug, Clone, Args)]
pub(crate) struct SshArgs {
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE", index = 1)]
    target: String,
    /// User to log in as; the image's default user when nothing is said
    #[arg(long, short = 'l', value_name = "USER")]
    user: Option<String>,
    /// Command to run instead of a shell
    #[arg(last = true, value_name = "COMMAND", index = 2)]
    command: Vec<String>,
}

/// Runs ssh and takes over its exit code.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: SshArgs) -> Result<()> {
    let key = Targets::one_instance(noun, &[args.target], "ssh")?;
    let code = guest::ssh(ctx.world()?, &key, args.user.as_deref(), &args.command)?;
    if code == 0 {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Remote(code), ""))
    }
}
