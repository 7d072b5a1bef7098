//! A range and a bridge for a new network, before anything is made: chosen and written down with the
//! intent in one breath, so that two runs never choose the same.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::definition::{Place, UsedRange, bridge_name, used_ranges};
use crate::api::{Cidr, Kind, Name, NetworkMode, NetworkSpec, Uid};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::Driver;
use crate::net::subnet::{free_range, overlap};
use crate::observe::World;
use crate::store::{Intent, IntentOp};

/// How long to wait for the store while a range is chosen.
const ALLOCATE_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// Left to the network that `setup` makes, which people know by it.
const USUAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 122, 0), 24);

/// Chooses a place and writes down that the network is about to be made.
///
/// # Errors
/// A conflict, naming who has what is wanted; what the store refuses.
pub(super) fn begin(world: &World, name: &Name, uid: Uid, spec: &NetworkSpec) -> Result<Place> {
    let store = world.store()?;
    let _lock = store.lock(ALLOCATE_WAIT)?;
    let place = choose(world, uid, spec)?;
    let mut intent = Intent::new(IntentOp::Create, Kind::Network, name.clone(), uid);
    intent.cidr = place.ipv4.map(|(cidr, _)| Cidr::new(cidr));
    store.put(&intent)?;
    Ok(place)
}

/// Chooses a place and writes nothing.
///
/// # Errors
/// As [`begin`].
pub(super) fn choose(world: &World, uid: Uid, spec: &NetworkSpec) -> Result<Place> {
    if spec.mode().has_own_bridge() {
        let bridge = free_bridge(world, uid, spec)?;
        let ipv4 = free_place(world, uid, spec)?;
        return Ok(Place {
            ipv4: Some(ipv4),
            bridge: Some(bridge),
        });
    }
    Ok(Place {
        ipv4: None,
        bridge: spec.bridge.clone(),
    })
}

/// Refuses what the daemon or the host cannot have, before anything is changed.
///
/// # Errors
/// A conflict for a session daemon, usage for a bridge or device that does not exist.
pub(super) fn check_host(world: &World, spec: &NetworkSpec) -> Result<()> {
    let host = world.host()?;
    if host.is_session() {
        return Err(Error::new(
            ErrorKind::Conflict,
            "a session daemon has no right to make networks",
        )
        .caused_by("its instances use QEMU's own user-mode network, which needs none")
        .hint("kvmctl --uri qemu:///system net create NAME"));
    }
    if !host.is_local() || host.driver() != Driver::Qemu {
        return Ok(());
    }
    if let (NetworkMode::Bridge, Some(bridge)) = (spec.mode(), &spec.bridge) {
        let known = crate::host::bridges();
        if !known.contains(bridge) {
            return Err(missing("spec.bridge", "bridge", bridge, &known));
        }
    }
    if let Some(device) = &spec.device {
        let known = crate::host::devices();
        if !known.contains(device) {
            return Err(missing("spec.device", "network device", device, &known));
        }
    }
    Ok(())
}

fn missing(field: &str, what: &str, name: &str, known: &[String]) -> Error {
    let known = match known {
        [] => "none".to_owned(),
        known => known.join(", "),
    };
    Error::usage(format!("{field}: there is no {what} {name:?} on this host"))
        .caused_by(format!("known: {known}"))
}

fn free_bridge(world: &World, uid: Uid, spec: &NetworkSpec) -> Result<String> {
    let Some(wanted) = &spec.bridge else {
        return Ok(bridge_name(uid));
    };
    let host = world.host()?;
    for network in host.networks()? {
        let Ok(xml) = network.definition() else {
            continue;
        };
        if xml.bridge.and_then(|b| b.name).as_ref() == Some(wanted) {
            return Err(taken(wanted, &format!("network {:?}", xml.name)));
        }
    }
    let local = host.is_local() && host.driver() == Driver::Qemu;
    if local && crate::host::devices().contains(wanted) {
        return Err(taken(wanted, "a device of this host"));
    }
    Ok(wanted.clone())
}

fn taken(bridge: &str, by: &str) -> Error {
    Error::conflict(format!("spec.bridge: {bridge:?} is the name of {by}"))
        .hint("leave spec.bridge out, and a name is made")
}

fn free_place(world: &World, uid: Uid, spec: &NetworkSpec) -> Result<(Ipv4Net, Ipv4Addr)> {
    let mut used = used_ranges(world)?;
    for intent in world.store_for_reading()?.all::<Intent>()? {
        if let (Some(cidr), true) = (intent.cidr, intent.uid != uid) {
            let by = format!("network {:?}, which is being made", intent.name.as_str());
            used.push(UsedRange {
                net: cidr.net(),
                by,
            });
        }
    }
    let cidr = match spec.cidr {
        Some(cidr) => {
            refuse_clash(cidr.net(), &used)?;
            cidr.net()
        }
        None => {
            let mut taken: Vec<Ipv4Net> = used.iter().map(|u| u.net).collect();
            taken.push(USUAL);
            free_range(&taken)?
        }
    };
    let gateway = spec
        .gateway
        .or_else(|| cidr.hosts().next())
        .ok_or_else(|| Error::usage(format!("{cidr} has no address")))?;
    Ok((cidr, gateway))
}

fn refuse_clash(cidr: Ipv4Net, used: &[UsedRange]) -> Result<()> {
    // A default route, also one in two halves as VPNs write it, is in nobody's way.
    let near = used.iter().filter(|u| u.net.prefix_len() > 1);
    let Some(clash) = near.into_iter().find(|u| overlap(u.net, cidr)) else {
        return Ok(());
    };
    let UsedRange { net, by } = clash;
    Err(Error::conflict(format!("{cidr} overlaps {net}, {by}"))
        .hint("leave --cidr out, and a free range is taken"))
}

/// Returns the place that a network has by its definition.
pub(super) fn place_of(xml: &crate::libvirt::xml::network::NetworkXml) -> Place {
    let gateway = xml.ipv4().and_then(|ip| match ip.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    Place {
        ipv4: xml.subnet().map(|net| net.trunc()).zip(gateway),
        bridge: xml.bridge.as_ref().and_then(|b| b.name.clone()),
    }
}
