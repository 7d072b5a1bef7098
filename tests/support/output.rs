//! What a program said, shown whole when an expectation fails.

use std::fmt;
use std::process::Output;

/// Standard output, standard error and exit status together.
#[derive(Clone)]
pub(crate) struct CommandOutput {
    command: String,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// Exit status; -1 when a signal ended it.
    pub(crate) status: i32,
}

impl CommandOutput {
    pub(crate) fn new(program: &str, args: &[&str], output: &Output) -> Self {
        let name = program.rsplit('/').next().unwrap_or(program);
        Self {
            command: format!("{name} {}", args.join(" ")),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code().unwrap_or(-1),
        }
    }

    /// Expects success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    /// Expects an exit status.
    #[track_caller]
    pub(crate) fn code(self, status: i32) -> Self {
        assert_eq!(self.status, status, "exit status of {self}");
        self
    }

    /// Expects a text in standard error.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in stderr of {self}"
        );
        self
    }

    /// Expects a text in standard output.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} in stdout of {self}"
        );
        self
    }

    /// Returns standard output without the white space around it.
    pub(crate) fn text(&self) -> &str {
        self.stdout.trim()
    }
}

impl fmt::Display for CommandOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.command)?;
        writeln!(f, "--- stdout\n{}", self.stdout.trim_end())?;
        writeln!(f, "--- stderr\n{}", self.stderr.trim_end())?;
        write!(f, "--- status {}", self.status)
    }
}
