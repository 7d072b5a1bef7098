//! Which firewall libvirt uses for a network's bridge, and whether its own rules are there.

use super::forwards::{Carrier, segment_of};
use super::world::World;
use crate::api::{LibvirtRulesState, NetworkFirewall};
use crate::host::firewall::{Backend, LibvirtHealth};
use crate::libvirt::xml::network::NetworkXml;

impl World {
    /// Looks at the rules of a network that is up; nothing where there are none to look at, or for a
    /// caller who has no right to.
    pub(super) fn network_firewall(&self, network: &NetworkXml) -> Option<NetworkFirewall> {
        let Ok(Carrier::Firewall(firewall)) = self.carrier() else {
            return None;
        };
        let segment = segment_of(network).ok()?;
        let state = firewall.bridges(&[segment]).ok()?.pop()?;
        let backend = match state.backend {
            Backend::None => None,
            known => Some(known.to_string()),
        };
        let (libvirt_rules, missing) = match state.libvirt {
            LibvirtHealth::Present => (LibvirtRulesState::Present, None),
            LibvirtHealth::Missing(what) => (LibvirtRulesState::Missing, Some(what)),
            LibvirtHealth::NotExpected => (LibvirtRulesState::NotExpected, None),
        };
        Some(NetworkFirewall {
            backend,
            libvirt_rules,
            missing,
        })
    }
}
