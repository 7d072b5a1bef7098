//! Reserved addresses of instances, and their names, that networks have forgotten: somebody edited
//! the network or made it anew, or renamed the domain.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::reconcile::Finding;
use crate::api::{Name, Uid};
use crate::error::Result;
use crate::libvirt::xml::network::NetworkXml;
use crate::libvirt::{DomainBrief, LibvirtError, Network};
use crate::observe::{NetworkFacts, World};
use crate::store::{InstanceRecord, Intent, NicRecord};

/// What is in the record and not in the network.
struct Lost {
    instance: String,
    nic: NicRecord,
    ip: Ipv4Addr,
    network: Network,
    what: What,
}

/// What a network has instead.
enum What {
    /// Of the reservation: another address, or none.
    Address(Option<Ipv4Addr>),
    /// Of the name: that which the instance was made with, or none.
    Name(Option<String>),
}

impl What {
    const fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Address(_) => ("kvmctl reconcile reserves it again", "reserved again"),
            Self::Name(_) => ("kvmctl reconcile names it again", "named again"),
        }
    }
}

/// Finds them; changes nothing.
///
/// # Errors
/// What libvirt or the store refuses.
pub(super) fn check(world: &World, domains: &[DomainBrief]) -> Result<Vec<Finding>> {
    let lost = lost(world, domains)?;
    let told = |l: &Lost| finding(l, Ok(l.what.words().0.to_owned()), false);
    Ok(lost.iter().map(told).collect())
}

/// Makes them again.
///
/// # Errors
/// What libvirt or the store refuses; what goes wrong with one of them is in its finding.
pub(super) fn mend(world: &World, domains: &[DomainBrief]) -> Result<Vec<Finding>> {
    let mend = |lost: &Lost| {
        let done = put_right(lost).map(|()| lost.what.words().1.to_owned());
        let mended = done.is_ok();
        finding(lost, done.map_err(|e| e.to_string()), mended)
    };
    Ok(lost(world, domains)?.iter().map(mend).collect())
}

fn finding(lost: &Lost, action: Result<String, String>, mended: bool) -> Finding {
    let (ip, network) = (lost.ip, &lost.nic.network);
    let problem = match &lost.what {
        What::Address(None) => format!("has lost its reservation of {ip} in network {network:?}"),
        What::Address(Some(other)) => {
            format!("is given {other} by network {network:?}, and not {ip}")
        }
        What::Name(None) => format!("is not known by its name in network {network:?}"),
        What::Name(Some(old)) => format!("is known as {old:?} in network {network:?}"),
    };
    Finding {
        object: format!("instance/{}", lost.instance),
        problem,
        mended,
        action: action.unwrap_or_else(|error| error),
    }
}

fn put_right(lost: &Lost) -> Result<(), LibvirtError> {
    let (network, mac, ip) = (&lost.network, lost.nic.mac.to_string(), lost.ip);
    match &lost.what {
        What::Address(instead) => {
            if instead.is_some() {
                network.remove_host(&mac)?;
            }
            network.add_host(&mac, ip, &lost.instance)
        }
        What::Name(instead) => {
            if let Some(old) = instead {
                network.remove_name(ip, &[old])?;
            }
            network.add_name(ip, &lost.instance)
        }
    }
}

fn lost(world: &World, domains: &[DomainBrief]) -> Result<Vec<Lost>> {
    let store = world.store_for_reading()?;
    let pending: Vec<Uid> = store.all::<Intent>()?.iter().map(|i| i.uid).collect();
    let mut networks = BTreeMap::new();
    let mut lost = Vec::new();
    for record in store.all::<InstanceRecord>()? {
        if pending.contains(&record.uid) {
            continue;
        }
        let domain = domains.iter().find(|domain| domain.uid == record.uid);
        for nic in &record.nics {
            let (Some(ip), Some(uid)) = (nic.ip, nic.network_uid) else {
                continue;
            };
            if !networks.contains_key(&nic.network) {
                networks.insert(nic.network.clone(), look_up(world, &nic.network)?);
            }
            let Some(Some((network, xml, facts))) = networks.get(&nic.network) else {
                continue;
            };
            // Another network of the same name hands out other addresses: that is for a person.
            if facts.uid != uid {
                continue;
            }
            let has = facts.address_of(nic.mac);
            let address = (has != Some(ip)).then_some(What::Address(has));
            let named = domain.filter(|_| facts.ours);
            let name = named.and_then(|domain| lost_name(&record, ip, &domain.name, xml));
            let each = address.into_iter().chain(name);
            lost.extend(each.map(|what| Lost {
                instance: domain.map_or_else(|| record.name.to_string(), |d| d.name.clone()),
                nic: nic.clone(),
                ip,
                network: network.clone(),
                what,
            }));
        }
    }
    Ok(lost)
}

/// Compares what a network calls an address with the name of the instance. What somebody else calls it
/// is theirs to say, and so is all of an instance that they made.
fn lost_name(record: &InstanceRecord, ip: Ipv4Addr, name: &str, xml: &NetworkXml) -> Option<What> {
    // Somebody may have renamed it to what no name server takes.
    if record.adopted || !xml.has_dns() || Name::new(name).is_err() {
        return None;
    }
    match xml.names_of(ip.into()) {
        None => Some(What::Name(None)),
        Some([old]) if old != name && *old == record.name.as_str() => {
            Some(What::Name(Some(old.clone())))
        }
        Some(_) => None,
    }
}

fn look_up(world: &World, name: &str) -> Result<Option<(Network, NetworkXml, NetworkFacts)>> {
    match world.host()?.network(name) {
        Ok(network) => {
            let xml = network.definition()?;
            let facts = NetworkFacts::read(&xml)?;
            Ok(Some((network, xml, facts)))
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}
