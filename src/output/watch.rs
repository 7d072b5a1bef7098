//! `-w`: on a terminal the table is drawn again in place; into a pipe goes a row for every change.

use std::collections::BTreeMap;

use super::columns::{self, Width};
use super::format::OutputFormat;
use super::printer::{Item, PrintRequest, order, row, table};
use super::style::{Paint, Role};
use super::table::{Cell, Table};
use super::ui::Ui;
use super::{json, yaml};
use crate::api::{Kind, Object, ObjectKey, Timestamp};
use crate::error::Result;

/// Shows objects of one kind as they change.
#[derive(Debug)]
pub struct WatchView {
    ui: Ui,
    request: PrintRequest,
    kind: Kind,
    seen: BTreeMap<ObjectKey, Item>,
    widths: Vec<usize>,
    begun: bool,
    drawn_lines: usize,
}

impl WatchView {
    /// Begins with nothing shown.
    pub fn new(ui: Ui, request: PrintRequest, kind: Kind) -> Self {
        Self {
            ui,
            request,
            kind,
            seen: BTreeMap::new(),
            widths: Vec::new(),
            begun: false,
            drawn_lines: 0,
        }
    }

    /// Shows the objects as they are at `now`. On a terminal ages go on even where nothing changed.
    ///
    /// # Errors
    /// A sort key that the kind does not have (usage), or an output that cannot be written to.
    pub fn update(&mut self, objects: Vec<Object>, now: Timestamp) -> Result<()> {
        self.request.now = now;
        let mut items: Vec<Item> = objects.into_iter().map(Item::new).collect();
        order(&mut items, self.kind, &self.request)?;
        // Drawing in place needs escape sequences, which NO_COLOR and a dumb terminal rule out.
        if self.request.format.is_table() && self.ui.paint_out() == Paint::Ansi {
            self.redraw(&items)
        } else {
            self.append(items)
        }
    }

    fn width(&self) -> Width {
        if self.request.format == OutputFormat::Wide {
            Width::Wide
        } else {
            Width::Normal
        }
    }

    fn redraw(&mut self, items: &[Item]) -> Result<()> {
        let mut shown = items.len();
        let (mut text, mut lines) = self.draw(items, shown);
        while lines >= self.ui.height() && shown > 1 {
            // What does not fit on the screen cannot be drawn over again.
            shown -= 1 + (lines - self.ui.height()).min(shown - 2);
            (text, lines) = self.draw(items, shown);
        }
        let back = match self.drawn_lines {
            0 => String::new(),
            n => format!("\x1b[{n}A\r\x1b[J"),
        };
        self.drawn_lines = lines;
        self.ui.out(&format!("{back}{text}"))
    }

    /// Renders the first `shown` objects and counts the lines they take on the screen.
    fn draw(&self, items: &[Item], shown: usize) -> (String, usize) {
        let rows = items.iter().take(shown);
        let rows = rows.map(|item| {
            row(
                &item.object,
                &self.request,
                self.width(),
                self.request.show_kind,
            )
        });
        let table = table(self.kind, &self.request, self.width(), rows);
        let mut tail = String::new();
        if items.is_empty() {
            tail = format!("No {} found.\n", self.kind.info().plural);
        } else if shown < items.len() {
            tail = format!("… and {} more\n", items.len() - shown);
        }
        let render = |paint| {
            if items.is_empty() {
                String::new()
            } else {
                table.render(paint)
            }
        };
        let plain = render(Paint::Off) + &tail;
        let columns = self.ui.width().max(1);
        let lines = plain
            .lines()
            .map(|l| l.chars().count().div_ceil(columns).max(1))
            .sum();
        (render(self.ui.paint_out()) + &tail, lines)
    }

    fn append(&mut self, items: Vec<Item>) -> Result<()> {
        let first = !self.begun;
        self.begun = true;
        if first && items.is_empty() && self.request.format.is_table() {
            self.ui
                .status(&format!("No {} found.", self.kind.info().plural));
        }
        let mut gone = std::mem::take(&mut self.seen);
        let mut changed = Vec::new();
        for item in items {
            let Some(key) = item.object.key() else {
                continue;
            };
            let before = gone.remove(&key);
            if before.is_none_or(|before| before.value != item.value) {
                changed.push(item.clone());
            }
            self.seen.insert(key, item);
        }
        self.print(&changed, Fate::Lives)?;
        let gone: Vec<Item> = gone.into_values().collect();
        self.print(&gone, Fate::Deleted)
    }

