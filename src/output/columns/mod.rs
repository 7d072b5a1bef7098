//! What a table shows of each kind: one file a kind.
//!
//! NAME is first and AGE last of the default columns; wide columns follow at the end, so that scripts
//! that count columns stay right.

pub(in crate::output) mod balancer;
pub(in crate::output) mod forward;
mod image;
mod instance;
mod instance_type;
mod network;
mod secret;
mod snapshot;
mod volume;

use super::escape;
use super::table::Cell;
use crate::api::{Kind, Name, Object, ObjectMeta, Timestamp};

/// Stands for a scalar that nothing was said of.
pub const UNSET: &str = "<unset>";
/// Stands for an empty list or an absent object.
pub const NONE: &str = "<none>";
/// Stands for an address that is still to come.
pub const PENDING: &str = "<pending>";
/// Stands for what cannot be told.
pub const UNKNOWN: &str = "<unknown>";

/// What columns need beside the object.
#[derive(Debug, Clone, Copy)]
pub struct Ctx {
    /// The present, for ages.
    pub now: Timestamp,
}

/// Which columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Those that fit about 80 characters.
    Normal,
    /// All (`-o wide`).
    Wide,
}

/// One column of a kind's table.
struct Column<T> {
    title: &'static str,
    width: Width,
    cell: fn(&T, Ctx) -> Cell,
}

impl<T> Column<T> {
    const fn new(title: &'static str, cell: fn(&T, Ctx) -> Cell) -> Self {
        Self {
            title,
            width: Width::Normal,
            cell,
        }
    }

    const fn wide(title: &'static str, cell: fn(&T, Ctx) -> Cell) -> Self {
        Self {
            title,
            width: Width::Wide,
            cell,
        }
    }
}

/// Returns the titles of a kind's columns.
pub fn titles(kind: Kind, width: Width) -> Vec<&'static str> {
    match kind {
        Kind::Instance => titles_of(instance::COLUMNS, width),
        Kind::Image => titles_of(image::COLUMNS, width),
        Kind::Network => titles_of(network::COLUMNS, width),
        Kind::Volume => titles_of(volume::COLUMNS, width),
        Kind::Snapshot => titles_of(snapshot::COLUMNS, width),
        Kind::InstanceType => titles_of(instance_type::COLUMNS, width),
        Kind::Secret => titles_of(secret::COLUMNS, width),
        Kind::PortForward => titles_of(forward::COLUMNS, width),
        Kind::LoadBalancer => titles_of(balancer::COLUMNS, width),
    }
}

/// Returns the cells of an object, one for each of [`titles`], none with a blank in it.
pub fn cells(object: &Object, width: Width, ctx: Ctx) -> Vec<Cell> {
    match object {
        Object::Instance(o) => cells_of(instance::COLUMNS, &**o, width, ctx),
        Object::Image(o) => cells_of(image::COLUMNS, &**o, width, ctx),
        Object::Network(o) => cells_of(network::COLUMNS, &**o, width, ctx),
        Object::Volume(o) => cells_of(volume::COLUMNS, &**o, width, ctx),
        Object::Snapshot(o) => cells_of(snapshot::COLUMNS, &**o, width, ctx),
        Object::InstanceType(o) => cells_of(instance_type::COLUMNS, &**o, width, ctx),
        Object::Secret(o) => cells_of(secret::COLUMNS, &**o, width, ctx),
        Object::PortForward(o) => cells_of(forward::COLUMNS, &**o, width, ctx),
        Object::LoadBalancer(o) => cells_of(balancer::COLUMNS, &**o, width, ctx),
    }
}

fn titles_of<T>(columns: &[Column<T>], width: Width) -> Vec<&'static str> {
    shown(columns, width).map(|c| c.title).collect()
}

fn cells_of<T>(columns: &[Column<T>], object: &T, width: Width, ctx: Ctx) -> Vec<Cell> {
    shown(columns, width)
        .map(|column| {
            let cell = (column.cell)(object, ctx);
            Cell::new(escape::field(&cell.text), cell.role)
        })
        .collect()
}

fn shown<T>(columns: &[Column<T>], width: Width) -> impl Iterator<Item = &Column<T>> {
    columns
        .iter()
        .filter(move |c| width == Width::Wide || c.width == Width::Normal)
}

fn name(meta: &ObjectMeta) -> Cell {
    meta.name.as_ref().map_or(UNSET, Name::as_str).into()
}

fn age(meta: &ObjectMeta, ctx: Ctx) -> Cell {
    super::age::age_or_unknown(meta.creation_timestamp, ctx.now).into()
}

fn uid(meta: &ObjectMeta) -> Cell {
    or(meta.uid, NONE)
}

/// Shows a value, or what stands for its absence.
fn or(value: Option<impl ToString>, absent: &str) -> Cell {
    value
        .map_or_else(|| absent.to_owned(), |v| v.to_string())
        .into()
}

/// Shows a list with commas between, or `<none>`.
fn join(items: impl IntoIterator<Item = impl ToString>) -> Cell {
    let items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    if items.is_empty() {
        NONE.into()
    } else {
        items.join(",").into()
    }
}

fn yes_no(yes: bool) -> Cell {
    if yes { "Yes" } else { "No" }.into()
}

#[cfg(test)]
pub(super) mod samples;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::KINDS;

    fn all() -> Vec<Object> {
        vec![
            samples::instance("web").into(),
            samples::bare_instance("new").into(),
            samples::image("debian-12").into(),
            samples::network("blue").into(),
            samples::volume("data").into(),
            samples::snapshot("backup").into(),
            samples::instance_type("t2.micro").into(),
            samples::secret("db"),
            samples::forward("web-8080").into(),
            samples::balancer("web-lb").into(),
        ]
    }

    #[test]
    fn name_is_first_age_is_last_and_wide_only_adds_at_the_end() {
        for row in KINDS {
            let normal = titles(row.kind, Width::Normal);
            let wide = titles(row.kind, Width::Wide);
            assert_eq!(normal.first(), Some(&"NAME"), "{}", row.name);
            assert_eq!(normal.last(), Some(&"AGE"), "{}", row.name);
            assert!(wide.starts_with(&normal), "{}: {wide:?}", row.name);
            assert!(wide.iter().all(|t| !t.contains(char::is_whitespace)));
        }
    }

    #[test]
    fn every_kind_has_a_sample_and_no_cell_a_blank() {
        let kinds: std::collections::BTreeSet<_> = all().iter().map(Object::kind).collect();
        assert_eq!(kinds.len(), KINDS.len());
        for object in all() {
            for width in [Width::Normal, Width::Wide] {
                let cells = cells(&object, width, samples::ctx());
                assert_eq!(cells.len(), titles(object.kind(), width).len());
                for cell in cells {
                    assert!(!cell.text.is_empty() && !cell.text.contains(char::is_whitespace));
                }
            }
        }
    }
}
