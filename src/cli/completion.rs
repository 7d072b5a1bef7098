//! `completion`: the line that registers dynamic completion with a shell.
//!
//! The script asks kvmctl itself at each Tab, so that names of objects complete and the script never
//! goes stale.

use clap::{Args, ValueEnum};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::context::Ctx;
use crate::api::Kind;
use crate::error::{Error, Result};

/// The shells there are scripts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
    /// Elvish
    Elvish,
}

/// Which shell.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the registration.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: CompletionArgs) -> Result<()> {
    ctx.ui().out(&registration(args.shell)?)
}

/// Returns the script that registers completion with `shell`.
///
/// # Errors
/// If the generator fails.
pub(crate) fn registration(shell: Shell) -> Result<String> {
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
        Shell::Powershell => &Powershell,
        Shell::Elvish => &Elvish,
    };
    let mut script = Vec::new();
    completer
        .write_registration("KVMCTL_COMPLETE", "kvmctl", "kvmctl", "kvmctl", &mut script)
        .map_err(|e| Error::failed("cannot write the completion script").caused_by(e))?;
    String::from_utf8(script).map_err(|e| Error::failed("the script is not text").caused_by(e))
}
