//! Addresses, before anything is made: chosen and written down with the intent in one breath, so
//! that two runs never choose the same and a killed run's choice is known to the next.

use std::collections::BTreeMap;

use crate::api::{NetworkAttachment, Timestamp, Uid};
use crate::error::{Error, Result};
use crate::net::{Choice, HostEntry, Mac, Taken, choice, slots};
use crate::observe::{NetworkFacts, NetworkKind, USER_NETWORK, World};
use crate::store::{InstanceRecord, Intent, IntentOp, NicRecord, SlotTable};

/// What an instance has of interfaces before new ones are chosen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Own<'a> {
    /// Those that stay.
    pub(super) kept: &'a [NicRecord],
    /// Those that go, whose addresses it may have again.
    pub(super) going: &'a [NicRecord],
}

/// Chooses an interface for each attachment, beside those that the instance has. Call it with the
/// store locked, and write the intent before the lock is given back.
///
/// # Errors
/// A full network, or an address that is taken or outside.
pub(super) fn nics(
    world: &World,
    uid: Uid,
    own: Own<'_>,
    wanted: &[(NetworkAttachment, NetworkFacts)],
) -> Result<Vec<NicRecord>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    refuse_going(world, wanted)?;
    let others = Others::look(world, uid)?;
    let mut all = own.kept.to_vec();
    for (attachment, network) in wanted {
        let network = &without(network, own.going);
        let asked = asked_mac(attachment)?;
        if let Some(mac) = asked {
            others.refuse_taken(mac, &all)?;
        }
        let nic = match &network.kind {
            NetworkKind::Foreign => foreign(uid, attachment, asked, network, &others, &all)?,
            NetworkKind::Dhcp(_) => reserved(world, attachment, asked, network, &others, &all)?,
        };
        all.push(nic);
    }
    Ok(all.split_off(own.kept.len()))
}

/// A network whose deletion has begun is there no more, for whoever comes now.
fn refuse_going(world: &World, wanted: &[(NetworkAttachment, NetworkFacts)]) -> Result<()> {
    let intents = world.store_for_reading()?.all::<Intent>()?;
    let going = |facts: &NetworkFacts| {
        let mut intents = intents.iter();
        intents.any(|i| i.op == IntentOp::Delete && i.uid == facts.uid)
    };
    match wanted.iter().find(|(_, facts)| going(facts)) {
        Some((attachment, _)) => {
            let name = &attachment.name;
            Err(
                Error::conflict(format!("network {name:?} is being deleted"))
                    .hint("kvmctl get networks"),
            )
        }
        None => Ok(()),
    }
}

/// The network as it is once some interfaces have gone.
fn without(network: &NetworkFacts, going: &[NicRecord]) -> NetworkFacts {
    let mut network = network.clone();
    network
        .reserved
        .retain(|entry| going.iter().all(|nic| nic.mac != entry.mac));
    network
}

fn asked_mac(attachment: &NetworkAttachment) -> Result<Option<Mac>> {
    let parsed = attachment.mac.as_deref().map(str::parse);
    parsed
        .transpose()
        .map_err(|e: crate::net::InvalidMac| Error::usage(format!("spec.networks: {e}")))
}

/// The interfaces of all but one instance.
struct Others {
    /// What records and intents say, with who it is.
    nics: Vec<(String, NicRecord)>,
    /// Domains that this store knows nothing of: a colleague's, who reaches the same host with a
    /// store of their own, one that was forgotten, or a copy made by hand with its hardware address.
    strangers: Vec<(String, Mac)>,
}

impl Others {
    fn look(world: &World, uid: Uid) -> Result<Self> {
        let (host, store) = (world.host()?, world.store()?);
        let mut nics = Vec::new();
        let mut known = vec![uid];
        for record in store.all::<InstanceRecord>()? {
            if record.uid != uid {
                let who = format!("instance/{}", record.name);
                nics.extend(record.nics.into_iter().map(|n| (who.clone(), n)));
                known.push(record.uid);
            }
        }
        for intent in store.all::<Intent>()?.into_iter().filter(|i| i.uid != uid) {
            let who = format!("instance/{}", intent.name);
            nics.extend(intent.nics.into_iter().map(|n| (who.clone(), n)));
        }
        let mut strangers = Vec::new();
        for brief in host.domain_briefs()? {
            if known.contains(&brief.uid) {
                continue;
            }
            let definition = match host.domain_by_uid(brief.uid).and_then(|d| d.definition()) {
                Ok(definition) => definition,
                // Undefined meanwhile.
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(e.into()),
            };
            let macs = definition.devices.interfaces.iter();
            let macs = macs.filter_map(|nic| nic.mac()?.parse().ok());
            strangers.extend(macs.map(|mac| (format!("domain {:?}", brief.name), mac)));
        }
        Ok(Self { nics, strangers })
    }

    /// Returns who has a hardware address.
    fn holder(&self, mac: Mac) -> Option<&str> {
        let ours = self
            .nics
            .iter()
            .filter(|(_, n)| n.mac == mac)
            .map(|(w, _)| w);
        let mut theirs = self
            .strangers
            .iter()
            .filter(|(_, m)| *m == mac)
            .map(|(w, _)| w);
        ours.map(String::as_str)
            .next()
            .or_else(|| theirs.next().map(String::as_str))
    }

    fn refuse_taken(&self, mac: Mac, own: &[NicRecord]) -> Result<()> {
        if own.iter().any(|n| n.mac == mac) {
            return Err(Error::usage(format!(
                "spec.networks: {mac} is that of another interface of the instance"
            )));
        }
        match self.holder(mac) {
            Some(who) => Err(Error::conflict(format!(
                "spec.networks: hardware address {mac} is that of {who}"
            ))),
            None => Ok(()),
        }
    }
}

