//! Stand-alone forwards out of their rules, which carry identity and name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::labels;
use crate::api::{Name, PortForwardSpec, PortMapping, Timestamp, Uid};
use crate::error::Result;
use crate::host::firewall::{FirewallError, Found};
use crate::observe::{Carrier, World};
use crate::store::{ForwardRecord, InstanceRecord, STORE_WAIT};

/// What was found.
#[derive(Debug, Default)]
pub(in crate::engine) struct Rebuilt {
    /// Names of the forwards.
    pub(in crate::engine) names: Vec<String>,
    /// What could not be found out, a line each.
    pub(in crate::engine) incomplete: Vec<String>,
}

/// Writes the records that the store has not. Labels stand in no rule: the instance carries them.
///
/// # Errors
/// What the store or the firewall refuses.
pub(in crate::engine) fn rebuild(world: &World) -> Result<Rebuilt> {
    let mut rebuilt = Rebuilt::default();
    let Carrier::Firewall(firewall) = world.carrier()? else {
        return Ok(rebuilt);
    };
    let seen = match firewall.observe(&[]) {
        Ok(seen) => seen,
        Err(FirewallError::NotPermitted { .. }) => {
            let line = "forwards: only root can read them out of the firewall";
            rebuilt.incomplete.push(line.to_owned());
            return Ok(rebuilt);
        }
        // Without a firewall there is no forward.
        Err(FirewallError::NoTool) => return Ok(rebuilt),
        Err(e) => return Err(e.into()),
    };
    let mut owners: BTreeMap<Uid, (Name, Vec<Found>)> = BTreeMap::new();
    for found in seen.strangers {
        if let Some(name) = found.name.clone() {
            let entry = owners.entry(found.owner);
            entry.or_insert_with(|| (name, Vec::new())).1.push(found);
        }
    }
    let store = world.store()?;
    let instances: Vec<InstanceRecord> = store.all()?;
    let kept = labels::kept(world, &instances);
    for (uid, (name, rules)) in owners {
        let lock = store.lock(STORE_WAIT)?;
        let known = store.get::<ForwardRecord>(&uid)?.is_some();
        if known || store.forward_named(&name)?.is_some() {
            continue;
        }
        match spec(&rules, &instances) {
            Some(spec) => {
                let record = record(uid, &name, spec);
                store.put(&match kept.get(&uid) {
                    Some(kept) => with_labels(record, kept),
                    None => record,
                })?;
                rebuilt.names.push(name.to_string());
            }
            None => rebuilt.incomplete.push(format!(
                "forward/{name}: no instance has the address that it leads to"
            )),
        }
        drop(lock);
    }
    Ok(rebuilt)
}

fn record(uid: Uid, name: &Name, spec: PortForwardSpec) -> ForwardRecord {
    ForwardRecord {
        uid,
        name: name.clone(),
        labels: Default::default(),
        annotations: Default::default(),
        generation: 1,
        created: Timestamp::now(),
        host_port: spec.host_port,
        spec,
        last_applied: None,
        begun: None,
        pid: None,
        deletion_timestamp: None,
    }
}

/// What rules cannot tell; they are right where both tell something.
fn with_labels(record: ForwardRecord, kept: &ForwardRecord) -> ForwardRecord {
    let same = record.spec.mapping() == kept.mapping();
    ForwardRecord {
        labels: kept.labels.clone(),
        annotations: kept.annotations.clone(),
        created: kept.created,
        last_applied: kept.last_applied.clone().filter(|_| same),
        ..record
    }
}

/// Reads what was wanted out of the rules of one forward: a range whose ports change their numbers
/// has one for each port.
fn spec(rules: &[Found], instances: &[InstanceRecord]) -> Option<PortForwardSpec> {
    let first = rules.iter().min_by_key(|f| f.claim.first)?;
    let last = rules.iter().map(|f| f.claim.last).max()?;
    let IpAddr::V4(guest) = first.guest else {
        return None;
    };
    let (instance, at, nic) = instances.iter().find_map(|record| {
        let nics = record.reserved();
        let at = nics.iter().position(|nic| nic.ip == guest)?;
        Some((record, at, nics[at].clone()))
    })?;
    let claim = first.claim;
    let ports = PortMapping {
        address: claim.address,
        host: claim.first,
        guest: first.guest_port,
        count: last.checked_sub(claim.first)?.checked_add(1)?,
        protocol: claim.protocol,
    };
    let mut spec = PortForwardSpec::of_mapping(instance.name.clone(), &ports);
    spec.network = (at > 0).then_some(nic.network);
    spec.localhost = (!first.localhost).then_some(false);
    spec.allow_privileged_ports = (ports.host < 1024).then_some(true);
    Some(spec)
}
