//! Columns of images.

use super::{Column, NONE, age, join, name, or, yes_no};
use crate::api::{Image, ImageStatus};
use crate::output::size::size;
use crate::output::style::Role;
use crate::output::table::Cell;

pub(super) const COLUMNS: &[Column<Image>] = &[
    Column::new("NAME", |o, _| name(&o.metadata)),
    Column::new("CACHED", |o, _| {
        let cached = o.status.as_ref().is_some_and(|s| s.cached);
        let role = if cached { Role::Good } else { Role::Plain };
        Cell::new(yes_no(cached).text, role)
    }),
    Column::new("ARCH", |o, _| {
        or(status(o).and_then(|s| s.architecture.as_ref()), NONE)
    }),
    Column::new("FORMAT", |o, _| {
        or(status(o).and_then(|s| s.format.as_ref()), NONE)
    }),
    Column::new("VIRTUAL", |o, _| {
        or(status(o).and_then(|s| s.virtual_size).map(size), NONE)
    }),
    Column::new("SIZE", |o, _| {
        or(status(o).and_then(|s| s.size).map(size), NONE)
    }),
    Column::new("AGE", |o, ctx| match o.metadata.creation_timestamp {
        // An entry of the catalogue that is not here yet was never made.
        None if !status(o).is_some_and(|s| s.cached) => NONE.into(),
        _ => age(&o.metadata, ctx),
    }),
    Column::wide("USERS", |o, _| {
        join(status(o).iter().flat_map(|s| &s.used_by))
    }),
    Column::wide("LOGIN", |o, _| or(o.spec.default_user.as_ref(), NONE)),
    Column::wide("FIRMWARE", |o, _| {
        or(status(o).and_then(|s| s.firmware.as_ref()), NONE)
    }),
    Column::wide("SHA256", |o, _| {
        let sum = status(o).and_then(|s| s.sha256.as_ref());
        or(sum.or(o.spec.sha256.as_ref()), NONE)
    }),
    Column::wide("URL", |o, _| or(o.spec.url.as_ref(), NONE)),
];

fn status(o: &Image) -> Option<&ImageStatus> {
    o.status.as_ref()
}
