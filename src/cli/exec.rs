//! `exec`: a command in the guest, its exit code, its stdout and its stderr.

use std::io::{IsTerminal, Read};

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, Span};
use crate::engine::guest::{self, Via};
use crate::error::{Error, Kind as ErrorKind, Result};

/// Where, and what.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExecArgs {
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE", index = 1)]
    target: String,
    /// Pass standard input on to the command
    #[arg(long, short = 'i')]
    stdin: bool,
    /// How to reach the guest: agent, ssh, or whichever works
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW")]
    via: ViaArg,
    /// How long the command may run
    #[arg(long, value_name = "TIME", default_value = "1h")]
    timeout: Span,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND", index = 2)]
    command: Vec<String>,
}

/// The way into the guest as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ViaArg {
    /// Guest agent where it answers, ssh elsewhere
    Auto,
    /// Guest agent
    Agent,
    /// ssh
    Ssh,
}

/// Runs a command in the guest.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: ExecArgs) -> Result<()> {
    let key = Targets::one_instance(noun, &[args.target], "exec")?;
    let mut input = Vec::new();
    if args.stdin && !std::io::stdin().is_terminal() {
        std::io::stdin()
            .read_to_end(&mut input)
            .map_err(|e| Error::failed("cannot read standard input").caused_by(e))?;
    }
    let via = match args.via {
        ViaArg::Auto => Via::Auto,
        ViaArg::Agent => Via::Agent,
        ViaArg::Ssh => Via::Ssh,
    };
    let timeout = args.timeout.duration();
    let result = guest::exec(
        ctx.world()?,
        &key,
        via,
        &args.command,
        &input,
        timeout,
        ctx.reporter().as_ref(),
    )?;
    ctx.ui().out_bytes(&result.stdout)?;
    ctx.ui().err_bytes(&result.stderr)?;
    if result.truncated {
        ctx.ui()
            .warn("the output is cut: the guest agent keeps the first 16 MiB of it");
        ctx.ui().hint("--via ssh has no such limit");
    }
    if result.code == 0 {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Remote(result.code), ""))
    }
}
