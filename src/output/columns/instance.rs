//! Columns of instances.

use super::{Column, Ctx, NONE, PENDING, UNKNOWN, age, join, name, or, uid};
use crate::api::{Accelerator, ConditionStatus, Instance, Phase};
use crate::output::size::size;
use crate::output::style::Role;
use crate::output::table::Cell;

pub(super) const COLUMNS: &[Column<Instance>] = &[
    Column::new("NAME", |o, _| name(&o.metadata)),
    Column::new("STATUS", status),
    Column::new("READY", ready),
    Column::new("ADDRESS", address),
    Column::new("IMAGE", |o, _| or(o.spec.image.as_ref(), NONE)),
    Column::new("TYPE", instance_type),
    Column::new("AGE", |o, ctx| age(&o.metadata, ctx)),
    Column::wide("CPUS", |o, _| {
        or(o.status.as_ref().and_then(|s| s.cpus).or(o.spec.cpus), NONE)
    }),
    Column::wide("MEMORY", |o, _| {
        let memory = o.status.as_ref().and_then(|s| s.memory);
        or(memory.or(o.spec.memory).map(size), NONE)
    }),
    Column::wide("DISK", |o, _| {
        let disk = o.status.as_ref().and_then(|s| s.disk);
        or(disk.or(o.spec.disk).map(size), NONE)
    }),
    Column::wide("ACCEL", |o, _| {
        let accelerator = o.status.as_ref().and_then(|s| s.accelerator);
        match accelerator {
            Some(Accelerator::Tcg) => Cell::new("tcg", Role::Warning),
            other => or(other, NONE),
        }
    }),
    Column::wide("NETWORK", network),
    Column::wide("UID", |o, _| uid(&o.metadata)),
];

fn status(o: &Instance, _: Ctx) -> Cell {
    let Some(status) = &o.status else {
        return UNKNOWN.into();
    };
    let role = match status.phase {
        Phase::Running if is_ready(o) => Role::Good,
        Phase::Running | Phase::Pending | Phase::Stopping | Phase::Terminating => Role::Warning,
        Phase::Failed | Phase::Crashed => Role::Bad,
        Phase::Stopped | Phase::Paused => Role::Plain,
    };
    Cell::new(status.phase.to_string(), role)
}

fn is_ready(o: &Instance) -> bool {
    o.ready().is_some_and(|c| c.status == ConditionStatus::True)
}

/// `True`, `False`, `Unknown`; what is not ready says why in brackets: `False(CloudInitError)`.
fn ready(o: &Instance, _: Ctx) -> Cell {
    let Some(status) = &o.status else {
        return UNKNOWN.into();
    };
    let (word, role) = match o.ready().map(|c| c.status) {
        Some(ConditionStatus::True) => return Cell::new("True", Role::Good),
        Some(ConditionStatus::Unknown) => ("Unknown", Role::Plain),
        Some(ConditionStatus::False) | None => ("False", Role::Plain),
    };
    let reason = o
        .ready()
        .and_then(|c| c.reason.as_ref())
        .or(status.reason.as_ref());
    let phase = status.phase.to_string();
    match reason.filter(|r| **r != phase) {
        Some(reason) => Cell::new(format!("{word}({reason})"), role),
        None => Cell::new(word, role),
    }
}

fn address(o: &Instance, _: Ctx) -> Cell {
    let Some(status) = &o.status else {
        return NONE.into();
    };
    let first = status.addresses.first().map(|a| a.address);
    let address = status.address.map(std::net::IpAddr::from).or(first);
    let absent = match status.phase {
        Phase::Pending | Phase::Running => PENDING,
        _ => NONE,
    };
    or(address, absent)
}

/// An instance that is not ours has no type; that it is not ours is what to know of it.
fn instance_type(o: &Instance, _: Ctx) -> Cell {
    if o.status.as_ref().is_some_and(|s| !s.managed) {
        return Cell::new("<unmanaged>", Role::Dim);
    }
    or(o.spec.instance_type.as_ref(), NONE)
}

fn network(o: &Instance, _: Ctx) -> Cell {
    let seen = o.status.iter().flat_map(|s| &s.addresses);
    let mut names: Vec<&str> = o.spec.networks.iter().map(|n| n.name.as_str()).collect();
    names.extend(seen.filter_map(|a| a.network.as_deref()));
    let mut unique = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    join(unique)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::api::Condition;

    #[test]
    fn what_is_not_ready_says_why() {
        let mut o = samples::instance("web");
        assert_eq!(ready(&o, samples::ctx()).text, "True");
        let status = o.status.as_mut().unwrap();
        status.conditions = vec![Condition::new(
            "Ready",
            ConditionStatus::False,
            "CloudInitError",
        )];
        assert_eq!(ready(&o, samples::ctx()).text, "False(CloudInitError)");
        let status = o.status.as_mut().unwrap();
        status.conditions = vec![Condition::new("Ready", ConditionStatus::False, "Stopped")];
        status.phase = Phase::Stopped;
        assert_eq!(ready(&o, samples::ctx()).text, "False");
        let status = o.status.as_mut().unwrap();
        status.conditions.clear();
        status.phase = Phase::Terminating;
        status.reason = Some("VolumeInUse".into());
        assert_eq!(ready(&o, samples::ctx()).text, "False(VolumeInUse)");
    }

    #[test]
    fn colours_follow_phase_and_readiness() {
        let mut o = samples::instance("web");
        let role_of = |o: &Instance| super::status(o, samples::ctx()).role;
        assert_eq!(role_of(&o), Role::Good);
        o.status.as_mut().unwrap().conditions.clear();
        assert_eq!(role_of(&o), Role::Warning);
        o.status.as_mut().unwrap().phase = Phase::Crashed;
        assert_eq!(role_of(&o), Role::Bad);
    }

    #[test]
    fn an_instance_of_someone_else_is_marked() {
        let mut o = samples::bare_instance("legacy");
        assert_eq!(instance_type(&o, samples::ctx()).text, "<none>");
        o.status = samples::instance("x").status;
        o.status.as_mut().unwrap().managed = false;
        assert_eq!(instance_type(&o, samples::ctx()).text, "<unmanaged>");
        assert_eq!(network(&o, samples::ctx()).text, "default");
    }
}
