//! Networks as objects: libvirt's definition, our element in it, and who is in it.
//!
//! There is no record of a network in the store: the definition's own metadata says everything, so
//! that nothing can drift apart.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::attached::Plugged;
use super::network::{NetworkFacts, NetworkKind};
use super::network_spec::{device_of, mode_of, spec_of};
use super::phase::Begun;
use super::world::{Depth, Scope, World, not_found};
use crate::api::{
    API_VERSION, AddressRange, AttachedInterface, Cidr, Cidr6, Condition, ConditionStatus, Kind,
    LeaseStatus, Name, Network, NetworkPhase, NetworkSpec, NetworkStatus, ObjectMeta,
    ReservationStatus, SlotStatus, Timestamp, Uid,
};
use crate::error::Result;
use crate::libvirt::xml::network::NetworkXml;
use crate::libvirt::{self, ObjectMetadata};
use crate::store::{Index, IntentOp, SlotTable};

/// A network of libvirt's, as far as one looks at each.
#[derive(Debug)]
pub struct Seen {
    /// What the next start brings up.
    pub configured: NetworkXml,
    /// What is in force.
    pub live: NetworkXml,
    /// Whether it is up.
    pub active: bool,
    /// Whether it starts with the host.
    pub autostart: bool,
}

impl Seen {
    /// Looks at a network.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn of(network: &libvirt::Network) -> Result<Self, libvirt::LibvirtError> {
        let configured = network.configured()?;
        let active = network.is_active()?;
        let live = match active {
            true => network.definition()?,
            false => configured.clone(),
        };
        Ok(Self {
            configured,
            live,
            active,
            // A transient one has no such thing.
            autostart: network.autostart().unwrap_or(false),
        })
    }

    /// Returns what is noted on it, where it is ours. A copy with another identity is not.
    pub fn metadata(&self) -> Option<&ObjectMetadata> {
        let noted = self.configured.metadata.as_ref();
        noted.filter(|m| Some(m.uid) == self.configured.uuid)
    }
}

impl World {
    /// Lists networks.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn networks(&self, scope: Scope, depth: Depth) -> Result<Vec<Network>> {
        let seen = self.seen_networks()?;
        self.note_names(&seen);
        let mut begun = self.begun(Kind::Network)?;
        let plugged = match depth {
            Depth::Whole => self.plugged()?,
            Depth::Listing => Vec::new(),
        };
        let mut listed = Vec::new();
        for one in &seen {
            let begun = one.live.uuid.and_then(|uid| begun.remove(&uid));
            if scope == Scope::Managed && one.metadata().is_none() {
                continue;
            }
            let Some(mut network) = self.network_of(one, begun.as_ref())? else {
                continue;
            };
            if depth == Depth::Whole {
                self.look_into(one, &plugged, &mut network)?;
            }
            listed.push(network);
        }
        // What was begun and is not defined yet, or no more.
        listed.extend(begun.values().map(half));
        Ok(listed)
    }

    /// Looks a network up, with who is in it.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn network(&self, name: &Name) -> Result<Network> {
        let begun = self.begun(Kind::Network)?;
        let found = match self.host()?.network(name.as_str()) {
            Ok(found) => Some(Seen::of(&found)?),
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e.into()),
        };
        if let Some(seen) = found {
            let begun = seen.live.uuid.and_then(|uid| begun.get(&uid));
            if let Some(mut network) = self.network_of(&seen, begun)? {
                let plugged = self.plugged()?;
                self.look_into(&seen, &plugged, &mut network)?;
                if let (Some(status), true) = (&mut network.status, seen.active) {
                    status.firewall = self.network_firewall(&seen.live);
                }
                return Ok(network);
            }
        }
        if let Some(begun) = begun.values().find(|b| b.intent.name == *name) {
            return Ok(half(begun));
        }
        let all = self.host()?.networks()?;
        Err(not_found(
            Kind::Network,
            name,
            all.iter().map(|n| n.name.as_str()),
        ))
    }

    /// Counts the networks that are not ours.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn unmanaged_networks(&self) -> Result<usize> {
        let seen = self.seen_networks()?;
        Ok(seen.iter().filter(|s| s.metadata().is_none()).count())
    }

    /// Looks at all networks of the host.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn seen_networks(&self) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for network in self.host()?.networks()? {
            match Seen::of(&network) {
                Ok(one) => seen.push(one),
                // Undefined meanwhile.
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(seen)
    }

    /// Keeps the names that completion offers up to date; who may not write does without.
    fn note_names(&self, seen: &[Seen]) {
        let ours = seen.iter().filter(|s| s.metadata().is_some());
        let names: BTreeMap<Uid, Name> = ours
            .filter_map(|s| {
                let name = Name::new(s.configured.name.as_str()).ok()?;
                Some((s.configured.uuid?, name))
            })
            .collect();
        if let Ok(store) = self.store_for_reading()
            && store.load_index().networks != names
        {
            let _ = store.note_in_index(|index: &mut Index| index.networks = names);
        }
    }

    fn network_of(&self, seen: &Seen, begun: Option<&Begun>) -> Result<Option<Network>> {
        // A name that is none of ours cannot be addressed by kvmctl; virsh can.
        let Ok(name) = Name::new(seen.live.name.as_str()) else {
            return Ok(None);
        };
        let mut network = described(name, seen);
        let mut status = status_of(seen, begun);
        if let Some(slots) = NetworkFacts::read(&seen.live).ok().map(|f| f.slots.len())
            && slots > 0
            && let Some(uid) = seen.live.uuid
        {
            let table = self.store_for_reading()?.get::<SlotTable>(&uid)?;
            status.slots = Some(SlotStatus {
                used: table.map_or(0, |t| t.used().count()),
                total: slots,
            });
        }
        network.metadata.deletion_timestamp = begun.and_then(|b| b.intent.deletion_timestamp);
        network.status = Some(status);
        Ok(Some(network))
    }

    /// Adds who is in it, and who has which address.
    fn look_into(&self, seen: &Seen, plugged: &[Plugged], network: &mut Network) -> Result<()> {
        let Some(status) = &mut network.status else {
            return Ok(());
        };
        let facts = NetworkFacts::read(&seen.live).ok();
        let inside: Vec<&Plugged> = plugged.iter().filter(|p| p.is_in(&seen.live)).collect();
        let address = |p: &Plugged| {
            let mac = p.mac.as_ref()?.parse().ok()?;
            facts.as_ref()?.address_of(mac)
        };
        let attached = inside.iter().map(|p| AttachedInterface {
            address: address(p),
            ..p.shown()
        });
        status.attached = attached.collect();
        status.attached.sort();
        let holder = |mac: &str| {
            let found = inside.iter().find(|p| p.mac.as_deref() == Some(mac))?;
            Some(match found.managed {
                true => format!("instance/{}", found.domain),
                false => format!("domain {:?}", found.domain),
            })
        };
        status.reservations = reservations(self, seen, facts.as_ref(), holder)?;
        status.leases = leases(self, seen)?;
        Ok(())
    }
}