/// An interface in a network whose addresses others hand out.
fn foreign(
    uid: Uid,
    attachment: &NetworkAttachment,
    asked: Option<Mac>,
    network: &NetworkFacts,
    others: &Others,
    own: &[NicRecord],
) -> Result<NicRecord> {
    if let Some(ip) = attachment.ip {
        return Err(Error::usage(format!(
            "spec.networks: {ip} cannot be reserved: libvirt hands out no addresses in network {:?}",
            network.name
        ))
        .hint("leave ip out, and reserve it with whoever runs DHCP there, for a mac of your choice"));
    }
    let free = |mac: &Mac| others.holder(*mac).is_none() && own.iter().all(|n| n.mac != *mac);
    let mac = match asked {
        Some(mac) => mac,
        None => (0..=u8::MAX)
            .map(|number| mac_of_uid(uid, number))
            .find(free)
            .ok_or_else(|| Error::failed("no hardware address is free"))?,
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
    attachment: &NetworkAttachment,
    asked: Option<Mac>,
    network: &NetworkFacts,
    others: &Others,
    own: &[NicRecord],
) -> Result<NicRecord> {
    let NetworkKind::Dhcp(subnet) = &network.kind else {
        return Err(Error::failed(format!(
            "network {:?} has no addresses",
            network.name
        )));
    };
    let table = world.store()?.get::<SlotTable>(&network.uid)?;
    let last_used = table.map(|t| t.last_used()).unwrap_or_default();
    let mut taken = taken(world, network, others)?;
    for nic in own.iter().filter(|n| n.network == network.name) {
        taken.insert_all(nic.ip, "this instance's other interface");
    }
    let choice = match (asked, attachment.ip) {
        (Some(mac), ip) => with_mac(mac, ip, network, subnet, taken, &last_used)?,
        (None, Some(ip)) => choice::fixed(network.uid, subnet, &network.slots, &taken, ip)?,
        (None, None) if network.slots.is_empty() => {
            choice::free(network.uid, subnet, &taken, &last_used)?
        }
        (None, None) => {
            // Two networks may have a slot with one hardware address; a guest tells its interfaces
            // apart by it.
            let apart = |slot: &&HostEntry| own.iter().all(|n| n.mac != slot.mac);
            let slots: Vec<HostEntry> = network.slots.iter().filter(apart).copied().collect();
            slots::allocate(subnet, &slots, &taken, &last_used)?
        }
    };
    Ok(NicRecord {
        network: network.name.clone(),
        network_uid: Some(network.uid),
        mac: choice.mac,
        ip: Some(choice.ip),
        slot: choice.slot,
    })
}

/// Chooses an address for a hardware address that was asked for: that of its slot where it is a
/// slot's, else one that is no slot's, because a slot's entry has a hardware address of its own.
fn with_mac(
    mac: Mac,
    ip: Option<std::net::Ipv4Addr>,
    network: &NetworkFacts,
    subnet: &crate::net::Subnet,
    mut taken: Taken,
    last_used: &BTreeMap<std::net::Ipv4Addr, Timestamp>,
) -> Result<Choice> {
    let slot = network.slots.iter().find(|slot| slot.mac == mac);
    match (slot, ip) {
        (Some(slot), None) => Ok(choice::fixed(
            network.uid,
            subnet,
            &network.slots,
            &taken,
            slot.ip,
        )?),
        (Some(slot), Some(ip)) if slot.ip == ip => Ok(choice::fixed(
            network.uid,
            subnet,
            &network.slots,
            &taken,
            ip,
        )?),
        (Some(slot), Some(ip)) => Err(Error::usage(format!(
            "spec.networks: {mac} belongs to {} in network {:?}, not to {ip}",
            slot.ip, network.name
        ))),
        (None, ip) => {
            if let Some(held) = network.reserved.iter().find(|e| e.mac == mac) {
                return Err(Error::conflict(format!(
                    "spec.networks: network {:?} has a DHCP entry for {mac} already, with {}",
                    network.name, held.ip
                )));
            }
            let choice = match ip {
                Some(ip) => choice::fixed(network.uid, subnet, &network.slots, &taken, ip)?,
                None => {
                    for slot in &network.slots {
                        taken.insert(slot.ip, "a slot");
                    }
                    choice::free(network.uid, subnet, &taken, last_used)?
                }
            };
            if choice.slot {
                return Err(Error::usage(format!(
                    "spec.networks: {} belongs to {} in network {:?}: leave mac out, or choose an \
                     address outside its instance range",
                    choice.ip, choice.mac, network.name
                )));
            }
            Ok(Choice { mac, ..choice })
        }
    }
}

/// Collects who has which address of a network.
fn taken(world: &World, network: &NetworkFacts, others: &Others) -> Result<Taken> {
    let mut taken = network.taken();
    for (who, nic) in &others.nics {
        if nic.network_uid == Some(network.uid) || nic.network == network.name {
            taken.insert_all(nic.ip, who);
        }
    }
    for (who, mac) in &others.strangers {
        taken.insert_all(network.address_of(*mac), who);
    }
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
    Ok(taken)
}

/// A hardware address made from the identity, in QEMU's own range.
fn mac_of_uid(uid: Uid, number: u8) -> Mac {
    let bytes = uid.as_bytes();
    let last = bytes[15].wrapping_add(number);
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
