//! Columns of snapshots.

use super::{Column, NONE, age, join, name, or};
use crate::api::{Snapshot, SnapshotPhase, SnapshotStatus};
use crate::output::size::size;
use crate::output::style::Role;
use crate::output::table::Cell;

pub(super) const COLUMNS: &[Column<Snapshot>] = &[
    Column::new("NAME", |o, _| name(&o.metadata)),
    Column::new("STATUS", |o, _| {
        let phase = status(o).map(|s| s.phase).unwrap_or_default();
        let role = match phase {
            SnapshotPhase::Ready => Role::Good,
            SnapshotPhase::Pending | SnapshotPhase::Terminating => Role::Warning,
            SnapshotPhase::Failed => Role::Bad,
        };
        Cell::new(phase.to_string(), role)
    }),
    Column::new("SOURCE", |o, _| {
        let wanted = o.spec.source().map(|(kind, name)| format!("{kind}/{name}"));
        or(wanted, NONE)
    }),
    Column::new("SIZE", |o, _| {
        or(status(o).and_then(|s| s.virtual_size).map(size), NONE)
    }),
    Column::new("STORED", |o, _| {
        or(status(o).and_then(|s| s.stored_size).map(size), NONE)
    }),
    Column::new("CONSISTENCY", |o, _| {
        // Of a guest with its memory nothing is missing, however its disks would look without.
        match status(o) {
            Some(s) if s.memory => Cell::new("memory", Role::Plain),
            s => or(s.and_then(|s| s.consistency), NONE),
        }
    }),
    Column::new("PARENT", |o, _| {
        or(status(o).and_then(|s| s.parent.as_ref()), NONE)
    }),
    Column::new("AGE", |o, ctx| age(&o.metadata, ctx)),
    Column::wide("DISKS", |o, _| {
        join(
            status(o)
                .into_iter()
                .flat_map(|s| &s.disks)
                .map(|d| &d.name),
        )
    }),
    Column::wide("QEMU", |o, _| {
        or(status(o).and_then(|s| s.qemu_version.as_ref()), NONE)
    }),
    Column::wide("POOL", |o, _| {
        let disks = status(o).map(|s| s.disks.as_slice()).unwrap_or_default();
        or(disks.first().map(|d| &d.pool), NONE)
    }),
];

fn status(o: &Snapshot) -> Option<&SnapshotStatus> {
    o.status.as_ref()
}
