//! Why the firewall could not be read or changed.

use crate::error::{Error, Kind};

use super::super::error::HostError;

/// What went wrong with the firewall.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The caller may not.
    #[error("{tool} needs root: {said}")]
    NotPermitted {
        /// The tool.
        tool: String,
        /// What it said.
        said: String,
        /// Whether `sudo -n` was tried.
        sudo: bool,
    },
    /// There is neither iptables nor nft.
    #[error("neither iptables nor nft found on PATH")]
    NoTool,
    /// A rule that was written is not there.
    #[error("{0} after the rules were written")]
    NotInForce(String),
    /// Another program held the firewall's lock again and again.
    #[error("{tool} is kept from the firewall's lock: {said}")]
    Locked {
        /// The tool.
        tool: String,
        /// What it said.
        said: String,
    },
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] HostError),
    /// A setting of the kernel could not be written.
    #[error("cannot write {path}")]
    Kernel {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl From<FirewallError> for Error {
    fn from(error: FirewallError) -> Self {
        let message = error.to_string();
        match error {
            FirewallError::NotPermitted { sudo: true, .. } => Self::new(Kind::Unavailable, message)
                .hint("let sudo run iptables, iptables-save, iptables-restore, nft and tee without a password"),
            FirewallError::NotPermitted { .. } => Self::new(Kind::Unavailable, message)
                .hint_as_root()
                .hint("or let the context use sudo: kvmctl config set-context NAME --privilege sudo"),
            FirewallError::NoTool => {
                Self::new(Kind::Unavailable, message).hint("apt-get install iptables")
            }
            FirewallError::NotInForce(_) => Self::failed(message).hint("kvmctl reconcile"),
            FirewallError::Locked { .. } => Self::new(Kind::Busy, message),
            FirewallError::Tool(e) => e.into(),
            FirewallError::Kernel { source, .. } => Self::failed(message).caused_by(source),
        }
    }
}
