//! Why there is no address, and how a person is told.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::error::{Error, Kind};

/// Why an address or a range cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Every address is in use.
    #[error("no address is free in {cidr}: {used} of {total} are in use")]
    Full {
        /// The range.
        cidr: Ipv4Net,
        /// Addresses for instances.
        total: usize,
        /// Those in use.
        used: usize,
    },
    /// The address lies elsewhere.
    #[error("{ip} is not in the network's range {cidr}")]
    Outside {
        /// The address.
        ip: Ipv4Addr,
        /// The range.
        cidr: Ipv4Net,
    },
    /// The address has a meaning of its own.
    #[error("{ip} is the {what} of {cidr}")]
    Special {
        /// The address.
        ip: Ipv4Addr,
        /// "network address", "broadcast address" or "gateway".
        what: &'static str,
        /// The range.
        cidr: Ipv4Net,
    },
    /// Somebody has the address.
    #[error("{ip} is taken{}", .by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default())]
    Taken {
        /// The address.
        ip: Ipv4Addr,
        /// Who, if it is known.
        by: Option<String>,
    },
    /// The range has no room for instances, or too much.
    #[error("{0} cannot be a network for instances: its prefix must be between /8 and /30")]
    Prefix(Ipv4Net),
    /// The gateway is not an address of the range.
    #[error("the gateway {gateway} is not an address of {cidr}")]
    Gateway {
        /// The gateway.
        gateway: Ipv4Addr,
        /// The range.
        cidr: Ipv4Net,
    },
    /// Every private range is in use by a route or a network of this host.
    #[error("no private range is free: each overlaps a route or a network of this host")]
    NoRange,
}

impl From<NetError> for Error {
    fn from(error: NetError) -> Self {
        let (kind, hint) = match &error {
            NetError::Full { .. } => (
                Kind::Conflict,
                Some(
                    "'kvmctl instances list' shows who has them; delete one or use another network",
                ),
            ),
            NetError::Taken { .. } => (
                Kind::Conflict,
                Some("leave the address out and a free one is chosen"),
            ),
            NetError::NoRange => (Kind::Conflict, Some("give a range of your own with --cidr")),
            NetError::Outside { .. }
            | NetError::Special { .. }
            | NetError::Prefix(_)
            | NetError::Gateway { .. } => (Kind::Usage, None),
        };
        let worded = Self::new(kind, error.to_string());
        match hint {
            Some(hint) => worded.hint(hint),
            None => worded,
        }
    }
}
