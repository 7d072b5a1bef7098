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
    /// Trust the SSH host key that the guest shows now, after it was changed on purpose
    #[arg(long)]
    accept_new_host_key: bool,
    /// Command to run instead of a shell
    #[arg(last = true, value_name = "COMMAND", index = 2)]
    command: Vec<String>,
}

/// Runs ssh and takes over its exit code.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: SshArgs) -> Result<()> {
    let key = Targets::one_instance(noun, &[args.target], "ssh")?;
    if args.accept_new_host_key
        && let Some(shown) = guest::accept_host_key(ctx.world()?, &key)?
    {
        ctx.ui()
            .status(&format!("{key}: trusts the host key {shown}"));
    }
    let (user, reporter) = (args.user.as_deref(), ctx.reporter());
    let code = guest::ssh(ctx.world()?, &key, user, &args.command, reporter.as_ref())?;
    if code == 0 {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Remote(code), ""))
    }
}
