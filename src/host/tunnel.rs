//! A way to the guests of a remote host: OpenSSH carries connections from sockets in a directory of
//! ours to addresses that the host can reach.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::command::{HostError, Running, Tool};

/// How long ssh may take to log in.
const LOGIN: Duration = Duration::from_secs(30);

/// A host that libvirt reaches by ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    /// `[user@]host[:port]`.
    pub destination: String,
    /// Private key that the URI names.
    key_file: Option<String>,
    /// The URI says not to look at the host's key.
    unverified: bool,
}

impl SshHost {
    /// Reads a libvirt URI; `None` where its transport is not ssh.
    pub fn of_uri(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let transport = scheme.split_once('+')?.1;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let destination = place.split('/').next().unwrap_or_default();
        if !matches!(transport, "ssh" | "libssh" | "libssh2") || destination.is_empty() {
            return None;
        }
        let parameter = |name: &str| {
            let mut pairs = query.split(['&', ';']).filter_map(|p| p.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, v)| v)
        };
        Some(Self {
            destination: destination.to_owned(),
            key_file: parameter("keyfile").map(str::to_owned),
            unverified: parameter("no_verify").is_some_and(|v| v != "0"),
        })
    }

    fn arguments(&self) -> Vec<String> {
        let mut args: Vec<String> = ["-N", "-T", "-o", "BatchMode=yes"].map(Into::into).into();
        let mut option = |text: &str| args.extend(["-o".to_owned(), text.to_owned()]);
        option("ExitOnForwardFailure=yes");
        option("ServerAliveInterval=15");
        option("LogLevel=ERROR");
        if self.unverified {
            option("StrictHostKeyChecking=no");
        }
        if let Some(key) = &self.key_file {
            args.extend(["-i".to_owned(), key.clone()]);
        }
        args
    }
}

/// Sockets of this machine that lead to addresses as a remote host sees them. It ends with this value.
#[derive(Debug)]
pub struct Tunnel {
    ssh: Running,
    folder: TempDir,
}

impl Tunnel {
    /// Opens a socket for each address, named by its key.
    ///
    /// # Errors
    /// [`HostError`]: no ssh, or what it says when it does not get in.
    pub fn open(host: &SshHost, ends: &BTreeMap<u16, SocketAddr>) -> Result<Self, HostError> {
        let tool = Tool::find(&["ssh"], "openssh-client")?;
        let folder = tempfile::tempdir().map_err(|source| HostError::Spawn {
            program: "ssh".to_owned(),
            source,
        })?;
        let mut args = host.arguments();
        for (name, end) in ends {
            let socket = socket(folder.path(), *name);
            args.extend(["-L".to_owned(), format!("{}:{end}", socket.display())]);
        }
        args.extend(["--".to_owned(), format!("ssh://{}", host.destination)]);
        let ssh = tool.beside(&args)?;
        let mut tunnel = Self { ssh, folder };
        let deadline = Instant::now() + LOGIN;
        while !ends.keys().all(|name| tunnel.socket(*name).exists()) {
            if let Some(error) = tunnel.ended() {
                return Err(error);
            }
            if Instant::now() >= deadline {
                return Err(HostError::TimedOut {
                    program: "ssh".to_owned(),
                    seconds: LOGIN.as_secs(),
                });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(tunnel)
    }

    /// Returns the socket of a key.
    pub fn socket(&self, name: u16) -> PathBuf {
        socket(self.folder.path(), name)
    }

    /// Returns why ssh ended, if it has.
    pub fn ended(&mut self) -> Option<HostError> {
        self.ssh.ended()
    }
}

fn socket(folder: &Path, name: u16) -> PathBuf {
    folder.join(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_uri_is_found_and_only_that_of_ssh() {
        let host = |uri| SshHost::of_uri(uri);
        let full = host("qemu+ssh://me@kvm1:2222/system?keyfile=/k/id&no_verify=1").unwrap();
        assert_eq!(full.destination, "me@kvm1:2222");
        let args = full.arguments().join(" ");
        assert!(
            args.contains("-i /k/id") && args.contains("StrictHostKeyChecking=no"),
            "{args}"
        );
        assert_eq!(
            host("qemu+libssh2://kvm1/session").unwrap().destination,
            "kvm1"
        );
        let plain = host("qemu+ssh://kvm1/system")
            .unwrap()
            .arguments()
            .join(" ");
        assert!(
            !plain.contains("StrictHostKeyChecking") && !plain.contains("-i "),
            "{plain}"
        );
        for other in [
            "qemu:///system",
            "qemu+tcp://kvm1/system",
            "qemu+ssh:///system",
            "x",
        ] {
            assert_eq!(host(other), None, "{other}");
        }
    }
}
