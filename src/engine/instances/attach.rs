//! `attach-network` and `detach-network`: a changed list of networks, as an edited manifest has it.

use super::super::options::Applied;
use super::change::edit;
use super::networks;
use crate::api::{Instance, InstanceSpec, NetworkAttachment, Object, ObjectKey, Reporter};
use crate::error::{Error, Result};
use crate::manifest::{self, Located, Purpose};
use crate::observe::World;
use crate::plan::Outcome;
use crate::store::InstanceRecord;

/// Attaches an instance to one more network, or does nothing where it is in it as is wanted.
///
/// # Errors
/// A conflict where it is in that network otherwise; as a changed manifest.
pub fn attach_network(
    world: &World,
    key: &ObjectKey,
    wanted: &NetworkAttachment,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let mut wanted = wanted.clone();
    wanted.mac = wanted.mac.map(|mac| mac.to_ascii_lowercase());
    let wanted = &wanted;
    let mut applied = edit(world, key, reporter, |instance, record| {
        let mut all = explicit(world, &instance.spec, record)?;
        match all.iter().find(|a| a.name == wanted.name) {
            None => all.push(wanted.clone()),
            Some(_) if has(record, wanted) => {}
            Some(_) => {
                return Err(Error::conflict(format!(
                    "{key} is attached to network {:?} already",
                    wanted.name
                ))
                .hint(format!("kvmctl edit {key}"))
                .hint(format!(
                    "kvmctl instances detach-network {} {}",
                    key.name, wanted.name
                )));
            }
        }
        // The list stays unsaid where it says nothing new.
        if all.len() > record.nics.len() || !instance.spec.networks.is_empty() {
            instance.spec.networks = all;
        }
        check(instance, record)
    })?;
    crate::engine::tidy(world, reporter);
    if applied.outcome != Outcome::Unchanged {
        applied
            .notes
            .splice(0..0, address_note(world, key, &wanted.name)?);
    }
    Ok(applied)
}

/// Detaches an instance from a network, named by itself or by the interface's hardware address.
///
/// # Errors
/// `NotFound` where it is not in it; a conflict where it is in no other; as a changed manifest.
pub fn detach_network(
    world: &World,
    key: &ObjectKey,
    network: &str,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let applied = edit(world, key, reporter, |instance, record| {
        let by_mac = record
            .nics
            .iter()
            .find(|nic| nic.mac.to_string().eq_ignore_ascii_case(network));
        let name = by_mac.map_or(network, |nic| nic.network.as_str());
        let mut all = explicit(world, &instance.spec, record)?;
        let before = all.len();
        all.retain(|a| a.name != name);
        if all.len() == before {
            let known: Vec<&str> = record.nics.iter().map(|n| n.network.as_str()).collect();
            return Err(
                Error::not_found(format!("{key} is not attached to network {network:?}"))
                    .caused_by(format!("it is in: {}", known.join(", "))),
            );
        }
        if all.is_empty() {
            return Err(Error::conflict(format!(
                "{network:?} is the only network of {key}: an instance keeps one"
            ))
            .hint(format!(
                "kvmctl instances attach-network {} NETWORK",
                key.name
            )));
        }
        instance.spec.networks = all;
        Ok(())
    })?;
    crate::engine::tidy(world, reporter);
    Ok(applied)
}

/// What a manifest may not say, a command line may not say either.
pub(super) fn check(instance: &Instance, record: &InstanceRecord) -> Result<()> {
    let mut whole = instance.clone();
    whole.metadata.uid = Some(record.uid);
    let object = Located::elsewhere(Object::from(whole), "the command line");
    manifest::validate(&[object], Purpose::Apply)
        .map_err(|problems| manifest::into_error(&problems))
}

/// Returns the list of networks in words, also where the spec leaves it to what is usual.
fn explicit(
    world: &World,
    spec: &InstanceSpec,
    record: &InstanceRecord,
) -> Result<Vec<NetworkAttachment>> {
    if !spec.networks.is_empty() {
        return Ok(spec.networks.clone());
    }
    let of_nic = |nic: &crate::store::NicRecord| NetworkAttachment {
        name: nic.network.clone(),
        ip: None,
        // Several interfaces that others made may be in one network.
        mac: record.adopted.then(|| nic.mac.to_string()),
        model: None,
    };
    match record.nics.is_empty() && !record.adopted {
        true => networks::wanted(world, spec),
        false => Ok(record.nics.iter().map(of_nic).collect()),
    }
}

fn has(record: &InstanceRecord, wanted: &NetworkAttachment) -> bool {
    let old = record.spec.networks.iter().find(|a| a.name == wanted.name);
    let model = old.and_then(|a| a.model);
    record.nics.iter().any(|nic| {
        let mac = nic.mac.to_string();
        nic.network == wanted.name
            && wanted.ip.is_none_or(|ip| nic.ip == Some(ip))
            && wanted
                .mac
                .as_ref()
                .is_none_or(|m| m.eq_ignore_ascii_case(&mac))
            && wanted.model.is_none_or(|m| model.unwrap_or(m) == m)
    })
}

fn address_note(world: &World, key: &ObjectKey, network: &str) -> Result<Option<String>> {
    let record = super::record_of(world, &super::lifecycle::find(world, key)?)?;
    let nic = record.nics.into_iter().find(|nic| nic.network == network);
    Ok(nic.map(|nic| match nic.ip {
        Some(ip) => format!("interface {} has {ip} in network {network}", nic.mac),
        None => format!(
            "interface {} is in network {network}, where libvirt gives no address: the guest's own \
             is known once its agent tells it or the host has heard of it",
            nic.mac
        ),
    }))
}
