//! A way to the guests of a remote host: OpenSSH carries connections from sockets in a directory of
//! ours to addresses that the host can reach.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::command::{Running, Tool};
use super::error::HostError;
use super::hop::Hop;

/// How long ssh may take to log in.
const LOGIN: Duration = Duration::from_secs(30);

/// Nobody is asked, and a host that is gone is noticed.
const OPTIONS: [&str; 3] = [
    "BatchMode=yes",
    "ExitOnForwardFailure=yes",
    "ServerAliveInterval=15",
];

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
    pub fn open(hop: &Hop, ends: &BTreeMap<u16, SocketAddr>) -> Result<Self, HostError> {
        let tool = Tool::find(&[hop.program()], "openssh-client")?;
        let folder = tempfile::tempdir().map_err(|source| HostError::Spawn {
            program: "ssh".to_owned(),
            source,
        })?;
        let mut args: Vec<String> = ["-N", "-T"].map(Into::into).into();
        for option in OPTIONS {
            args.extend(["-o".to_owned(), option.to_owned()]);
        }
        args.extend(hop.options());
        for (name, end) in ends {
            let socket = socket(folder.path(), *name);
            args.extend(["-L".to_owned(), format!("{}:{end}", socket.display())]);
        }
        args.extend(["--".to_owned(), hop.host.clone()]);
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
