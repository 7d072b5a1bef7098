//! What networks hold for an instance: its reserved address, its name there, its lease.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::host::dhcp;
use crate::libvirt::{Host, Lease, LibvirtError, Network};
use crate::net::Mac;
use crate::observe::NetworkFacts;
use crate::plan::instance::Reservation;

/// How long a network's server gets to give a lease up. Nothing answers a release, and it may be lost
/// while the server starts anew for another change.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reserves the address.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn reserve(host: &Host, r: &Reservation) -> Result<()> {
    let network = host.network(&r.network)?;
    let held = network.definition()?.reservations().any(|h| {
        let mac = h.mac.as_deref();
        mac.is_some_and(|mac| mac.eq_ignore_ascii_case(&r.mac)) && h.ip == Some(r.ip.into())
    });
    if held {
        return Ok(());
    }
    Ok(network.add_host(&r.mac, r.ip, r.host.as_str())?)
}

/// Frees the address.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn unreserve(host: &Host, r: &Reservation) -> Result<()> {
    match network(host, r)? {
        Some(network) => absent_is_fine(network.remove_host(&r.mac)),
        None => Ok(()),
    }
}

/// Lets the network's name server answer for it, where the network is ours. In others the name stands
/// only in the reservation, and is known while the guest has its lease.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn add_name(host: &Host, r: &Reservation) -> Result<()> {
    let network = host.network(&r.network)?;
    match NetworkFacts::read(&network.definition()?)?.ours {
        true => Ok(network.add_name(r.ip, r.host.as_str())?),
        false => Ok(()),
    }
}

/// Lets the network's name server forget it.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn remove_name(host: &Host, r: &Reservation) -> Result<()> {
    match network(host, r)? {
        Some(network) => absent_is_fine(network.remove_name(r.ip, &[r.host.as_str()])),
        None => Ok(()),
    }
}

/// Gives the lease back, as the guest would; nothing to do when there is none.
///
/// # Errors
/// What libvirt refuses, or the socket.
pub(super) fn release_lease(host: &Host, r: &Reservation) -> Result<()> {
    let Some(network) = network(host, r)? else {
        return Ok(());
    };
    if !network.is_active()? || !host.is_local() {
        return Ok(());
    }
    let Some(lease) = lease(host, r)? else {
        return Ok(());
    };
    let IpAddr::V4(ip) = lease.ip else {
        return Ok(());
    };
    let definition = network.definition()?;
    let Some(server) = definition.ipv4().map(|ip| ip.address) else {
        return Ok(());
    };
    let bridge = definition.bridge.as_ref().and_then(|b| b.name.clone());
    let (Some(bridge), IpAddr::V4(server), Ok(mac)) = (bridge, server, r.mac.parse::<Mac>()) else {
        return Ok(());
    };
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        dhcp::release(&bridge, server, ip, mac, lease.client_id.as_deref())?;
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(20));
            if self::lease(host, r)?.is_none() {
                return Ok(());
            }
        }
    }
    tracing::info!(target: "host", "network {:?} keeps its lease of {ip}", r.network);
    Ok(())
}

/// Returns whether the lease stays when the instance goes: only the network's own host can give it
/// back.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn lease_stays(host: &Host, r: &Reservation) -> Result<bool> {
    if host.is_local() {
        return Ok(false);
    }
    match network(host, r)? {
        Some(network) if network.is_active()? => Ok(lease(host, r)?.is_some()),
        _ => Ok(false),
    }
}

fn lease(host: &Host, r: &Reservation) -> Result<Option<Lease>> {
    let leases = host.leases(&r.network)?.into_iter();
    let mut of_it = leases.filter(|l| l.mac.eq_ignore_ascii_case(&r.mac));
    Ok(of_it.next())
}

fn network(host: &Host, r: &Reservation) -> Result<Option<Network>> {
    match host.network(&r.network) {
        Ok(network) => Ok(Some(network)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// What is to go and is not there is gone.
///
/// # Errors
/// Every other.
pub(super) fn absent_is_fine(result: std::result::Result<(), LibvirtError>) -> Result<()> {
    match result {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}
