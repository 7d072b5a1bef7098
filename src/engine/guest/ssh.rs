//! Logging in: where to, as whom, by which key.

use super::{own_key, running};
use crate::api::ObjectKey;
use crate::engine::instances;
use crate::error::{Error, Result};
use crate::host::{Hop, HostError, Ssh, SshTarget};
use crate::observe::World;
use crate::store::InstanceRecord;

/// Logs in, or runs one command with the caller's terminal, and returns the exit code.
///
/// # Errors
/// A conflict when the guest is off or has no address.
pub fn ssh(world: &World, key: &ObjectKey, user: Option<&str>, command: &[String]) -> Result<u8> {
    running(world, key)?;
    let (ssh, target) = ssh_to(world, key, user)?;
    ssh.interactive(&target, command)
        .map_err(|e| refused(e, key))
}

/// What keeps ssh from a guest can be looked at on its console.
pub(super) fn refused(error: HostError, key: &ObjectKey) -> Error {
    let changed = matches!(error, HostError::OtherHostKey { .. });
    let error = Error::from(error).hint(format!("kvmctl console {}", key.name));
    match changed {
        true => error.hint(format!(
            "if its key was changed on purpose: kvmctl ssh {} --accept-new-host-key",
            key.name
        )),
        false => error,
    }
}

/// Takes the SSH host key that a guest shows now for its own from now on, and returns it where it is
/// another than before.
///
/// # Errors
/// A conflict when the guest is off or has no address; when it shows no key; what the store refuses.
pub fn accept_host_key(world: &World, key: &ObjectKey) -> Result<Option<String>> {
    running(world, key)?;
    let (ssh, target) = ssh_to(world, key, None)?;
    let shown = ssh.shown_key(&target).map_err(|e| refused(e, key))?;
    if target.host_key.as_ref() == Some(&shown) {
        return Ok(None);
    }
    instances::set_host_key(world, key, &shown)?;
    Ok(Some(shown))
}

pub(super) fn ssh_to(
    world: &World,
    key: &ObjectKey,
    user: Option<&str>,
) -> Result<(Ssh, SshTarget)> {
    let domain = instances::find(world, key)?;
    let record = world
        .store_for_reading()?
        .get::<InstanceRecord>(&domain.uid())?;
    let instance = world.instance(&key.name)?;
    let address = instance
        .status
        .and_then(|s| s.address)
        .ok_or_else(|| no_address(key, record.as_ref()))?;
    let ours = own_key(world)?;
    let user = user
        .map(str::to_owned)
        .or_else(|| record.as_ref().and_then(|r| r.ssh_user.clone()))
        .unwrap_or_else(|| "root".to_owned());
    let given = |r: &InstanceRecord| !r.adopted && !r.spec.env.is_empty();
    let target = SshTarget {
        environment: record.as_ref().is_some_and(given),
        address: address.into(),
        user,
        private_key: ours.private,
        host_key: record.and_then(|r| r.ssh_host_key),
        hop: Hop::of_uri(world.host()?.uri()),
    };
    Ok((Ssh::find()?, target))
}

/// Words that no address of an instance is known, and why not.
pub(in crate::engine) fn no_address(key: &ObjectKey, record: Option<&InstanceRecord>) -> Error {
    let error = Error::conflict(format!("no address of {key} is known"));
    let nics = record.map_or(&[][..], |r| &r.nics);
    let user_mode = nics
        .iter()
        .any(|n| n.network == crate::observe::USER_NETWORK);
    let error = match nics.first() {
        Some(_) if user_mode => error
            .caused_by("it is in QEMU's user-mode network, which nothing reaches from outside")
            .hint(format!("kvmctl exec {} -- COMMAND", key.name)),
        Some(nic) => error
            .caused_by(format!(
                "libvirt gives no addresses in network {:?}: the guest's own is known once its \
                 agent tells it or the host has heard of it",
                nic.network
            ))
            .hint(format!("kvmctl describe {key}")),
        None => error,
    };
    error.hint(format!("kvmctl console {}", key.name))
}
