//! Columns of load balancers.

use super::{Column, NONE, age, join, name, or, uid};
use crate::api::{BalancerCounters, BalancerPhase, LoadBalancer, LoadBalancerStatus, TargetHealth};
use crate::output::style::Role;
use crate::output::table::Cell;

pub(super) const COLUMNS: &[Column<LoadBalancer>] = &[
    Column::new("NAME", |o, _| name(&o.metadata)),
    Column::new("LISTEN", |o, _| join(listen(o))),
    Column::new("PROTOCOL", |o, _| o.spec.protocol().as_str().into()),
    Column::new("ALGORITHM", |o, _| o.spec.algorithm().as_str().into()),
    Column::new("HEALTHY", |o, _| healthy(o).into()),
    Column::new("STATUS", |o, _| phase(o)),
    Column::new("REASON", |o, _| {
        or(status(o).and_then(|s| s.reason.as_ref()), NONE)
    }),
    Column::new("AGE", |o, ctx| age(&o.metadata, ctx)),
    Column::wide("HOSTNAMES", |o, _| join(o.spec.hostnames())),
    Column::wide("TARGETS", |o, _| join(targets(o))),
    Column::wide("REQUESTS", |o, _| or(counters(o).map(|c| c.requests), NONE)),
    Column::wide("CONNECTIONS", |o, _| {
        or(counters(o).and_then(|c| c.connections), NONE)
    }),
    Column::wide("UID", |o, _| uid(&o.metadata)),
];

fn status(o: &LoadBalancer) -> Option<&LoadBalancerStatus> {
    o.status.as_ref()
}

fn counters(o: &LoadBalancer) -> Option<&BalancerCounters> {
    status(o)?.counters.as_ref()
}

/// What is listened on, as `*:80/tcp`.
pub(in crate::output) fn listen(o: &LoadBalancer) -> Vec<String> {
    o.spec.sockets().iter().map(ToString::to_string).collect()
}

/// How many of the targets answer, as `2/3`.
fn healthy(o: &LoadBalancer) -> String {
    match status(o) {
        Some(LoadBalancerStatus {
            healthy: Some(n),
            targets,
            ..
        }) => format!("{n}/{}", targets.len()),
        _ => super::UNKNOWN.to_owned(),
    }
}

/// The targets and how they are, as `web1:8080=Healthy`, with those that the selector found.
fn targets(o: &LoadBalancer) -> Vec<String> {
    match status(o) {
        Some(status) => status
            .targets
            .iter()
            .map(|t| format!("{}:{}={}", t.instance, t.port, t.health))
            .collect(),
        None => o.spec.targets.iter().map(ToString::to_string).collect(),
    }
}

/// The phase in its colour.
pub(in crate::output) fn phase(o: &LoadBalancer) -> Cell {
    let Some(status) = status(o) else {
        return super::UNKNOWN.into();
    };
    let role = match status.phase {
        BalancerPhase::Active => Role::Good,
        BalancerPhase::Down => Role::Bad,
        BalancerPhase::Unknown => Role::Plain,
        BalancerPhase::Pending
        | BalancerPhase::Degraded
        | BalancerPhase::Stale
        | BalancerPhase::Terminating => Role::Warning,
    };
    Cell::new(status.phase.to_string(), role)
}

/// How a target is, in its colour.
pub(in crate::output) fn health(health: TargetHealth) -> Cell {
    let role = match health {
        TargetHealth::Healthy => Role::Good,
        TargetHealth::Unhealthy => Role::Bad,
        TargetHealth::Unresolved | TargetHealth::Draining => Role::Warning,
        TargetHealth::Unknown => Role::Plain,
    };
    Cell::new(health.to_string(), role)
}
