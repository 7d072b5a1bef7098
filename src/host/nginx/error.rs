//! Why balancers are not as they should be.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::api::Protocol;
use crate::error::{Error, Kind};
use crate::host::HostError;

/// What went wrong with our nginx.
#[derive(Debug, thiserror::Error)]
pub enum NginxError {
    /// A tool is missing or failed.
    #[error(transparent)]
    Tool(#[from] HostError),
    /// There is no part for tcp and udp.
    #[error("this nginx has no stream module, which balancers of tcp and udp need")]
    NoStream,
    /// Somebody else listens there.
    #[error("port {at}/{protocol} is taken{}", by(.program))]
    Taken {
        /// The protocol.
        protocol: Protocol,
        /// Where.
        at: SocketAddr,
        /// Who, where the caller may know.
        program: Option<String>,
    },
    /// The address is none of the host's.
    #[error("{0} is no address of this host")]
    NoAddress(SocketAddr),
    /// Ports below 1024 are root's.
    #[error("only root may listen at a port below 1024: {said}")]
    NoRight {
        /// What nginx said.
        said: String,
    },
    /// nginx takes the configuration for wrong.
    #[error("nginx refuses the configuration: {said}")]
    Rejected {
        /// What it said.
        said: String,
    },
    /// Another balancer, which is served, is in the way of every change.
    #[error(
        "nginx refuses the configuration because of loadbalancer/{name}, not because of this one"
    )]
    Blocked {
        /// The name of that balancer.
        name: String,
        /// What nginx said.
        said: String,
    },
    /// A configuration that was tested did not come into force.
    #[error("nginx did not take over the configuration: {why}{}", after(*.restored))]
    NotInForce {
        /// Why.
        why: String,
        /// Whether what was before is in force again.
        restored: bool,
    },
    /// The caller may not make the directory.
    #[error("the load balancers of this context are for root to run: {0} cannot be made")]
    Roots(PathBuf),
    /// The balancers belong to another user.
    #[error("the balancers of this context are run by another user")]
    OtherUser,
    /// The directory is not what it must be.
    #[error("{path} {what}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another run changes the balancers.
    #[error("another kvmctl is changing the balancers of this context")]
    Busy,
    /// The object is not complete.
    #[error(transparent)]
    NoIdentity(#[from] crate::host::render::nginx::NoIdentity),
    /// The file system said no.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn by(program: &Option<String>) -> String {
    program
        .as_ref()
        .map_or_else(String::new, |program| format!(" by {program}"))
}

const fn after(restored: bool) -> &'static str {
    if restored {
        "; what was before is in force"
    } else {
        ""
    }
}

impl NginxError {
    pub(super) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::Io {
            doing,
            path: path.into(),
            source: source.into(),
        }
    }
}

impl From<NginxError> for Error {
    fn from(error: NginxError) -> Self {
        let message = error.to_string();
        match error {
            NginxError::Tool(e) => e.into(),
            NginxError::NoStream => Self::new(Kind::Unavailable, message)
                .hint("install the package: apt-get install libnginx-mod-stream"),
            NginxError::Taken { at, protocol, .. } => {
                let flag = match protocol {
                    Protocol::Tcp => "t",
                    Protocol::Udp => "u",
                };
                Self::conflict(message)
                    .hint(format!(
                        "see who it is: ss -{flag}lnp sport = :{}",
                        at.port()
                    ))
                    .hint("choose another port with --port")
            }
            NginxError::NoAddress(_) => {
                Self::conflict(message).hint("see the addresses: ip address show")
            }
            NginxError::NoRight { .. } => Self::new(Kind::Unavailable, message)
                .hint("choose a port from 1024 on")
                .hint_as_root(),
            NginxError::Roots(_) => Self::new(Kind::Unavailable, message)
                .hint_as_root()
                .hint("those of your own guests need no right: kvmctl --uri qemu:///session …"),
            NginxError::OtherUser => Self::new(Kind::Unavailable, message).hint_as_root(),
            NginxError::Unsafe { .. }
            | NginxError::NotInForce { .. }
            | NginxError::NoIdentity(_) => Self::failed(message).hint("kvmctl reconcile"),
            NginxError::Rejected { .. } => Self::failed(message),
            NginxError::Blocked { name, said } => Self::failed(message)
                .caused_by(said)
                .hint(format!("kvmctl describe lb {name}"))
                .hint(format!("kvmctl delete lb {name}")),
            NginxError::Busy => Self::new(Kind::Busy, message),
            NginxError::Io { source, .. } => {
                let denied = source.kind() == std::io::ErrorKind::PermissionDenied;
                let kind = if denied {
                    Kind::Unavailable
                } else {
                    Kind::Failed
                };
                let error = Self::new(kind, message).caused_by(source);
                if denied { error.hint_as_root() } else { error }
            }
        }
    }
}
