//! Columns of volumes.

use super::{Column, NONE, age, join, name, or};
use crate::api::{Volume, VolumePhase, VolumeStatus, VolumeUse};
use crate::output::size::size;
use crate::output::style::Role;
use crate::output::table::Cell;

pub(super) const COLUMNS: &[Column<Volume>] = &[
    Column::new("NAME", |o, _| name(&o.metadata)),
    Column::new("STATUS", |o, _| {
        let phase = status(o).map(|s| s.phase).unwrap_or_default();
        let role = match phase {
            VolumePhase::Available | VolumePhase::InUse => Role::Good,
            VolumePhase::Pending | VolumePhase::Terminating => Role::Warning,
            VolumePhase::Failed => Role::Bad,
        };
        Cell::new(phase.to_string(), role)
    }),
    Column::new("CAPACITY", |o, _| {
        let observed = status(o).and_then(|s| s.capacity);
        or(observed.or(o.spec.size).map(size), NONE)
    }),
    Column::new("ALLOCATION", |o, _| {
        or(status(o).and_then(|s| s.allocation).map(size), NONE)
    }),
    Column::new("FORMAT", |o, _| {
        or(status(o).and_then(|s| s.format).or(o.spec.format), NONE)
    }),
    Column::new("ATTACHED-TO", |o, _| join(uses(o).map(|u| &u.domain))),
    Column::new("DEVICE", |o, _| join(uses(o).map(|u| &u.target))),
    Column::new("AGE", |o, ctx| age(&o.metadata, ctx)),
    Column::wide("POOL", |o, _| {
        or(status(o).and_then(|s| s.pool.as_ref()), NONE)
    }),
    Column::wide("SERIAL", |o, _| {
        or(status(o).and_then(|s| s.serial.as_ref()), NONE)
    }),
    Column::wide("VOLUME", |o, _| {
        or(status(o).and_then(|s| s.volume.as_ref()), NONE)
    }),
];

fn status(o: &Volume) -> Option<&VolumeStatus> {
    o.status.as_ref()
}

fn uses(o: &Volume) -> impl Iterator<Item = &VolumeUse> {
    status(o).into_iter().flat_map(|s| &s.attached_to)
}
