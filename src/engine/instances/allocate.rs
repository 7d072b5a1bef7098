//! Addresses, before anything is made: chosen and written down with the intent in one breath, so
//! that two runs never choose the same and a killed run's choice is known to the next.

use std::collections::BTreeMap;

use crate::api::{NetworkAttachment, Timestamp, Uid};
use crate::error::{Error, Result};
use crate::net::{Mac, Taken, choice, slots};
use crate::observe::{NetworkFacts, NetworkKind, World};
use crate::store::{InstanceRecord, Intent, NicRecord, SlotTable};

use super::prepare::USER_NETWORK;

/// What others have, and since when addresses are free.
struct Used {
    taken: Taken,
    last_used: BTreeMap<std::net::Ipv4Addr, Timestamp>,
}

/// Chooses an interface for each attachment. Call it with the store locked, and write the intent
/// before the lock is given back.
///
/// # Errors
/// A full network, or an address that is taken or outside.
pub(super) fn nics(
    world: &World,
    uid: Uid,
    wanted: &[(NetworkAttachment, NetworkFacts)],
) -> Result<Vec<NicRecord>> {
    let mut chosen: Vec<NicRecord> = Vec::new();
    for (attachment, network) in wanted {
        let nic = match &network.kind {
            NetworkKind::Foreign => foreign(uid, attachment, network, chosen.len())?,
            NetworkKind::Dhcp(_) => reserved(world, uid, attachment, network, &chosen)?,
        };
        chosen.push(nic);
    }
    Ok(chosen)
}

/// An interface in a network whose addresses others hand out.
fn foreign(
    uid: Uid,
    attachment: &NetworkAttachment,
    network: &NetworkFacts,
    number: usize,
) -> Result<NicRecord> {
    if let Some(ip) = attachment.ip {
        return Err(Error::usage(format!(
            "spec.networks: {ip} cannot be reserved, because network {:?} has no DHCP of libvirt's",
            network.name
        )));
    }
    let mac = match &attachment.mac {
        Some(mac) => parse_mac(mac)?,
        None => mac_of_uid(uid, number),
    };
    // The user-mode network is no object of libvirt's and has nothing to give back.
    let network_uid = (network.name != USER_NETWORK).then_some(network.uid);
    Ok(NicRecord {
        network: network.name.clone(),
        network_uid,
        mac,
        ip: None,
        slot: false,
    })
}

fn reserved(
    world: &World,
    uid: Uid,
    attachment: &NetworkAttachment,
    network: &NetworkFacts,
    chosen: &[NicRecord],
) -> Result<NicRecord> {
    let NetworkKind::Dhcp(subnet) = &network.kind else {
        return Err(Error::failed(format!(
            "network {:?} has no addresses",
            network.name
        )));
    };
    let mut used = used(world, uid, network)?;
    for nic in chosen.iter().filter(|n| n.network == network.name) {
        used.taken
            .insert_all(nic.ip, "this instance's other interface");
    }
    let choice = match (attachment.ip, network.slots.is_empty()) {
        (Some(ip), _) => choice::fixed(network.uid, subnet, &network.slots, &used.taken, ip)?,
        (None, false) => slots::allocate(subnet, &network.slots, &used.taken, &used.last_used)?,
        (None, true) => choice::free(network.uid, subnet, &used.taken, &used.last_used)?,
    };
    let (mac, slot) = match &attachment.mac {
        // A hardware address of one's own cannot use a slot, whose entry has another.
        Some(mac) => (parse_mac(mac)?, false),
        None => (choice.mac, choice.slot),
    };
    if attachment.mac.is_some() && choice.slot {
        return Err(Error::usage(format!(
            "spec.networks: {} has a slot with hardware address {}; leave mac out, or choose an address outside {}'s instance range",
            choice.ip, choice.mac, network.name
        )));
    }
    let network_uid = Some(network.uid);
    Ok(NicRecord {
        network: network.name.clone(),
        network_uid,
        mac,
        ip: Some(choice.ip),
        slot,
    })
}

/// Collects who has which address of a network, leaving out `uid` itself.
fn used(world: &World, uid: Uid, network: &NetworkFacts) -> Result<Used> {
    let store = world.store()?;
    let mut taken = network.taken();
    for record in store
        .all::<InstanceRecord>()?
        .iter()
        .filter(|r| r.uid != uid)
    {
        note(
            &mut taken,
            &record.nics,
            network,
            &format!("instance/{}", record.name),
        );
    }
    for intent in store.all::<Intent>()?.iter().filter(|i| i.uid != uid) {
        note(
            &mut taken,
            &intent.nics,
            network,
            &format!("instance/{}", intent.name),
        );
    }
    taken_by_others(world, uid, network, &mut taken)?;
    for lease in world.host()?.leases(&network.name)? {
        let ours = lease
            .mac
            .parse::<Mac>()
            .ok()
            .and_then(|mac| network.address_of(mac));
        if let (std::net::IpAddr::V4(ip), None) = (lease.ip, ours) {
            taken.insert(ip, format!("a DHCP lease of {}", lease.mac));
        }
    }
    let table = store.get::<SlotTable>(&network.uid)?;
    let last_used = table.map(|t| t.last_used()).unwrap_or_default();
    Ok(Used { taken, last_used })
}

/// Adds what domains have that this store knows nothing of: a colleague's, who reaches the same host
/// with a store of their own, one that was forgotten, or a copy made by hand with its hardware address.
fn taken_by_others(
    world: &World,
    uid: Uid,
    network: &NetworkFacts,
    taken: &mut Taken,
) -> Result<()> {
    let (host, store) = (world.host()?, world.store()?);
    for brief in host.domain_briefs()?.iter().filter(|b| b.uid != uid) {
        if store.get::<InstanceRecord>(&brief.uid)?.is_some() {
            continue;
        }
        let definition = match host.domain_by_uid(brief.uid).and_then(|d| d.definition()) {
            Ok(definition) => definition,
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e.into()),
        };
        for nic in &definition.devices.interfaces {
            let mac = nic.mac.as_ref().and_then(|m| m.address.parse().ok());
            let ip = mac.and_then(|mac| network.address_of(mac));
            taken.insert_all(ip, &format!("domain {:?}", brief.name));
        }
    }
    Ok(())
}

fn note(taken: &mut Taken, nics: &[NicRecord], network: &NetworkFacts, who: &str) {
    for nic in nics
        .iter()
        .filter(|n| n.network_uid == Some(network.uid) || n.network == network.name)
    {
        taken.insert_all(nic.ip, who);
    }
}

fn parse_mac(text: &str) -> Result<Mac> {
    text.parse()
        .map_err(|e: crate::net::InvalidMac| Error::usage(e.to_string()))
}

/// A hardware address made from the identity, in QEMU's own range.
fn mac_of_uid(uid: Uid, number: usize) -> Mac {
    let bytes = uid.as_bytes();
    let last = bytes[15].wrapping_add(u8::try_from(number).unwrap_or(0));
    Mac::new([0x52, 0x54, 0x00, bytes[13], bytes[14], last])
}

trait InsertAll {
    fn insert_all(&mut self, ip: Option<std::net::Ipv4Addr>, by: &str);
}

impl InsertAll for Taken {
    fn insert_all(&mut self, ip: Option<std::net::Ipv4Addr>, by: &str) {
        if let Some(ip) = ip {
            self.insert(ip, by);
        }
    }
}
