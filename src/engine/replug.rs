//! Interfaces of running guests that hang in the air: their network was taken down and put up again,
//! and its bridge is another one now.

use super::reconcile::Finding;
use crate::api::InvalidName;
use crate::error::{Error, Result};
use crate::host::taps;
use crate::net::forward::Bridge;
use crate::observe::{Carrier, World};

/// An interface that is plugged into nothing.
#[derive(Debug)]
struct Loose {
    instance: String,
    network: String,
    device: String,
    /// The bridge that its network has now; none where the network is down.
    bridge: Option<Bridge>,
}

/// Finds them; changes nothing.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn check(world: &World) -> Result<Vec<Finding>> {
    let loose = loose(world)?;
    let line = |l: &Loose| match &l.bridge {
        Some(_) => finding(l, false, "kvmctl reconcile plugs it in".to_owned()),
        None => network_is_down(l),
    };
    Ok(loose.iter().map(line).collect())
}

/// Plugs them in.
///
/// # Errors
/// What libvirt refuses; what goes wrong with one of them is in its finding.
pub(super) fn mend(world: &World) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for one in loose(world)? {
        let Some(bridge) = &one.bridge else {
            findings.push(network_is_down(&one));
            continue;
        };
        let plugged = world
            .firewall_to_change()
            .and_then(|_| taps::plug(world.privilege(), &one.device, bridge));
        findings.push(match plugged {
            Ok(()) => finding(&one, true, format!("plugged into {bridge}")),
            Err(error) => finding(&one, false, error.to_string()),
        });
    }
    Ok(findings)
}

fn finding(loose: &Loose, mended: bool, action: String) -> Finding {
    Finding {
        object: format!("instance/{}", loose.instance),
        problem: format!(
            "is cut off from network {:?} ({} has no bridge)",
            loose.network, loose.device
        ),
        mended,
        action,
    }
}

fn network_is_down(loose: &Loose) -> Finding {
    let action = format!("virsh net-start {}, then kvmctl reconcile", loose.network);
    finding(loose, false, action)
}

fn loose(world: &World) -> Result<Vec<Loose>> {
    if !matches!(world.carrier()?, Carrier::Firewall(_)) {
        return Ok(Vec::new());
    }
    let taps = taps::loose();
    if taps.is_empty() {
        return Ok(Vec::new());
    }
    let host = world.host()?;
    let briefs = host.domain_briefs()?;
    let index = world.index_of(&briefs)?;
    let ours = briefs.iter().filter(|b| index.rows.contains_key(&b.uid));
    let mut found = Vec::new();
    for brief in ours.filter(|b| b.state.is_active()) {
        let xml = match host.domain_by_uid(brief.uid).and_then(|d| d.live()) {
            Ok(xml) => xml,
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e.into()),
        };
        for nic in &xml.devices.interfaces {
            let device = nic.target.as_ref().map(|t| t.dev.clone());
            if let (Some(device), Some(network)) = (device, nic.network())
                && taps.contains(&device)
            {
                found.push(Loose {
                    instance: brief.name.clone(),
                    network: network.to_owned(),
                    device,
                    bridge: bridge_of(world, network)?,
                });
            }
        }
    }
    Ok(found)
}

fn bridge_of(world: &World, name: &str) -> Result<Option<Bridge>> {
    let network = match world.host()?.network(name) {
        Ok(network) => network,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let Some(bridge) = network.definition()?.bridge.and_then(|b| b.name) else {
        return Ok(None);
    };
    let bridge: Bridge = bridge
        .parse()
        .map_err(|e: InvalidName| Error::failed(e.to_string()))?;
    Ok(Some(bridge).filter(taps::bridge_exists))
}
