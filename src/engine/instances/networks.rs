//! The networks that an instance is wanted in, looked up.

use super::prepare::unknown_reference;
use crate::api::{InstanceSpec, NetworkAttachment};
use crate::error::{Error, Kind, Result};
use crate::observe::{NetworkFacts, USER_NETWORK, World};

/// Returns what a spec asks for: the context's network where it names none.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn wanted(world: &World, spec: &InstanceSpec) -> Result<Vec<NetworkAttachment>> {
    if !spec.networks.is_empty() {
        return Ok(spec.networks.clone());
    }
    Ok(vec![NetworkAttachment {
        name: default_network(world)?,
        ip: None,
        mac: None,
        model: None,
    }])
}

/// Looks networks up.
///
/// # Errors
/// Usage with the candidates for one that does not exist, a conflict for one that is not active.
pub(super) fn look_up(
    world: &World,
    wanted: Vec<NetworkAttachment>,
) -> Result<Vec<(NetworkAttachment, NetworkFacts)>> {
    let look = |attachment: NetworkAttachment| {
        let facts = facts(world, &attachment.name)?;
        Ok((attachment, facts))
    };
    wanted.into_iter().map(look).collect()
}

/// Looks networks up for a dry run, in which one of the same run is not there yet. Of that only the
/// name is known; whether it is in the run at all was asked before.
///
/// # Errors
/// A conflict for one that is not active.
pub(super) fn foresee(
    world: &World,
    wanted: Vec<NetworkAttachment>,
    spec: &InstanceSpec,
) -> Result<Vec<(NetworkAttachment, NetworkFacts)>> {
    let named = |name: &str| spec.networks.iter().any(|n| n.name == name);
    let look = |attachment: NetworkAttachment| {
        let facts = match facts(world, &attachment.name) {
            Err(e) if e.kind() == Kind::Usage && named(&attachment.name) => {
                NetworkFacts::user(&attachment.name)
            }
            facts => facts?,
        };
        Ok((attachment, facts))
    };
    wanted.into_iter().map(look).collect()
}

fn facts(world: &World, name: &str) -> Result<NetworkFacts> {
    let host = world.host()?;
    if name == USER_NETWORK {
        return Ok(NetworkFacts::user(USER_NETWORK));
    }
    let network = match host.network(name) {
        Ok(network) => network,
        Err(e) if e.is_not_found() => {
            let known: Vec<String> = host.networks()?.into_iter().map(|n| n.name).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(unknown_reference("network", name, &known, "kvmctl setup"));
        }
        Err(e) => return Err(e.into()),
    };
    if !network.is_active()? {
        return Err(Error::conflict(format!("network {name:?} is not active"))
            .hint(format!("virsh net-start {name}"))
            .hint("kvmctl setup"));
    }
    NetworkFacts::read(&network.definition()?)
}

/// The context's network; where a daemon without rights has none of that name, and could make none,
/// QEMU's own.
fn default_network(world: &World) -> Result<String> {
    let (host, name) = (world.host()?, &world.settings().network);
    match host.network(name) {
        Err(e) if e.is_not_found() && host.is_session() => Ok(USER_NETWORK.to_owned()),
        // What is wrong with it is said where all networks are looked at.
        _ => Ok(name.clone()),
    }
}
