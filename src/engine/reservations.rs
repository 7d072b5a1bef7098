//! Reserved addresses of instances that their networks have forgotten: somebody edited the network,
//! or made it anew.

use std::collections::BTreeMap;

use super::reconcile::Finding;
use crate::api::Uid;
use crate::error::Result;
use crate::libvirt::{LibvirtError, Network};
use crate::observe::{NetworkFacts, World};
use crate::store::{InstanceRecord, Intent, NicRecord};

/// A reservation that is in the record and not in the network.
struct Lost {
    instance: String,
    nic: NicRecord,
    network: Network,
    /// What the network has instead.
    instead: Option<std::net::Ipv4Addr>,
}

/// Finds them; changes nothing.
///
/// # Errors
/// What libvirt or the store refuses.
pub(super) fn check(world: &World) -> Result<Vec<Finding>> {
    let lost = lost(world)?;
    let told = |l: &Lost| {
        finding(
            l,
            Ok("kvmctl reconcile reserves it again".to_owned()),
            false,
        )
    };
    Ok(lost.iter().map(told).collect())
}

/// Makes them again.
///
/// # Errors
/// What libvirt or the store refuses; what goes wrong with one of them is in its finding.
pub(super) fn mend(world: &World) -> Result<Vec<Finding>> {
    let mend = |lost: &Lost| {
        let done = reserve(lost).map(|()| "reserved again".to_owned());
        let mended = done.is_ok();
        finding(lost, done.map_err(|e| e.to_string()), mended)
    };
    Ok(lost(world)?.iter().map(mend).collect())
}

fn finding(lost: &Lost, action: Result<String, String>, mended: bool) -> Finding {
    let (ip, network) = (lost.nic.ip, &lost.nic.network);
    let ip = ip.map(|ip| ip.to_string()).unwrap_or_default();
    let problem = match lost.instead {
        None => format!("has lost its reservation of {ip} in network {network:?}"),
        Some(other) => format!("is given {other} by network {network:?}, and not {ip}"),
    };
    Finding {
        object: format!("instance/{}", lost.instance),
        problem,
        mended,
        action: action.unwrap_or_else(|error| error),
    }
}

fn reserve(lost: &Lost) -> Result<(), LibvirtError> {
    let mac = lost.nic.mac.to_string();
    if lost.instead.is_some() {
        lost.network.remove_host(&mac)?;
    }
    match lost.nic.ip {
        Some(ip) => lost.network.add_host(&mac, ip, &lost.instance),
        None => Ok(()),
    }
}

fn lost(world: &World) -> Result<Vec<Lost>> {
    let store = world.store_for_reading()?;
    let pending: Vec<Uid> = store.all::<Intent>()?.iter().map(|i| i.uid).collect();
    let mut networks: BTreeMap<String, Option<(Network, NetworkFacts)>> = BTreeMap::new();
    let mut lost = Vec::new();
    for record in store.all::<InstanceRecord>()? {
        if pending.contains(&record.uid) {
            continue;
        }
        for nic in record.nics {
            let (Some(ip), Some(uid)) = (nic.ip, nic.network_uid) else {
                continue;
            };
            if !networks.contains_key(&nic.network) {
                networks.insert(nic.network.clone(), look_up(world, &nic.network)?);
            }
            let Some(Some((network, facts))) = networks.get(&nic.network) else {
                continue;
            };
            let has = facts.address_of(nic.mac);
            // Another network of the same name hands out other addresses: that is for a person.
            if facts.uid == uid && has != Some(ip) {
                lost.push(Lost {
                    instance: record.name.to_string(),
                    network: network.clone(),
                    instead: has,
                    nic,
                });
            }
        }
    }
    Ok(lost)
}

fn look_up(world: &World, name: &str) -> Result<Option<(Network, NetworkFacts)>> {
    match world.host()?.network(name) {
        Ok(network) => {
            let facts = NetworkFacts::read(&network.definition()?)?;
            Ok(Some((network, facts)))
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}
