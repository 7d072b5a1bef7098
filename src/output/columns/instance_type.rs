//! Columns of instance types.

use super::{Column, NONE, age, name};
use crate::api::InstanceType;
use crate::output::size::size;

pub(super) const COLUMNS: &[Column<InstanceType>] = &[
    Column::new("NAME", |o, _| name(&o.metadata)),
    Column::new("CPUS", |o, _| o.spec.cpus.to_string().into()),
    Column::new("MEMORY", |o, _| size(o.spec.memory).into()),
    Column::new("DISK", |o, _| size(o.spec.disk).into()),
    Column::new("AGE", |o, ctx| match o.metadata.creation_timestamp {
        // Built in: there since ever.
        None => NONE.into(),
        Some(_) => age(&o.metadata, ctx),
    }),
];
