//! OpenSSH's client, with our own key and the host key that was made before the guest booted: never a
//! prompt, never an unknown host.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tempfile::TempDir;

use super::command::Tool;
use super::error::HostError;
use super::hop::Hop;
use crate::shell::shell_words;

/// Where to, and who is there.
#[derive(Clone)]
pub struct SshTarget {
    /// Address of the guest's SSH daemon, as its host sees it.
    pub at: SocketAddr,
    /// User to log in as.
    pub user: String,
    /// Our private key.
    pub private_key: String,
    /// The guest's public host key; without one, the first key that is shown is taken.
    pub host_key: Option<String>,
    /// Whether commands get the environment that the instance was given: the guest has a file with
    /// it, which only login shells read by themselves.
    pub environment: bool,
    /// Host that the guest is reached through.
    pub hop: Option<Hop>,
}

impl std::fmt::Debug for SshTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshTarget({}@{})", self.user, self.at)
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

    /// Gives it a flag that ends a login when it is set.
    #[must_use]
    pub fn stopped_by(self, stop: Arc<AtomicBool>) -> Self {
        let tool = self.tool.stopped_by(stop);
        Self { tool }
    }

    /// Runs one command and keeps what it prints.
    ///
    /// # Errors
    /// [`HostError::Spawn`], [`HostError::TimedOut`], [`HostError::OtherHostKey`],
    /// [`HostError::KeyRefused`] and [`HostError::Login`].
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
        args.push(with_environment(target, shell_words(argv)));
        let tool = self.tool.clone().timeout(timeout);
        let (status, out) = tool.run_any(&args, input, None)?;
        let code = u8::try_from(status.code().unwrap_or(255) & 0xff).unwrap_or(255);
        if code == 255 {
            own_failure(target, &String::from_utf8_lossy(&out.stderr))?;
        }
        Ok(Ran {
            code,
            stdout: out.stdout,
            stderr: out.stderr,
        })
    }

    /// Logs in on the caller's terminal, or runs one command there.
    ///
    /// # Errors
    /// [`HostError::Spawn`], [`HostError::OtherHostKey`] and [`HostError::KeyRefused`].
    pub fn interactive(&self, target: &SshTarget, command: &[String]) -> Result<u8, HostError> {
        let keys = self.keys(target)?;
        let mut args = arguments(target, keys.path());
        args.push(destination(target));
        if !command.is_empty() {
            args.push("--".to_owned());
            // As plain ssh has it: the words are joined and the guest's shell reads them.
            args.push(with_environment(target, command.join(" ")));
        }
        let code = self.tool.interactive(&args)?;
        if code == 255 {
            // Its words went to the terminal, so it is asked again to know what they were.
            let again = self.run(target, &["true".to_owned()], b"", AGAIN);
            if let Err(known @ (HostError::OtherHostKey { .. } | HostError::KeyRefused { .. })) =
                again
            {
                return Err(known);
            }
        }
        Ok(code)
    }

    /// Returns the host key that the guest shows now, whatever was known of it.
    ///
    /// # Errors
    /// [`HostError::Spawn`], [`HostError::TimedOut`], and [`HostError::Login`] when it shows none.
    pub fn shown_key(&self, target: &SshTarget) -> Result<String, HostError> {
        let target = &SshTarget {
            host_key: None,
            ..target.clone()
        };
        let keys = self.keys(target)?;
        let mut args = arguments(target, keys.path());
        args.extend(["-T".to_owned(), "-o".to_owned(), "BatchMode=yes".to_owned()]);
        args.extend([destination(target), "true".to_owned()]);
        let tool = self.tool.clone().timeout(AGAIN);
        let (_, out) = tool.run_any(&args, b"", None)?;
        // ssh writes it down before it logs in.
        let known = fs::read_to_string(keys.path().join("known_hosts")).unwrap_or_default();
        let key = known.lines().next().and_then(|l| l.split_once(' '));
        key.map(|(_, key)| key.trim().to_owned()).ok_or_else(|| {
            let stderr = String::from_utf8_lossy(&out.stderr);
            HostError::Login {
                destination: destination(target),
                why: stderr
                    .lines()
                    .last()
                    .unwrap_or("it shows no key")
                    .to_owned(),
            }
        })
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
            let line = format!("{} {key}\n", target.at.ip());
            private(&dir.path().join("known_hosts"), &line).map_err(io)?;
        }
        Ok(dir)
    }
}

