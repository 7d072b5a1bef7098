//! What a libvirt network offers: its range, who has which address, whether it has slots.

use std::net::{IpAddr, Ipv4Addr};

use crate::api::Uid;
use crate::error::{Error, Result};
use crate::libvirt::xml::network::NetworkXml;
use crate::net::subnet::Range;
use crate::net::{HostEntry, Mac, Subnet, Taken, slots};

/// The network of a daemon without rights: QEMU's own user-mode stack.
pub const USER_NETWORK: &str = "user";

/// How a network hands out addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkKind {
    /// It has a range of its own with DHCP: addresses can be reserved.
    Dhcp(Subnet),
    /// Somebody else hands out addresses (a bridge of the host, macvtap), or nobody does.
    Foreign,
}

/// What there is to know of a network.
#[derive(Debug, Clone)]
pub struct NetworkFacts {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: Uid,
    /// Its bridge.
    pub bridge: Option<String>,
    /// How it hands out addresses.
    pub kind: NetworkKind,
    /// Entries made beforehand, one an address.
    pub slots: Vec<HostEntry>,
    /// Entries that are no slots.
    pub reserved: Vec<HostEntry>,
    /// Whether it is ours: it carries our mark, or the slots that `setup` gave it. In others we
    /// touch only entries with hardware addresses of ours.
    pub ours: bool,
}

impl NetworkFacts {
    /// Reads a network's definition.
    ///
    /// # Errors
    /// If it has no identity or its range makes no sense.
    pub fn read(xml: &NetworkXml) -> Result<Self> {
        let broken = |what: &str| Error::failed(format!("network {:?} {what}", xml.name));
        let uid = xml.uuid.ok_or_else(|| broken("has no UUID"))?;
        let entries: Vec<HostEntry> = xml.reservations().filter_map(entry).collect();
        // The reservation of one instance has the same form as a slot, but its name too: a network
        // does not get slots by it.
        let nameless = xml.reservations().filter(|h| h.name.is_none());
        let candidates: Vec<HostEntry> = nameless.filter_map(entry).collect();
        let slots = slots::detect(uid, &candidates);
        let reserved = entries.into_iter().filter(|e| !slots.contains(e)).collect();
        let kind = match (xml.subnet(), xml.ipv4()) {
            (Some(cidr), Some(ip)) => match (&ip.dhcp, ip.address) {
                (Some(dhcp), IpAddr::V4(gateway)) => {
                    let dynamic = dhcp
                        .ranges
                        .iter()
                        .filter_map(|r| range(r.start, r.end))
                        .filter(|r| !slots::is_slots_own(*r, &slots))
                        .collect();
                    NetworkKind::Dhcp(Subnet::new(cidr, gateway, dynamic)?)
                }
                _ => NetworkKind::Foreign,
            },
            _ => NetworkKind::Foreign,
        };
        let bridge = xml.bridge.as_ref().and_then(|b| b.name.clone());
        let marked = xml.metadata.as_ref().is_some_and(|m| m.uid == uid);
        let ours = marked || !slots.is_empty();
        Ok(Self {
            name: xml.name.clone(),
            uid,
            bridge,
            kind,
            slots,
            reserved,
            ours,
        })
    }

    /// Describes QEMU's own user-mode network, in which nobody else is.
    pub fn user(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid: Uid::from_bytes([0; 16]),
            bridge: None,
            kind: NetworkKind::Foreign,
            slots: Vec::new(),
            reserved: Vec::new(),
            ours: false,
        }
    }

    /// Returns the addresses that are reserved by entries that are no slots.
    pub fn taken(&self) -> Taken {
        let mut taken = Taken::default();
        for entry in &self.reserved {
            taken.insert(entry.ip, format!("a DHCP entry for {}", entry.mac));
        }
        taken
    }

    /// Returns the reserved address of a hardware address.
    pub fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.slots
            .iter()
            .chain(&self.reserved)
            .find(|e| e.mac == mac)
            .map(|e| e.ip)
    }
}

fn entry(host: &crate::libvirt::xml::network::DhcpHostXml) -> Option<HostEntry> {
    let mac = host.mac.as_ref()?.parse().ok()?;
    match host.ip? {
        IpAddr::V4(ip) => Some(HostEntry { mac, ip }),
        IpAddr::V6(_) => None,
    }
}

fn range(start: IpAddr, end: IpAddr) -> Option<Range> {
    match (start, end) {
        (IpAddr::V4(start), IpAddr::V4(end)) => Some(Range { start, end }),
        _ => None,
    }
}
