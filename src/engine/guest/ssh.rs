//! Logging in: where to, as whom, by which key.

use std::net::SocketAddr;

use super::{own_key, running};
use crate::api::{ObjectKey, Reporter};
use crate::engine::port_forward::Door;
use crate::engine::{Interrupt, instances, interrupted};
use crate::error::{Error, Result};
use crate::host::{Hop, HostError, Ssh, SshTarget};
use crate::observe::World;
use crate::store::InstanceRecord;

/// Logs in, or runs one command with the caller's terminal, and returns the exit code.
///
/// # Errors
/// A conflict when the guest is off or has no address.
pub fn ssh(
    world: &World,
    key: &ObjectKey,
    user: Option<&str>,
    command: &[String],
    reporter: &dyn Reporter,
) -> Result<u8> {
    running(world, key)?;
    let login = Login::to(world, key, user)?;
    let run = || login.ssh.interactive(&login.target, command);
    let code = login.let_in(world, key, reporter, run);
    interrupted()?;
    code.map_err(|e| login.refused(e, key))
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
    let login = Login::to(world, key, None)?;
    let shown = login.ssh.shown_key(&login.target);
    interrupted()?;
    let shown = shown.map_err(|e| login.refused(e, key))?;
    if login.target.host_key.as_ref() == Some(&shown) {
        return Ok(None);
    }
    instances::set_host_key(world, key, &shown)?;
    Ok(Some(shown))
}

/// A way to log in. What was made for it goes with it.
pub(super) struct Login {
    /// The client.
    pub(super) ssh: Ssh,
    /// Where, and as whom.
    pub(super) target: SshTarget,
    /// What is known of the instance.
    pub(super) record: Option<InstanceRecord>,
    /// Our public key.
    pub(super) public_key: String,
    _door: Option<Door>,
}

impl Login {
    /// Finds the way to an instance that runs.
    ///
    /// # Errors
    /// A conflict when nothing leads to it.
    pub(super) fn to(world: &World, key: &ObjectKey, user: Option<&str>) -> Result<Self> {
        const PORT: u16 = 22;
        let domain = instances::find(world, key)?;
        let record = world
            .store_for_reading()?
            .get::<InstanceRecord>(&domain.uid())?;
        let ssh = Ssh::find()?;
        let ours = own_key(world)?;
        let address = world.instance(&key.name)?.status.and_then(|s| s.address);
        let (at, door) = match address {
            Some(address) => (SocketAddr::from((address, PORT)), None),
            None => match Door::open(world, key, &domain, PORT)? {
                Some(door) => (door.at(), Some(door)),
                None => return Err(no_address(key, record.as_ref())),
            },
        };
        let user = user
            .map(str::to_owned)
            .or_else(|| record.as_ref().and_then(|r| r.ssh_user.clone()))
            .unwrap_or_else(|| "root".to_owned());
        let given = |r: &InstanceRecord| !r.adopted && !r.spec.env.is_empty();
        let target = SshTarget {
            environment: record.as_ref().is_some_and(given),
            at,
            user,
            private_key: ours.private,
            host_key: record.as_ref().and_then(|r| r.ssh_host_key.clone()),
            hop: Hop::of_uri(world.host()?.uri()),
        };
        Ok(Self {
            ssh: match &door {
                Some(_) => ssh.stopped_by(Interrupt::flag()),
                None => ssh,
            },
            target,
            record,
            public_key: ours.public,
            _door: door,
        })
    }
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
