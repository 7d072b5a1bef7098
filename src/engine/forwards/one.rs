//! One stand-alone forward: its record, its plan, and what is told of it.

use super::delete::in_a_list;
use crate::api::{Kind, Name, ObjectKey, PortForward, PortMapping, Protocol, Timestamp, Uid};
use crate::engine::options::{Applied, ApplyMode, ApplyOptions};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::observe::{Astray, Origin, WantedForward};
use crate::plan::{ObjectPlan, Outcome, forward};
use crate::store::{AppliedForward, ForwardRecord};

pub(super) fn key_of(forward: &PortForward) -> Result<ObjectKey> {
    let name = forward.metadata.name.clone();
    let name = name.ok_or_else(|| Error::usage("metadata.name is missing"))?;
    Ok(ObjectKey::new(Kind::PortForward, name))
}

pub(super) fn already_exists(key: &ObjectKey) -> Error {
    Error::conflict(format!(
        "{} {:?} already exists (AlreadyExists)",
        key.kind,
        key.name.as_str()
    ))
    .hint(format!("kvmctl get {key} -o yaml"))
}

/// Finds the forward of that name which is in the list of an instance.
pub(super) fn listed(all: &[WantedForward], key: &ObjectKey) -> Option<PortForward> {
    let listed =
        |w: &&WantedForward| w.name == key.name && matches!(w.origin, Origin::Listed { .. });
    all.iter().find(listed).map(|w| w.object(None))
}

/// What `get -o yaml` printed can be applied again; anything else is a change of the instance.
pub(super) fn as_listed(
    key: &ObjectKey,
    listed: &PortForward,
    wanted: &PortForward,
    options: &ApplyOptions,
) -> Result<Applied> {
    if options.mode == ApplyMode::Create {
        return Err(already_exists(key));
    }
    let same = listed.spec == wanted.spec
        && listed.metadata.labels == wanted.metadata.labels
        && listed.metadata.annotations == wanted.metadata.annotations;
    match same {
        true => Ok(told(&ObjectPlan::unchanged(key.clone()))),
        false => Err(in_a_list(listed)),
    }
}

pub(super) fn told(plan: &ObjectPlan) -> Applied {
    let steps = plan.steps();
    Applied {
        key: plan.key.clone(),
        outcome: plan.outcome,
        notes: plan.notes.clone(),
        explanation: steps
            .flat_map(|step| crate::engine::explain(step, &plan.key.name))
            .collect(),
    }
}

pub(super) fn new_record(key: &ObjectKey, wanted: &PortForward) -> ForwardRecord {
    ForwardRecord {
        uid: Uid::random(),
        name: key.name.clone(),
        labels: wanted.metadata.labels.clone(),
        annotations: wanted.metadata.annotations.clone(),
        generation: 1,
        created: Timestamp::now(),
        spec: wanted.spec.clone(),
        last_applied: None,
        host_port: wanted.spec.host_port,
        begun: None,
        pid: None,
        deletion_timestamp: None,
    }
}

pub(super) fn applied_of(wanted: &PortForward) -> AppliedForward {
    AppliedForward {
        labels: wanted.metadata.labels.clone(),
        annotations: wanted.metadata.annotations.clone(),
        spec: wanted.spec.clone(),
    }
}

pub(super) fn plan_of(key: &ObjectKey, outcome: Outcome, record: &ForwardRecord) -> ObjectPlan {
    let (instance, ports) = (record.spec.instance.clone(), record.mapping());
    let mut plan = forward::enforce(key.clone(), outcome, instance, ports);
    if record.spec.host_port == 0 {
        let line = format!(
            "port {} of the host was free and is taken",
            record.host_port
        );
        plan.notes.push(line);
    }
    plan
}

pub(super) fn line(record: &ForwardRecord) -> String {
    format!(
        "{} leads to instance/{}",
        record.mapping(),
        record.spec.instance
    )
}

pub(super) fn can_lead(led: &WantedForward) -> Result<()> {
    let Err(Astray { reason, message }) = &led.aim else {
        return Ok(());
    };
    if led.ports.address.is_some_and(|a| a.is_ipv6()) {
        return Err(ipv4_only(&led.instance, &led.ports));
    }
    let (kind, hint) = match *reason {
        "InstanceNotFound" => (ErrorKind::Usage, "kvmctl get instances".to_owned()),
        "Impossible" => (ErrorKind::Usage, "kvmctl explain forward.spec".to_owned()),
        _ => (
            ErrorKind::Conflict,
            format!("kvmctl describe instance {}", led.instance),
        ),
    };
    Err(Error::new(kind, message.clone()).hint(hint))
}

/// The record with some port: which one it will be makes no difference to where it leads.
pub(super) fn probe(record: &ForwardRecord) -> ForwardRecord {
    let mut probe = record.clone();
    if probe.host_port == 0 {
        probe.host_port = 1;
    }
    probe
}

/// Words that rules lead to no IPv6 port of the host, and what does.
pub(super) fn ipv4_only(instance: &Name, ports: &PortMapping) -> Error {
    let error = Error::usage(format!(
        "port {ports}: forwards are IPv4 only, as are the addresses that guests are reached at"
    ));
    let (address, host, guest) = (ports.address, ports.host, ports.guest);
    match (address, ports.protocol) {
        (Some(address), Protocol::Tcp) if ports.count < 2 => error.hint(format!(
            "kvmctl port-forward instance/{instance} --address {address} {host}:{guest}"
        )),
        _ => error.hint("leave the address out: the port is then reached at all IPv4 addresses"),
    }
}
