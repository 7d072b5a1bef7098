//! A second process of this program that does something when this one ends without having said that
//! it need not be done: a process that is killed can do nothing itself.

use std::io::Write;
use std::os::unix::process::CommandExt;
#[expect(
    clippy::disallowed_types,
    reason = "it is this program itself, not a tool of the host"
)]
use std::process::Command;
use std::process::{Child, Stdio};

use super::error::HostError;

/// The second process. Until it is dismissed, it does its work when this process ends.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// What the second process reads on its stdin before the end when it is not needed.
    pub const DISMISSED: &'static [u8] = b"dismissed\n";

    /// Starts it; `variable` and `value` in its environment tell it what it is to do. What it cannot
    /// read of our terminal cannot end it, as an interrupt ends us.
    ///
    /// # Errors
    /// [`HostError::Spawn`].
    pub fn start(variable: &str, value: &str) -> Result<Self, HostError> {
        let failed = |source| HostError::Spawn {
            program: "kvmctl".into(),
            source,
        };
        let program = std::env::current_exe().map_err(failed)?;
        #[expect(
            clippy::disallowed_types,
            reason = "it is this program itself, not a tool of the host"
        )]
        let mut command = Command::new(program);
        command.env(variable, value).process_group(0);
        command.stdin(Stdio::piped()).current_dir("/");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(failed)
    }

    /// Tells it that it is not needed, and waits for its end.
    pub fn dismiss(mut self) {
        if let Some(mut stdin) = self.0.stdin.take() {
            // One that is gone already needs not be told.
            let _ = stdin.write_all(Self::DISMISSED);
        }
        let _ = self.0.wait();
    }
}