    fn print(&mut self, items: &[Item], fate: Fate) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let text = match &self.request.format {
            OutputFormat::Table | OutputFormat::Wide => {
                let rows: Vec<Vec<Cell>> = items.iter().map(|item| self.row(item, fate)).collect();
                let table = table(self.kind, &self.request, self.width(), rows);
                self.lay_out(table)
            }
            OutputFormat::CustomColumns(columns) => {
                let table = columns.table(items.iter().map(|item| &item.value));
                self.lay_out(table)
            }
            OutputFormat::Json => items.iter().map(|i| json::to_string(&i.value)).collect(),
            OutputFormat::Yaml => {
                let documents = items.iter();
                documents
                    .map(|i| format!("---\n{}", yaml::to_string(&i.value)))
                    .collect()
            }
            OutputFormat::Name => {
                let keys = items.iter().filter_map(|i| i.object.key());
                keys.map(|key| format!("{key}\n")).collect()
            }
            OutputFormat::JsonPath(template) => {
                let text: String = items.iter().map(|i| template.render(&i.value)).collect();
                return self.ui.out_foreign(&text);
            }
        };
        self.ui.out(&text)
    }

    fn row(&self, item: &Item, fate: Fate) -> Vec<Cell> {
        let mut cells = row(
            &item.object,
            &self.request,
            self.width(),
            self.request.show_kind,
        );
        let titles = columns::titles(self.kind, self.width());
        let status = titles.iter().position(|t| *t == "STATUS");
        if let (Fate::Deleted, Some(cell)) = (fate, status.and_then(|i| cells.get_mut(i))) {
            *cell = Cell::new("Deleted", Role::Bad);
        }
        cells
    }

    /// Titles stand above the first rows only, and later columns are no narrower than earlier ones.
    fn lay_out(&mut self, table: Table) -> String {
        let first = self.widths.is_empty();
        let table = if first && !self.request.no_headers {
            table
        } else {
            table.without_titles()
        };
        let text = table.render_at_least(self.ui.paint_out(), &self.widths);
        let widths = table.widths();
        self.widths.resize(widths.len(), 0);
        for (kept, new) in self.widths.iter_mut().zip(widths) {
            *kept = (*kept).max(new);
        }
        text
    }
}

/// Whether a row is of an object that is there or of one that is gone.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Lives,
    Deleted,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Phase;
    use crate::output::columns::samples;
    use crate::output::ui::{Captured, UiOptions};

    fn named(name: &str, phase: Phase) -> Object {
        let mut o = samples::instance(name);
        o.status.as_mut().unwrap().phase = phase;
        o.into()
    }

    fn run(ui: Ui, captured: &Captured, format: OutputFormat) -> (String, String) {
        let now = samples::ctx().now;
        let later = Timestamp::from_second(now.as_second() + 3600);
        let request = PrintRequest::new(format, now);
        let mut view = WatchView::new(ui, request, Kind::Instance);
        view.update(vec![named("web", Phase::Pending)], now)
            .unwrap();
        view.update(vec![named("web", Phase::Pending)], later)
            .unwrap();
        let both = vec![named("web", Phase::Running), named("db", Phase::Pending)];
        view.update(both, later).unwrap();
        view.update(vec![named("web", Phase::Running)], later)
            .unwrap();
        (captured.out(), captured.err())
    }

    #[test]
    fn a_pipe_gets_one_row_a_change() {
        let (ui, captured) = Ui::captured(UiOptions::default());
        let (out, err) = run(ui, &captured, OutputFormat::Table);
        insta::assert_snapshot!(out, @r"
        NAME   STATUS    READY   ADDRESS           IMAGE       TYPE       AGE
        web    Pending   True    192.168.122.201   debian-12   t2.micro   120m
        db     Pending   True    192.168.122.201   debian-12   t2.micro   3h
        web    Running   True    192.168.122.201   debian-12   t2.micro   3h
        db     Deleted   True    192.168.122.201   debian-12   t2.micro   3h
        ");
        assert_eq!(err, "");
    }

    #[test]
    fn names_and_documents_are_appended_too() {
        let (ui, captured) = Ui::captured(UiOptions::default());
        let (out, _) = run(ui, &captured, OutputFormat::Name);
        assert_eq!(
            out,
            "instance/web\ninstance/db\ninstance/web\ninstance/db\n"
        );
        let (ui, captured) = Ui::captured(UiOptions::default());
        let (out, _) = run(ui, &captured, OutputFormat::Json);
        let documents = serde_json::Deserializer::from_str(&out).into_iter::<serde_json::Value>();
        assert_eq!(documents.filter_map(Result::ok).count(), 4);
    }

    #[test]
    fn a_terminal_is_drawn_over() {
        let (ui, captured) = Ui::captured_terminal(UiOptions::default());
        let (out, _) = run(ui, &captured, OutputFormat::Table);
        assert_eq!(out.matches("NAME").count(), 4);
        assert_eq!(out.matches("\x1b[2A\r\x1b[J").count(), 2, "{out:?}");
        assert_eq!(out.matches("\x1b[3A\r\x1b[J").count(), 1, "{out:?}");
    }

    #[test]
    fn a_screen_is_never_overflowed() {
        let (ui, captured) = Ui::captured_terminal(UiOptions::default());
        let now = samples::ctx().now;
        let request = PrintRequest::new(OutputFormat::Table, now);
        let mut view = WatchView::new(ui, request, Kind::Instance);
        let many = (0..100)
            .map(|i| named(&format!("n{i:03}"), Phase::Running))
            .collect();
        view.update(many, now).unwrap();
        assert_eq!(captured.out().lines().count(), 23);
        assert!(
            captured.out().ends_with("… and 79 more\n"),
            "{}",
            captured.out()
        );
    }
}