/// The entries that somebody has, and those that are no slots.
fn reservations(
    world: &World,
    seen: &Seen,
    facts: Option<&NetworkFacts>,
    holder: impl Fn(&str) -> Option<String>,
) -> Result<Vec<ReservationStatus>> {
    let (Some(facts), Some(uid)) = (facts, seen.live.uuid) else {
        return Ok(Vec::new());
    };
    let store = world.store_for_reading()?;
    let names = store.load_index();
    let given: BTreeMap<_, _> = match store.get::<SlotTable>(&uid)? {
        Some(table) => table.used().collect(),
        None => BTreeMap::new(),
    };
    let used = facts
        .slots
        .iter()
        .filter(|s| given.contains_key(&s.ip) || holder(&s.mac.to_string()).is_some());
    let mut found: Vec<ReservationStatus> = used
        .chain(&facts.reserved)
        .map(|entry| {
            let mac = entry.mac.to_string();
            let row = given.get(&entry.ip).and_then(|uid| names.rows.get(uid));
            let by_slot = row.map(|row| format!("instance/{}", row.name));
            ReservationStatus {
                address: entry.ip,
                holder: holder(&mac).or(by_slot),
                mac,
            }
        })
        .collect();
    found.sort_by_key(|r| r.address);
    Ok(found)
}

fn leases(world: &World, seen: &Seen) -> Result<Vec<LeaseStatus>> {
    let leases = match world.host()?.leases(&seen.live.name) {
        Ok(leases) => leases,
        Err(e) if e.is_not_found() => Vec::new(),
        Err(e) => return Err(e.into()),
    };
    let mut found: Vec<LeaseStatus> = leases
        .into_iter()
        .map(|lease| LeaseStatus {
            address: lease.ip,
            mac: lease.mac,
            hostname: lease.hostname,
            expires: (lease.expires > 0).then(|| Timestamp::from_second(lease.expires)),
        })
        .collect();
    found.sort_by_key(|l| l.address);
    Ok(found)
}