/// Words a command so that it finds the instance's environment; the user's own shell runs it, as
/// without.
fn with_environment(target: &SshTarget, command: String) -> String {
    const READ: &str = "[ ! -r /etc/profile.d/kvmctl-env.sh ] || . /etc/profile.d/kvmctl-env.sh; \
                        exec \"${SHELL:-/bin/sh}\" -c \"$1\"";
    match target.environment {
        true => shell_words(&["/bin/sh", "-c", READ, "sh", &command]),
        false => command,
    }
}

/// How long a second look at a failed login may take.
const AGAIN: Duration = Duration::from_secs(20);

/// Tells a failure of ssh itself from a command that ended with 255, as ssh does.
fn own_failure(target: &SshTarget, stderr: &str) -> Result<(), HostError> {
    const SIGNS: [&str; 7] = [
        "ssh: ",
        "Permission denied (",
        "Host key verification failed",
        "Connection closed by",
        "Connection reset by",
        "Connection timed out",
        "Unable to negotiate with",
    ];
    let destination = destination(target);
    if stderr.contains("HOST IDENTIFICATION HAS CHANGED") {
        return Err(HostError::OtherHostKey { destination });
    }
    let sign = |line: &&str| SIGNS.iter().any(|sign| line.contains(sign));
    match stderr.lines().rfind(sign) {
        Some(line) if line.contains("Permission denied (") => Err(HostError::KeyRefused {
            destination,
            why: line.trim().to_owned(),
        }),
        Some(line) => Err(HostError::Login {
            destination,
            why: line.trim().to_owned(),
        }),
        None => Ok(()),
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
    // Another sort of key would be an unknown one, not the wrong one.
    let sort = target.host_key.as_deref().and_then(|k| k.split(' ').next());
    if let Some(sort) = sort {
        option(format!("HostKeyAlgorithms={sort}"));
    }
    option(format!("StrictHostKeyChecking={checking}"));
    option(format!("Port={}", target.at.port()));
    // A port of the loopback leads to many guests in the course of time.
    option(format!("HostKeyAlias={}", target.at.ip()));
    option("ConnectTimeout=15".to_owned());
    option("LogLevel=ERROR".to_owned());
    option("ServerAliveInterval=15".to_owned());
    if let Some(hop) = &target.hop {
        option(format!("ProxyCommand={}", hop.proxy_command()));
    }
    args
}

fn destination(target: &SshTarget) -> String {
    format!("{}@{}", target.user, target.at.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_ssh_is_told_from_one_of_the_command() {
        let target = SshTarget {
            at: ([192, 0, 2, 1], 22).into(),
            user: "u".to_owned(),
            private_key: String::new(),
            host_key: None,
            environment: false,
            hop: None,
        };
        let plain = with_environment(&target, "echo 'a b'".to_owned());
        assert_eq!(plain, "echo 'a b'");
        assert!(own_failure(&target, "my own words\n").is_ok());
        let changed = own_failure(
            &target,
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @",
        );
        assert!(matches!(changed, Err(HostError::OtherHostKey { .. })));
        let denied = own_failure(&target, "u@192.0.2.1: Permission denied (publickey).\r\n");
        let denied = denied.unwrap_err();
        assert!(matches!(denied, HostError::KeyRefused { .. }));
        assert_eq!(
            denied.to_string(),
            "cannot log in to u@192.0.2.1: u@192.0.2.1: Permission denied (publickey)."
        );
    }
}
