//! Forwards of a user's own daemon: QEMU's user-mode network makes them itself, while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::wanted::WantedForward;
use crate::api::{PortMapping, Uid};
use crate::error::Result;
use crate::libvirt::xml::interface::InterfaceXml;
use crate::libvirt::{Domain, HostForward};
use crate::observe::World;

/// The user-mode network of a guest that runs.
#[derive(Debug, Clone)]
pub struct UserNet {
    /// Whose it is.
    pub domain: Domain,
    /// The guest's interface in it.
    pub nic: InterfaceXml,
    /// What it forwards now.
    pub there: BTreeSet<HostForward>,
}

/// What is forwarded now, by instance; nothing is said of one that does not run.
pub(super) type Forwarded = BTreeMap<Uid, BTreeSet<HostForward>>;

impl World {
    /// Looks at the user-mode network of an instance; there is none where it does not run, or is in
    /// other networks only.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn user_net(&self, uid: Uid) -> Result<Option<UserNet>> {
        let domain = match self.host()?.domain_by_uid(uid) {
            Ok(domain) if domain.state()?.is_active() => domain,
            Ok(_) => return Ok(None),
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let nics = domain.live()?.devices.interfaces;
        let Some(nic) = nics.into_iter().find(|nic| nic.kind == "user") else {
            return Ok(None);
        };
        let there = domain.host_forwards()?.into_iter().collect();
        Ok(Some(UserNet { domain, nic, there }))
    }

    /// Looks at all user-mode networks that forwards are wanted of.
    pub(super) fn forwarded(&self, wanted: &[WantedForward]) -> Result<Forwarded> {
        let owners: BTreeSet<Uid> = wanted.iter().map(WantedForward::owner).collect();
        let mut forwarded = Forwarded::new();
        for uid in owners {
            if let Some(net) = self.user_net(uid)? {
                forwarded.insert(uid, net.there);
            }
        }
        Ok(forwarded)
    }
}

/// Returns what QEMU is to forward for a mapping, a port each.
pub fn each_port(ports: &PortMapping) -> impl Iterator<Item = HostForward> + '_ {
    let address = match ports.address {
        Some(IpAddr::V4(address)) => address,
        // What else there is was refused when the port was taken.
        _ => Ipv4Addr::UNSPECIFIED,
    };
    (0..ports.count).map(move |n| HostForward {
        protocol: ports.protocol,
        address,
        host: ports.host.saturating_add(n),
        guest: ports.guest.saturating_add(n),
    })
}
