//! A balancer whose targets have been looked up: all that a configuration is made of.

use std::net::SocketAddr;

use super::{BalancerTarget, LoadBalancer};

/// A balancer as it is to be in force now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedBalancer {
    /// The object, with its identity and without a status: what a rebuilt store begins with.
    pub object: LoadBalancer,
    /// Sockets that are listened on, in a stable order.
    pub listen: Vec<SocketAddr>,
    /// Sockets on which clients are sent to those with TLS, in a stable order.
    pub redirect: Vec<SocketAddr>,
    /// The targets, those of the list first and in its order, then those of the selector by name.
    pub targets: Vec<ResolvedTarget>,
}

/// A target and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedTarget {
    /// The target.
    pub target: BalancerTarget,
    /// Where it is reached, or why it cannot be.
    pub address: Result<SocketAddr, Unresolved>,
    /// Whether failing health checks took it out.
    pub out: bool,
}

/// Why a target cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// In one word.
    pub reason: String,
    /// For a person.
    pub message: String,
}

impl ResolvedTarget {
    /// Returns the socket that new connections go to now, if any do.
    pub fn open(&self) -> Option<SocketAddr> {
        let open = !self.out && !self.target.is_draining();
        self.address.as_ref().ok().copied().filter(|_| open)
    }
}
