//! Prints objects in the form that `-o` asks for.

use serde_json::Value;

use super::columns::{self, Ctx, Width};
use super::format::OutputFormat;
use super::sort::SortKey;
use super::style::Paint;
use super::table::{Cell, Table};
use super::ui::Ui;
use super::{json, value, yaml};
use crate::api::{Kind, LabelKey, Object, Timestamp};
use crate::error::Result;

/// How objects are to be printed.
#[derive(Debug, Clone)]
pub struct PrintRequest {
    /// The form.
    pub format: OutputFormat,
    /// Leaves the titles of a table out.
    pub no_headers: bool,
    /// In which order.
    pub order: Order,
    /// Adds a last column LABELS.
    pub show_labels: bool,
    /// Labels that get a column of their own (`-L`).
    pub label_columns: Vec<LabelKey>,
    /// Writes `kind/name` in a table even where all objects are of one kind.
    pub show_kind: bool,
    /// One named object was asked for: it is printed bare, not as a list of one.
    pub single: bool,
    /// Follows "No instances found.", as `(3 unmanaged: kvmctl get instances --all)`.
    pub empty_note: Option<String>,
    /// The present, for ages.
    pub now: Timestamp,
}

/// In which order objects are printed.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Order {
    /// By name.
    #[default]
    ByName,
    /// As they come: as they were named on the command line.
    AsGiven,
    /// By a value (`--sort-by`).
    By(SortKey),
}

impl PrintRequest {
    /// Returns a request for a form, with nothing else asked for.
    pub fn new(format: OutputFormat, now: Timestamp) -> Self {
        Self {
            format,
            no_headers: false,
            order: Order::default(),
            show_labels: false,
            label_columns: Vec::new(),
            show_kind: false,
            single: false,
            empty_note: None,
            now,
        }
    }

    /// Returns whether a table for people was asked for.
    pub const fn is_table(&self) -> bool {
        self.format.is_table()
    }

    /// Returns whether columns and names are not enough, so that each object must be looked at whole.
    pub const fn needs_whole_objects(&self) -> bool {
        let by_path = matches!(self.order, Order::By(SortKey::Path { .. }));
        by_path
            || !matches!(
                self.format,
                OutputFormat::Table | OutputFormat::Wide | OutputFormat::Name
            )
    }

    pub(super) const fn ctx(&self) -> Ctx {
        Ctx { now: self.now }
    }
}

/// The objects of one kind that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The kind.
    pub kind: Kind,
    /// What was found of it.
    pub objects: Vec<Object>,
}

/// Prints objects, kind by kind in the order given.
///
/// # Errors
/// A sort key that a kind does not have (usage), or an output that cannot be written to.
pub fn print_objects(ui: &Ui, request: &PrintRequest, groups: &[Group]) -> Result<()> {
    let sorted = sorted(groups, request)?;
    match &request.format {
        OutputFormat::Table => tables(ui, request, &sorted, Width::Normal),
        OutputFormat::Wide => tables(ui, request, &sorted, Width::Wide),
        OutputFormat::Name => names(ui, &sorted),
        OutputFormat::CustomColumns(columns) => {
            let table = columns.table(&values(&sorted));
            let table = if request.no_headers {
                table.without_titles()
            } else {
                table
            };
            ui.out(&table.render(ui.paint_out()))
        }
        OutputFormat::Json => ui.out(&json::to_string(&whole(request, &sorted))),
        OutputFormat::Yaml => ui.out(&yaml::to_string(&whole(request, &sorted))),
        OutputFormat::JsonPath(template) => {
            ui.out_foreign(&template.render(&whole(request, &sorted)))
        }
    }
}

/// The objects of one kind, in the order in which they are printed.
pub(super) type Sorted<'a> = (Kind, Vec<&'a Object>);

