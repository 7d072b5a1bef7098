//! Columns of secrets: never a value.

use super::{Column, age, join, name};
use crate::api::Secret;

pub(super) const COLUMNS: &[Column<Secret>] = &[
    Column::new("NAME", |o, _| name(&o.metadata)),
    Column::new("DATA", |o, _| o.data.len().to_string().into()),
    Column::new("AGE", |o, ctx| age(&o.metadata, ctx)),
    Column::wide("KEYS", |o, _| join(o.data.keys())),
];
