//! Questions. Never asked without a terminal: the error then names the flag that answers.

use std::io::IsTerminal;

use dialoguer::Confirm;

use super::context::Ctx;
use crate::error::{Error, Result};

/// Asks a question; anything but yes is an error.
///
/// # Errors
/// Usage without a terminal, `Failed` when the answer is no.
pub(crate) fn confirm(ctx: &Ctx, question: &str, flag: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() || !ctx.ui().is_tty_err() {
        return Err(
            Error::usage("this needs a confirmation, and there is no terminal to ask on")
                .hint(format!("add {flag}")),
        );
    }
    let answer = Confirm::new()
        .with_prompt(question)
        .default(false)
        .interact();
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::failed("cancelled, nothing was changed")),
        Err(e) => Err(Error::failed("no answer").caused_by(e)),
    }
}
