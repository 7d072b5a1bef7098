//! OpenSSH's client, with our own key and the host key that was made before the guest booted: never a
//! prompt, never an unknown host.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::command::{HostError, Tool};
use crate::shell::shell_words;

/// Where to, and who is there.
#[derive(Clone)]
pub struct SshTarget {
    /// Address of the guest.
    pub address: IpAddr,
    /// User to log in as.
    pub user: String,
    /// Our private key.
    pub private_key: String,
    /// The guest's public host key; without one, the first key that is shown is taken.
    pub host_key: Option<String>,
    /// Host that the guest is reached through.
    pub jump: Option<String>,
}

impl std::fmt::Debug for SshTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshTarget({}@{})", self.user, self.address)
    }
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; 255 when ssh itself failed.
    pub code: u8,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

/// The client.
#[derive(Debug, Clone)]
pub struct Ssh {
    tool: Tool,
}

impl Ssh {
    /// Finds the client.
    ///
    /// # Errors
    /// [`HostError::Missing`].
    pub fn find() -> Result<Self, HostError> {
        Tool::find(&["ssh"], "openssh-client").map(|tool| Self { tool })
    }

    /// Runs one command and keeps what it prints.
    ///
    /// # Errors
    /// [`HostError::Spawn`] and [`HostError::TimedOut`].
    pub fn run(
        &self,
        target: &SshTarget,
        argv: &[String],
        input: &[u8],
        timeout: Duration,
    ) -> Result<Ran, HostError> {
        let keys = self.keys(target)?;
        let mut args = arguments(target, keys.path());
        args.extend(["-T".to_owned(), "-o".to_owned(), "BatchMode=yes".to_owned()]);
        args.push(destination(target));
        args.push(shell_words(argv));
        let tool = self.tool.clone().timeout(timeout);
        let (status, out) = tool.run_any(&args, input, None)?;
        let code = u8::try_from(status.code().unwrap_or(255) & 0xff).unwrap_or(255);
        Ok(Ran {
            code,
            stdout: out.stdout,
            stderr: out.stderr,
        })
    }

    /// Logs in on the caller's terminal, or runs one command there.
    ///
    /// # Errors
    /// [`HostError::Spawn`].
    pub fn interactive(&self, target: &SshTarget, command: &[String]) -> Result<u8, HostError> {
        let keys = self.keys(target)?;
        let mut args = arguments(target, keys.path());
        args.push(destination(target));
        if !command.is_empty() {
            args.push("--".to_owned());
            // As plain ssh has it: the words are joined and the guest's shell reads them.
            args.push(command.join(" "));
        }
        self.tool.interactive(&args)
    }

    /// Writes the keys to a directory that only the caller can enter; ssh refuses a private key that
    /// others could read, which in a shared store they could.
    fn keys(&self, target: &SshTarget) -> Result<TempDir, HostError> {
        let io = |source| HostError::Spawn {
            program: "ssh".to_owned(),
            source,
        };
        let dir = tempfile::tempdir().map_err(io)?;
        private(&dir.path().join("key"), &target.private_key).map_err(io)?;
        if let Some(key) = &target.host_key {
            let line = format!("{} {key}\n", target.address);
            private(&dir.path().join("known_hosts"), &line).map_err(io)?;
        }
        Ok(dir)
    }
}

fn private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn arguments(target: &SshTarget, dir: &Path) -> Vec<String> {
    let checking = if target.host_key.is_some() {
        "yes"
    } else {
        "accept-new"
    };
    let mut args: Vec<String> = vec!["-F".into(), "none".into()];
    let mut option = |text: String| args.extend(["-o".to_owned(), text]);
    option(format!("IdentityFile={}", dir.join("key").display()));
    option("IdentitiesOnly=yes".to_owned());
    option(format!(
        "UserKnownHostsFile={}",
        dir.join("known_hosts").display()
    ));
    option("GlobalKnownHostsFile=/dev/null".to_owned());
    option(format!("StrictHostKeyChecking={checking}"));
    option("ConnectTimeout=15".to_owned());
    option("LogLevel=ERROR".to_owned());
    option("ServerAliveInterval=15".to_owned());
    if let Some(jump) = &target.jump {
        option(format!("ProxyJump={jump}"));
    }
    args
}

fn destination(target: &SshTarget) -> String {
    format!("{}@{}", target.user, target.address)
}
