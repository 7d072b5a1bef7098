//! Who has the ports that balancers ask for, at one moment.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use super::error::NginxError;
use super::process::Processes;
use super::sockets::{self, Listening};
use crate::api::Protocol;
use crate::host::ports;
use crate::host::render::nginx::Site;

/// Everybody who listens, and which of them are our nginx.
pub(super) struct Ports {
    running: Processes,
    now: Listening,
    of_master: BTreeSet<(Protocol, SocketAddr)>,
    /// The sockets of all our processes: a process has some files for each balancer, and what one
    /// needs is mostly what the master has.
    ours: OnceCell<Ours>,
}

struct Ours {
    inodes: BTreeSet<u64>,
    held: BTreeSet<(Protocol, SocketAddr)>,
}

impl Ports {
    /// Looks.
    pub(super) fn now(running: Processes) -> Self {
        let now = Listening::now();
        let of_master = now.with(&running.master.map(sockets::inodes).unwrap_or_default());
        Self {
            running,
            now,
            of_master,
            ours: OnceCell::new(),
        }
    }

    /// Refuses ports that anybody but our nginx has; returns the sockets that it does not have yet.
    pub(super) fn check(&self, sites: &[&Site]) -> Result<Vec<(Protocol, SocketAddr)>, NginxError> {
        let fresh: Vec<(Protocol, SocketAddr)> = sites
            .iter()
            .flat_map(|s| s.sockets())
            .filter(|socket| !self.of_master.contains(socket))
            .collect();
        for (protocol, at) in fresh.iter().copied() {
            self.check_one(protocol, at)?;
        }
        Ok(fresh)
    }

    fn check_one(&self, protocol: Protocol, at: SocketAddr) -> Result<(), NginxError> {
        let Ours { inodes, held } = self.ours.get_or_init(|| self.ours());
        if held.contains(&(protocol, at)) {
            return Ok(());
        }
        let port_is_ours = held
            .iter()
            .any(|(p, bound)| *p == protocol && bound.port() == at.port());
        match self.now.other(protocol, at, inodes) {
            Some(other) if port_is_ours => Err(taken(protocol, at, ports::program(other.inode))),
            found => match sockets::try_bind(protocol, at) {
                // Nothing of anybody's is there, or it is ours: nginx knows how to share.
                Ok(()) => Ok(()),
                Err(_) if port_is_ours => Ok(()),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                    let program = found.and_then(|l| ports::program(l.inode));
                    Err(taken(protocol, at, program))
                }
                Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {
                    Err(NginxError::NoAddress(at))
                }
                // The test of the configuration says it better, or can do it.
                Err(_) => Ok(()),
            },
        }
    }

    fn ours(&self) -> Ours {
        let inodes = self.running.all().flat_map(sockets::inodes).collect();
        let held = self.now.with(&inodes);
        Ours { inodes, held }
    }
}

const fn taken(protocol: Protocol, at: SocketAddr, program: Option<String>) -> NginxError {
    NginxError::Taken {
        protocol,
        at,
        program,
    }
}
