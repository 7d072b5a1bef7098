//! Which domains are plugged into which networks, whoever made them.

use std::collections::BTreeSet;

use super::world::World;
use crate::api::{AttachedInterface, Uid};
use crate::error::Result;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::xml::network::NetworkXml;

/// An interface of a domain, as it is or as it will be at the next start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plugged {
    /// Identity of the domain.
    pub uid: Uid,
    /// Name of the domain.
    pub domain: String,
    /// Whether the domain is an instance of kvmctl's.
    pub managed: bool,
    /// Whether the domain runs.
    pub running: bool,
    /// Hardware address.
    pub mac: Option<String>,
    /// libvirt network that it is plugged into.
    pub network: Option<String>,
    /// Bridge that it is plugged into past all networks.
    pub bridge: Option<String>,
    /// Device of the host, while the domain runs.
    pub device: Option<String>,
}

impl Plugged {
    /// Returns whether it is in a network, by its name or by its bridge.
    pub fn is_in(&self, network: &NetworkXml) -> bool {
        let bridge = network.bridge.as_ref().and_then(|b| b.name.as_ref());
        self.network.as_deref() == Some(&network.name)
            || (self.network.is_none() && self.bridge.is_some() && self.bridge.as_ref() == bridge)
    }

    /// Returns what a person is told of it.
    pub fn shown(&self) -> AttachedInterface {
        AttachedInterface {
            domain: self.domain.clone(),
            managed: self.managed,
            running: self.running,
            mac: self.mac.clone(),
            address: None,
            device: self.device.clone(),
        }
    }
}

impl World {
    /// Lists the interfaces of all domains, running or not.
    ///
    /// Costs a call or two a domain: for looking at single networks, not for listings.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn plugged(&self) -> Result<Vec<Plugged>> {
        let host = self.host()?;
        let briefs = host.domain_briefs()?;
        let index = self.index_of(&briefs)?;
        let mut found = Vec::new();
        for brief in &briefs {
            let running = brief.state.is_active();
            let documents = host.domain_by_uid(brief.uid).and_then(|domain| {
                let live = if running { Some(domain.live()?) } else { None };
                Ok((live, domain.definition()?))
            });
            let (live, next) = match documents {
                Ok(documents) => documents,
                // Deleted meanwhile.
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(e.into()),
            };
            let like = Plugged {
                uid: brief.uid,
                domain: brief.name.clone(),
                managed: index.rows.contains_key(&brief.uid),
                running,
                mac: None,
                network: None,
                bridge: None,
                device: None,
            };
            found.extend(interfaces(&like, live.as_ref(), &next));
        }
        Ok(found)
    }
}

/// What runs comes first, because it knows its device; what is the same at the next start is not said
/// twice.
fn interfaces(like: &Plugged, live: Option<&DomainXml>, next: &DomainXml) -> Vec<Plugged> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for nic in live
        .into_iter()
        .chain([next])
        .flat_map(|d| &d.devices.interfaces)
    {
        let plugged = Plugged {
            mac: nic.mac(),
            network: nic.network().map(str::to_owned),
            bridge: nic.source.as_ref().and_then(|s| s.bridge.clone()),
            device: nic.target.as_ref().map(|t| t.dev.clone()),
            ..like.clone()
        };
        let place = (plugged.mac.clone(), plugged.network.clone());
        if seen.insert(place) {
            found.push(plugged);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(interfaces: &str) -> DomainXml {
        DomainXml::from_xml(&format!(
            "<domain type='qemu'><name>a</name><memory>1</memory><os><type>hvm</type></os>\
             <devices>{interfaces}</devices></domain>"
        ))
        .unwrap()
    }

    fn like() -> Plugged {
        Plugged {
            uid: Uid::from_bytes([1; 16]),
            domain: "a".to_owned(),
            managed: false,
            running: true,
            mac: None,
            network: None,
            bridge: None,
            device: None,
        }
    }

    #[test]
    fn an_interface_is_told_once_and_one_to_come_too() {
        let now = "<interface type='network'><mac address='52:54:00:00:00:01'/>\
                   <source network='blue' bridge='kvm-1'/><target dev='vnet0'/></interface>";
        let later = "<interface type='network'><mac address='52:54:00:00:00:01'/>\
                     <source network='blue'/></interface>\
                     <interface type='bridge'><source bridge='kvm-1'/></interface>";
        let found = interfaces(&like(), Some(&domain(now)), &domain(later));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].device.as_deref(), Some("vnet0"));
        let blue =
            NetworkXml::from_xml("<network><name>blue</name><bridge name='kvm-1'/></network>")
                .unwrap();
        assert!(found.iter().all(|p| p.is_in(&blue)), "{found:?}");
        let red = NetworkXml::from_xml("<network><name>red</name></network>").unwrap();
        assert!(!found.iter().any(|p| p.is_in(&red)));
    }
}
