//! Forwards of a user's own daemon. QEMU's user-mode network makes them itself and forgets them when
//! it ends, so they are made anew at every start, and can be changed while the guest runs.

use std::collections::BTreeSet;
use std::io;

use crate::api::{PortMapping, Uid};
use crate::engine::balancers;
use crate::engine::reconcile::Finding;
use crate::error::{Error, Result};
use crate::host::ports;
use crate::libvirt::HostForward;
use crate::observe::{UserNet, World, each_port};
use crate::store::InstanceRecord;

/// Refuses what QEMU's user-mode network cannot forward, before anything is made.
///
/// # Errors
/// Usage for IPv6, a conflict for a port that the caller may not have.
pub(super) fn check(all: &[PortMapping]) -> Result<()> {
    for wanted in all {
        if wanted.address.is_some_and(|address| address.is_ipv6()) {
            return Err(Error::usage(format!(
                "port {wanted}: QEMU's user-mode network forwards IPv4 only"
            )));
        }
        for port in wanted.host..=wanted.last_host() {
            let tried = ports::try_bind(wanted.protocol, wanted.address, port);
            if tried.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied) {
                return Err(Error::conflict(format!(
                    "port {port} of the host: only root may have ports that low"
                ))
                .hint("choose a port of 1024 or above, or 0 for a free one"));
            }
        }
    }
    Ok(())
}

/// Makes QEMU forward what the list of an instance says, where it runs, and nothing else.
///
/// # Errors
/// A conflict for a port that somebody else has by now, or a guest without user-mode network.
pub(super) fn settle(world: &World, uid: Uid) -> Result<()> {
    let wanted = wanted(world, uid)?;
    match world.user_net(uid)? {
        Some(net) => make(&net, &wanted),
        None if wanted.is_empty() || !runs(world, uid)? => Ok(()),
        None => Err(Error::conflict(
            "without rights only QEMU's user-mode network forwards ports, and the instance is not in it",
        )
        .hint("kvmctl instances attach-network NAME user")),
    }
}

/// Makes QEMU forward what it does not yet, and takes nothing away.
///
/// # Errors
/// As [`settle`].
pub(in crate::engine) fn reach(world: &World, uid: Uid) -> Result<()> {
    let wanted = wanted(world, uid)?;
    match world.user_net(uid)? {
        Some(net) => add(&net, &wanted),
        None => Ok(()),
    }
}

/// What QEMU is to forward: the list of the instance, and what balancers reach it by.
fn wanted(world: &World, uid: Uid) -> Result<BTreeSet<HostForward>> {
    let record = world.store_for_reading()?.get::<InstanceRecord>(&uid)?;
    let Some(record) = record else {
        return Ok(BTreeSet::new());
    };
    let reached = balancers::reached(world, &record.name)?;
    let ports = record.ports.iter().chain(&reached);
    Ok(ports.flat_map(each_port).collect())
}

fn runs(world: &World, uid: Uid) -> Result<bool> {
    match world.host()?.domain_by_uid(uid) {
        Ok(domain) => Ok(domain.state()?.is_active()),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn make(net: &UserNet, wanted: &BTreeSet<HostForward>) -> Result<()> {
    let stale = net.there.difference(wanted).filter(|f| !is_passing(f));
    for forward in stale {
        net.domain.remove_host_forward(&net.nic, forward)?;
    }
    add(net, wanted)
}

fn add(net: &UserNet, wanted: &BTreeSet<HostForward>) -> Result<()> {
    for forward in wanted.difference(&net.there) {
        net.domain.add_host_forward(&net.nic, forward)?;
    }
    Ok(())
}

/// A `port-forward` that runs has taken a port of the loopback where the kernel gives them out.
fn is_passing(forward: &HostForward) -> bool {
    forward.address.is_loopback() && forward.host >= ports::ephemeral().0
}

/// Makes QEMU forward nothing of an instance's list any more.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn withdraw(world: &World, uid: Uid) -> Result<()> {
    match world.user_net(uid)? {
        Some(net) => make(&net, &BTreeSet::new()),
        None => Ok(()),
    }
}

/// Finds the guests whose ports are not forwarded, as when virsh started them.
///
/// # Errors
/// What the store or libvirt refuses.
pub(super) fn off(world: &World) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for record in world.store_for_reading()?.all::<InstanceRecord>()? {
        let reached = balancers::reached(world, &record.name)?;
        if record.ports.is_empty() && reached.is_empty() {
            continue;
        }
        let Some(net) = world.user_net(record.uid)? else {
            continue;
        };
        let there = |ports: &&PortMapping| each_port(ports).all(|f| net.there.contains(&f));
        let wanted = record.ports.iter().chain(&reached);
        let missing = wanted.filter(|ports| !there(ports));
        findings.extend(missing.map(|ports| Finding {
            object: format!("instance/{}", record.name),
            problem: format!("does not have {ports} forwarded"),
            mended: false,
            action: "kvmctl reconcile puts it right".to_owned(),
        }));
    }
    Ok(findings)
}

/// Makes all forwards right.
///
/// # Errors
/// As [`settle`].
pub(in crate::engine) fn settle_all(world: &World) -> Result<()> {
    let records: Vec<InstanceRecord> = world.store_for_reading()?.all()?;
    records
        .iter()
        .try_for_each(|record| settle(world, record.uid))
}
