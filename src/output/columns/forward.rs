//! Columns of forwards.

use super::{Column, NONE, age, name, or, uid};
use crate::api::{ForwardPhase, PortForward, PortForwardStatus};
use crate::output::style::Role;
use crate::output::table::Cell;

pub(super) const COLUMNS: &[Column<PortForward>] = &[
    Column::new("NAME", |o, _| name(&o.metadata)),
    Column::new("INSTANCE", |o, _| o.spec.instance.as_str().into()),
    Column::new("LISTEN", |o, _| listen(o).into()),
    Column::new("TARGET", |o, _| target(o).into()),
    Column::new("STATUS", |o, _| phase(o)),
    Column::new("REASON", |o, _| {
        or(status(o).and_then(|s| s.reason.as_ref()), NONE)
    }),
    Column::new("PACKETS", |o, _| {
        or(status(o).and_then(|s| s.packets), NONE)
    }),
    Column::new("AGE", |o, ctx| age(&o.metadata, ctx)),
    Column::wide("CONNECTIONS", |o, _| {
        or(status(o).and_then(|s| s.connections), NONE)
    }),
    Column::wide("NETWORK", |o, _| {
        or(status(o).and_then(|s| s.network.as_ref()), NONE)
    }),
    Column::wide("BACKEND", |o, _| {
        or(status(o).and_then(|s| s.backend.as_ref()), NONE)
    }),
    Column::wide("OWNER", |o, _| {
        or(o.owner().map(|n| format!("instance/{n}")), NONE)
    }),
    Column::wide("UID", |o, _| uid(&o.metadata)),
];

fn status(o: &PortForward) -> Option<&PortForwardStatus> {
    o.status.as_ref()
}

/// What is listened at, as `*:8080/tcp`.
pub(in crate::output) fn listen(o: &PortForward) -> String {
    let mapping = o.mapping();
    let address = match mapping.address {
        None => "*".to_owned(),
        Some(std::net::IpAddr::V6(a)) => format!("[{a}]"),
        Some(a) => a.to_string(),
    };
    let ports = ports(mapping.host, mapping.last_host());
    format!("{address}:{ports}/{}", mapping.protocol)
}

/// Where it leads, as `192.168.122.5:80`.
pub(in crate::output) fn target(o: &PortForward) -> String {
    let mapping = o.mapping();
    let target = status(o).and_then(|s| s.target);
    let address = target.map_or_else(|| NONE.to_owned(), |a| a.to_string());
    format!("{address}:{}", ports(mapping.guest, mapping.last_guest()))
}

fn ports(first: u16, last: u16) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    }
}

/// The phase in its colour.
pub(in crate::output) fn phase(o: &PortForward) -> Cell {
    let Some(status) = status(o) else {
        return super::UNKNOWN.into();
    };
    let role = match status.phase {
        ForwardPhase::Active => Role::Good,
        ForwardPhase::Missing => Role::Bad,
        ForwardPhase::Unknown => Role::Plain,
        ForwardPhase::Pending | ForwardPhase::Stale | ForwardPhase::Terminating => Role::Warning,
    };
    Cell::new(status.phase.to_string(), role)
}