pub(super) fn sorted<'a>(groups: &'a [Group], request: &PrintRequest) -> Result<Vec<Sorted<'a>>> {
    let mut sorted = Vec::with_capacity(groups.len());
    for group in groups {
        let mut objects: Vec<&Object> = group.objects.iter().collect();
        match &request.order {
            Order::AsGiven => {}
            Order::ByName => objects.sort_by(|a, b| a.meta().name.cmp(&b.meta().name)),
            Order::By(key) => key.sort(group.kind, &mut objects, request.ctx())?,
        }
        sorted.push((group.kind, objects));
    }
    Ok(sorted)
}

fn values(groups: &[Sorted<'_>]) -> Vec<Value> {
    let objects = groups.iter().flat_map(|(_, objects)| objects);
    objects.map(|object| value::of(object)).collect()
}

/// The one object that was asked for by name, or a list of all.
fn whole(request: &PrintRequest, groups: &[Sorted<'_>]) -> Value {
    let mut all = values(groups);
    match all.pop() {
        Some(one) if request.single && all.is_empty() => one,
        last => {
            all.extend(last);
            value::list(all)
        }
    }
}

fn names(ui: &Ui, groups: &[Sorted<'_>]) -> Result<()> {
    let objects = groups.iter().flat_map(|(_, objects)| objects);
    let keys = objects.filter_map(|object| object.key());
    ui.out(&keys.map(|key| format!("{key}\n")).collect::<String>())
}

fn tables(ui: &Ui, request: &PrintRequest, groups: &[Sorted<'_>], width: Width) -> Result<()> {
    let texts = table_texts(request, groups, width, ui.paint_out());
    if texts.is_empty() {
        let note = request.empty_note.as_ref();
        let note = note.map_or_else(String::new, |note| format!(" {note}"));
        ui.status(&format!("{}{note}", nothing_found(groups)));
        return Ok(());
    }
    ui.out(&texts.join("\n"))
}

/// A table for each group that has objects.
pub(super) fn table_texts(
    request: &PrintRequest,
    groups: &[Sorted<'_>],
    width: Width,
    paint: Paint,
) -> Vec<String> {
    let prefixed = request.show_kind || groups.len() > 1;
    let full = groups.iter().filter(|(_, objects)| !objects.is_empty());
    full.map(|(kind, objects)| {
        let rows = objects.iter().map(|o| row(o, request, width, prefixed));
        table(*kind, request, width, rows).render(paint)
    })
    .collect()
}

pub(super) fn nothing_found(groups: &[Sorted<'_>]) -> String {
    let noun = match groups {
        [(kind, _)] => kind.info().plural,
        _ => "resources",
    };
    format!("No {noun} found.")
}

pub(super) fn table(
    kind: Kind,
    request: &PrintRequest,
    width: Width,
    rows: impl IntoIterator<Item = Vec<Cell>>,
) -> Table {
    let mut titles: Vec<String> = columns::titles(kind, width)
        .into_iter()
        .map(str::to_owned)
        .collect();
    titles.extend(request.label_columns.iter().map(label_title));
    if request.show_labels {
        titles.push("LABELS".to_owned());
    }
    let mut table = Table::new(titles);
    for row in rows {
        table.push(row);
    }
    if request.no_headers {
        table.without_titles()
    } else {
        table
    }
}

/// `app.kubernetes.io/name` gets the column NAME's last part, as in kubectl.
fn label_title(key: &LabelKey) -> String {
    let name = key.as_str().rsplit('/').next().unwrap_or_default();
    name.to_ascii_uppercase()
}

pub(super) fn row(
    object: &Object,
    request: &PrintRequest,
    width: Width,
    prefixed: bool,
) -> Vec<Cell> {
    let mut cells = columns::cells(object, width, request.ctx());
    if prefixed && let (Some(first), Some(key)) = (cells.first_mut(), object.key()) {
        first.text = key.to_string();
    }
    let labels = &object.meta().labels;
    cells.extend(
        request
            .label_columns
            .iter()
            .map(|key| match labels.get(key) {
                None => columns::NONE.into(),
                Some(value) if value.as_str().is_empty() => columns::UNSET.into(),
                Some(value) => Cell::from(value.as_str()),
            }),
    );
    if request.show_labels {
        let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        cells.push(pairs.join(",").into());
    }
    cells
}

#[cfg(test)]
mod tests;
