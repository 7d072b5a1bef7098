//! The firewall's tools, run with the rights that the context gives.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::super::command::{Output, Tool};
use super::super::error::HostError;
use super::super::facts::find_in_sbin;
use super::error::FirewallError;
use crate::store::FirewallLock;

/// How tools get the rights they need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Privilege {
    /// Those of the caller.
    #[default]
    Own,
    /// Through `sudo -n`, which never asks.
    Sudo,
}

/// How often a tool is run again that found the firewall locked, and after which pause.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);
/// The exit status of iptables for "locked" and "no resources".
const TRY_AGAIN: i32 = 4;

/// Runs the tools.
#[derive(Debug, Clone, Copy)]
pub(in crate::host) struct Tools {
    pub(in crate::host) privilege: Privilege,
}

impl Tools {
    /// Returns whether there is a tool of that name.
    pub(in crate::host) fn has(self, name: &str, package: &'static str) -> bool {
        find_in_sbin(&[name], package).is_ok()
    }

    /// Runs a tool; `None` where there is none of that name.
    pub(in crate::host) fn run_if_there(
        self,
        name: &str,
        package: &'static str,
        args: &[&str],
        input: &[u8],
    ) -> Result<Option<Output>, FirewallError> {
        match find_in_sbin(&[name], package) {
            Err(HostError::Missing { .. }) => Ok(None),
            Err(e) => Err(e.into()),
            Ok(tool) => self.run(&tool, name, args, input).map(Some),
        }
    }

    /// Runs a tool that writes rules; nothing where there is none of that name. It holds the firewall's
    /// lock as long as it runs: where we are killed meanwhile, the next run waits for its end.
    pub(super) fn load(
        self,
        name: &str,
        package: &'static str,
        args: &[&str],
        input: &[u8],
        lock: &FirewallLock<'_>,
    ) -> Result<(), FirewallError> {
        let tool = match find_in_sbin(&[name], package) {
            Err(HostError::Missing { .. }) => return Ok(()),
            tool => tool?,
        };
        let held = lock.share().map_err(|source| HostError::Spawn {
            program: name.to_owned(),
            source,
        })?;
        let tool = tool.holding(Some(Arc::new(held)));
        self.run(&tool, name, args, input).map(drop)
    }

    fn run(
        self,
        tool: &Tool,
        name: &str,
        args: &[&str],
        input: &[u8],
    ) -> Result<Output, FirewallError> {
        for again in (0..TRIES).rev() {
            let (status, output) = self.once(tool, args, input)?;
            if status.success() {
                return Ok(output);
            }
            let said = first_line(&output.stderr);
            // sudo speaks of other things first, such as a host name that does not resolve.
            if let Some(said) = denial(&output.stderr) {
                return Err(FirewallError::NotPermitted {
                    tool: name.to_owned(),
                    said,
                    sudo: self.privilege == Privilege::Sudo,
                });
            }
            if status.code() != Some(TRY_AGAIN) {
                return Err(FirewallError::Tool(HostError::Failed {
                    program: name.to_owned(),
                    status: status.to_string(),
                    stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                }));
            }
            if again == 0 {
                let tool = name.to_owned();
                return Err(FirewallError::Locked { tool, said });
            }
            thread::sleep(PAUSE);
        }
        unreachable_lock(name)
    }

    fn once(
        self,
        tool: &Tool,
        args: &[&str],
        input: &[u8],
    ) -> Result<(std::process::ExitStatus, Output), HostError> {
        match self.privilege {
            Privilege::Own => tool.run_any(args, input, None),
            Privilege::Sudo => {
                let program = tool.path().to_string_lossy();
                let mut all = vec!["-n", "--", program.as_ref()];
                all.extend(args);
                let sudo = Tool::find(&["sudo"], "sudo")?;
                sudo.holding(tool.held()).run_any(&all, input, None)
            }
        }
    }

    /// Writes a small file of /proc/sys or /sys.
    pub(super) fn write(self, path: &Path, value: &str) -> Result<(), FirewallError> {
        tracing::info!(target: "host", "write {value} to {}", path.display());
        match self.privilege {
            Privilege::Own => std::fs::write(path, value).map_err(|source| FirewallError::Kernel {
                path: path.display().to_string(),
                source,
            }),
            Privilege::Sudo => {
                let tee = find_in_sbin(&["tee"], "coreutils")?;
                let path = path.to_string_lossy();
                self.run(&tee, "tee", &["--", &path], value.as_bytes())
                    .map(drop)
            }
        }
    }
}

fn unreachable_lock(name: &str) -> Result<Output, FirewallError> {
    Err(FirewallError::Locked {
        tool: name.to_owned(),
        said: String::new(),
    })
}

fn first_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    lines.next().unwrap_or_default().to_owned()
}

/// Returns the line that says that the right is missing.
fn denial(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    text.lines()
        .map(str::trim)
        .find(|l| is_denial(l))
        .map(str::to_owned)
}

fn is_denial(said: &str) -> bool {
    [
        "Permission denied",
        "Operation not permitted",
        "must be root",
        "a password is required",
        "sudoers",
        "not allowed to execute",
    ]
    .iter()
    .any(|words| said.contains(words))
}
