//! Where an instance can be reached: what is reserved is known before it boots; in networks where
//! libvirt gives no addresses, the guest's agent knows, and the host may have heard of it.

use std::net::IpAddr;

use super::network::USER_NETWORK;
use crate::api::{AddressSource, AddressStatus};
use crate::libvirt::{AddressQuery, Domain, ObjectMetadata};
use crate::net::Mac;
use crate::store::{InstanceRecord, NicRecord};

/// Returns the addresses, in the order of the interfaces.
pub(super) fn addresses(
    record: Option<&InstanceRecord>,
    metadata: Option<&ObjectMetadata>,
    domain: &Domain,
    running: bool,
) -> Vec<AddressStatus> {
    if let Some(record) = record.filter(|r| !r.nics.is_empty()) {
        return of_nics(&record.nics, domain, running);
    }
    let reserved = metadata
        .and_then(|m| m.extra.get("address"))
        .and_then(|a| a.parse().ok());
    if let Some(address) = reserved {
        return vec![AddressStatus {
            address,
            network: None,
            mac: None,
            source: AddressSource::Reservation,
        }];
    }
    let asked = [
        (AddressQuery::Lease, AddressSource::Lease),
        (AddressQuery::Arp, AddressSource::Arp),
    ];
    let seen = asked.map(|(query, source)| seen(domain, query, source));
    let found = seen.into_iter().find(|found| !found.is_empty());
    found.unwrap_or_default()
}

/// The user-mode network has an address of its own in every guest, which leads nowhere.
fn of_nics(nics: &[NicRecord], domain: &Domain, running: bool) -> Vec<AddressStatus> {
    let nobody_told = |nic: &&NicRecord| nic.ip.is_none() && nic.network != USER_NETWORK;
    let silent: Vec<Mac> = nics.iter().filter(nobody_told).map(|n| n.mac).collect();
    let told = match running && !silent.is_empty() {
        true => ask(domain, &silent),
        false => Vec::new(),
    };
    let mut found = Vec::new();
    for nic in nics {
        let here = |address, source| AddressStatus {
            address,
            network: Some(nic.network.clone()),
            mac: Some(nic.mac.to_string()),
            source,
        };
        match nic.ip {
            Some(ip) => found.push(here(ip.into(), AddressSource::Reservation)),
            None => {
                let of_it = told.iter().filter(|a| is_of(a, nic.mac));
                found.extend(of_it.map(|a| here(a.address, a.source)));
            }
        }
    }
    found
}

fn is_of(address: &AddressStatus, mac: Mac) -> bool {
    let told = address.mac.as_deref();
    told.and_then(|m| m.parse::<Mac>().ok()) == Some(mac)
}

/// Asks the agent first, which knows; the neighbour table knows only whom the host has talked to.
fn ask(domain: &Domain, macs: &[Mac]) -> Vec<AddressStatus> {
    let mut told = Vec::new();
    for (query, source) in [
        (AddressQuery::Agent, AddressSource::Agent),
        (AddressQuery::Lease, AddressSource::Lease),
        (AddressQuery::Arp, AddressSource::Arp),
    ] {
        let missing = |mac: &Mac| !told.iter().any(|a| is_of(a, *mac));
        let missing: Vec<Mac> = macs.iter().copied().filter(missing).collect();
        if missing.is_empty() {
            break;
        }
        let seen = seen(domain, query, source).into_iter();
        told.extend(seen.filter(|a| missing.iter().any(|mac| is_of(a, *mac))));
    }
    told
}

/// A domain that is off, or a driver that cannot say, has no addresses to show.
fn seen(domain: &Domain, query: AddressQuery, source: AddressSource) -> Vec<AddressStatus> {
    let seen = domain.addresses(query).unwrap_or_default().into_iter();
    seen.filter(|seen| leads_somewhere(seen.ip))
        .map(|seen| AddressStatus {
            address: seen.ip,
            network: None,
            mac: seen.mac,
            source,
        })
        .collect()
}

/// Loopback and link-local addresses are of no use to others.
fn leads_somewhere(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_unicast_link_local(),
    }
}