/// Builds the object without what is observed.
fn described(name: Name, seen: &Seen) -> Network {
    let mut meta = ObjectMeta::named(name);
    meta.uid = seen.live.uuid;
    let mut spec = spec_of(&seen.live);
    if let Some(noted) = seen.metadata() {
        meta.labels = noted.labels.clone();
        meta.annotations = noted.annotations.clone();
        meta.creation_timestamp = noted.creation;
        meta.generation = Some(noted.generation);
        let said = noted.spec.as_deref();
        if let Some(said) = said.and_then(|text| serde_json::from_str(text).ok()) {
            spec = said;
        }
    }
    network(meta, spec)
}

fn network(metadata: ObjectMeta, spec: NetworkSpec) -> Network {
    Network {
        api_version: API_VERSION.to_owned(),
        kind: "Network".to_owned(),
        metadata,
        spec,
        status: None,
    }
}

/// What was begun and libvirt knows nothing of.
fn half(begun: &Begun) -> Network {
    let intent = &begun.intent;
    let mut meta = ObjectMeta::named(intent.name.clone());
    meta.uid = Some(intent.uid);
    meta.deletion_timestamp = intent.deletion_timestamp;
    let mut half = network(meta, NetworkSpec::default());
    let (phase, reason) = phase_of(false, Some(begun));
    half.status = Some(NetworkStatus {
        phase,
        conditions: vec![ready(phase, reason.as_deref())],
        reason,
        message: begun.message(),
        managed: true,
        cidr: intent.cidr,
        ..NetworkStatus::default()
    });
    half
}

fn status_of(seen: &Seen, begun: Option<&Begun>) -> NetworkStatus {
    let xml = &seen.live;
    let (phase, reason) = phase_of(seen.active, begun);
    let gateway = xml.ipv4().and_then(|ip| match ip.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let ipv6 = xml.ips.iter().find_map(|ip| match (ip.address, ip.prefix) {
        (IpAddr::V6(address), Some(prefix)) => ipnet::Ipv6Net::new(address, prefix).ok(),
        _ => None,
    });
    let dynamic = match NetworkFacts::read(xml).map(|facts| facts.kind) {
        Ok(NetworkKind::Dhcp(subnet)) => subnet.dynamic().first().map(|r| AddressRange {
            start: r.start,
            end: r.end,
        }),
        _ => None,
    };
    NetworkStatus {
        phase,
        conditions: vec![ready(phase, reason.as_deref())],
        reason,
        message: begun.and_then(Begun::message),
        managed: seen.metadata().is_some(),
        mode: mode_of(xml),
        bridge: xml.bridge.as_ref().and_then(|b| b.name.clone()),
        device: device_of(xml),
        cidr: xml.subnet().map(Cidr::new),
        gateway,
        ipv6: ipv6.map(Cidr6::new),
        dns_domain: xml.domain.as_ref().map(|d| d.name.clone()),
        mtu: xml.mtu.as_ref().map(|m| m.size),
        autostart: Some(seen.autostart),
        dynamic_range: dynamic,
        observed_generation: seen.metadata().map(|m| m.generation),
        ..NetworkStatus::default()
    }
}

/// Returns phase and reason; what was begun and has not ended outranks what libvirt says.
fn phase_of(active: bool, begun: Option<&Begun>) -> (NetworkPhase, Option<String>) {
    let because = |phase, reason: &str| (phase, Some(reason.to_owned()));
    let now = match active {
        true => NetworkPhase::Active,
        false => NetworkPhase::Inactive,
    };
    match begun.map(|b| (b.intent.op, b.working)) {
        Some((IntentOp::Create, false)) => because(NetworkPhase::Pending, "CreateInterrupted"),
        Some((IntentOp::Create, true)) => because(NetworkPhase::Pending, "Creating"),
        Some((IntentOp::Delete, false)) => because(NetworkPhase::Terminating, "DeleteInterrupted"),
        Some((IntentOp::Delete, true)) => because(NetworkPhase::Terminating, "Deleting"),
        Some((IntentOp::Update | IntentOp::Adopt, false)) => because(now, "ChangeInterrupted"),
        Some((IntentOp::Update | IntentOp::Adopt, true)) | None => (now, None),
    }
}

/// `Ready`: it is up.
fn ready(phase: NetworkPhase, reason: Option<&str>) -> Condition {
    let status = match phase {
        NetworkPhase::Active => ConditionStatus::True,
        _ => ConditionStatus::False,
    };
    let phase = phase.to_string();
    Condition::new("Ready", status, reason.unwrap_or(&phase))
}
