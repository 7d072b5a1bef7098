//! How a balancer speaks, and how it chooses.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Protocol;
use crate::api::volume::{UnknownWord, word_enum};

word_enum!(
    /// What a balancer understands of what passes through it.
    BalancerProtocol {
        /// HTTP requests, each of which may go to another target.
        Http = "http",
        /// TCP connections.
        Tcp = "tcp",
        /// UDP packets.
        Udp = "udp",
    }
);

word_enum!(
    /// How a target is chosen.
    Algorithm {
        /// One after the other, by weight.
        RoundRobin = "round-robin",
        /// The one with the fewest open connections, by weight.
        LeastConn = "least-conn",
        /// Always the same one for a client's address.
        IpHash = "ip-hash",
        /// The less busy one of two that are drawn by lot.
        RandomTwo = "random-two",
        /// The same one for a client's address, also for nearly all clients when targets come and go.
        ConsistentHash = "consistent-hash",
    }
);

#[expect(
    clippy::derivable_impls,
    reason = "the macro that makes both enums knows no attribute of a word"
)]
impl Default for BalancerProtocol {
    fn default() -> Self {
        Self::Http
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the macro that makes both enums knows no attribute of a word"
)]
impl Default for Algorithm {
    fn default() -> Self {
        Self::RoundRobin
    }
}

impl BalancerProtocol {
    /// Returns the protocol of the sockets.
    pub const fn transport(self) -> Protocol {
        match self {
            Self::Http | Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
        }
    }
}

impl Algorithm {
    /// Returns whether nginx can hold a target back until no other one answers.
    pub const fn has_backups(self) -> bool {
        matches!(self, Self::RoundRobin | Self::LeastConn)
    }
}
