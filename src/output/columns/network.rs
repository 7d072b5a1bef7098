//! Columns of networks.

use super::{Column, Ctx, NONE, UNKNOWN, age, name, or, uid, yes_no};
use crate::api::{Network, NetworkPhase, NetworkStatus};
use crate::output::style::Role;
use crate::output::table::Cell;

pub(super) const COLUMNS: &[Column<Network>] = &[
    Column::new("NAME", |o, _| name(&o.metadata)),
    Column::new("STATUS", phase),
    Column::new("MODE", |o, _| or(status(o).and_then(|s| s.mode), UNKNOWN)),
    Column::new("CIDR", |o, _| or(status(o).and_then(|s| s.cidr), NONE)),
    Column::new("BRIDGE", bridge),
    Column::new("USED", |o, _| or(status(o).and_then(|s| s.slots), NONE)),
    Column::new("AUTOSTART", |o, _| {
        let autostart = status(o).and_then(|s| s.autostart);
        autostart.map_or_else(|| UNKNOWN.into(), yes_no)
    }),
    Column::new("AGE", |o, ctx| age(&o.metadata, ctx)),
    Column::wide("MANAGED", |o, _| {
        yes_no(status(o).is_some_and(|s| s.managed))
    }),
    Column::wide("GATEWAY", |o, _| {
        or(status(o).and_then(|s| s.gateway), NONE)
    }),
    Column::wide("DOMAIN", |o, _| {
        or(status(o).and_then(|s| s.dns_domain.as_ref()), NONE)
    }),
    Column::wide("IPV6", |o, _| or(status(o).and_then(|s| s.ipv6), NONE)),
    Column::wide("MTU", |o, _| or(status(o).and_then(|s| s.mtu), NONE)),
    Column::wide("UID", |o, _| uid(&o.metadata)),
];

fn status(o: &Network) -> Option<&NetworkStatus> {
    o.status.as_ref()
}

/// The bridge, or the device that guests are plugged into.
fn bridge(o: &Network, _: Ctx) -> Cell {
    let status = status(o);
    let bridge = status.and_then(|s| s.bridge.as_ref());
    or(
        bridge.or_else(|| status.and_then(|s| s.device.as_ref())),
        NONE,
    )
}

fn phase(o: &Network, _: Ctx) -> Cell {
    let Some(status) = status(o) else {
        return UNKNOWN.into();
    };
    let role = match status.phase {
        NetworkPhase::Active => Role::Good,
        NetworkPhase::Inactive => Role::Plain,
        NetworkPhase::Pending | NetworkPhase::Terminating => Role::Warning,
    };
    match &status.reason {
        Some(reason) => Cell::new(format!("{}({reason})", status.phase), role),
        None => Cell::new(status.phase.to_string(), role),
    }
}
