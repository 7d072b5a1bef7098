//! `-w`: on a terminal the tables are drawn again in place; into a pipe goes a row for every change.

use std::collections::BTreeMap;

use super::columns::{self, Width};
use super::format::OutputFormat;
use super::printer::{Group, PrintRequest, Sorted, nothing_found, row, sorted, table, table_texts};
use super::style::{Paint, Role};
use super::table::{Cell, Table};
use super::ui::Ui;
use super::{json, value, yaml};
use crate::api::{Kind, Object, ObjectKey, Timestamp};
use crate::error::Result;

/// Shows objects as they change.
#[derive(Debug)]
pub struct Watcher {
    request: PrintRequest,
    seen: BTreeMap<ObjectKey, Object>,
    /// Widths of the columns that were printed, by kind.
    widths: BTreeMap<Kind, Vec<usize>>,
    begun: bool,
    drawn_lines: usize,
}

impl Watcher {
    /// Begins with nothing shown.
    pub const fn new(request: PrintRequest) -> Self {
        Self {
            request,
            seen: BTreeMap::new(),
            widths: BTreeMap::new(),
            begun: false,
            drawn_lines: 0,
        }
    }

    /// Shows the objects as they are now. On a terminal ages go on even where nothing changed.
    ///
    /// # Errors
    /// A sort key that a kind does not have (usage), or an output that cannot be written to.
    pub fn show(&mut self, ui: &Ui, groups: Vec<Group>) -> Result<()> {
        self.show_at(ui, &groups, Timestamp::now())
    }

    fn show_at(&mut self, ui: &Ui, groups: &[Group], now: Timestamp) -> Result<()> {
        self.request.now = now;
        let groups = sorted(groups, &self.request)?;
        // Drawing in place needs escape sequences, which NO_COLOR and a dumb terminal rule out.
        if self.request.is_table() && ui.paint_out() == Paint::Ansi {
            self.redraw(ui, groups)
        } else {
            self.append(ui, &groups)
        }
    }

    fn width(&self) -> Width {
        if self.request.format == OutputFormat::Wide {
            Width::Wide
        } else {
            Width::Normal
        }
    }

    fn redraw(&mut self, ui: &Ui, mut groups: Vec<Sorted<'_>>) -> Result<()> {
        let mut left_out = 0;
        let (mut text, mut lines) = self.draw(ui, &groups, left_out);
        // What does not fit on the screen could not be drawn over again.
        while lines >= ui.height() {
            let over = (lines + 1).saturating_sub(ui.height()).max(1);
            let dropped = drop_last(&mut groups, over);
            if dropped == 0 {
                break;
            }
            left_out += dropped;
            (text, lines) = self.draw(ui, &groups, left_out);
        }
        let back = match self.drawn_lines {
            0 => String::new(),
            n => format!("\x1b[{n}A\r\x1b[J"),
        };
        self.drawn_lines = lines;
        ui.out(&format!("{back}{text}"))
    }

    /// Renders the objects and counts the lines that they take on the screen.
    fn draw(&self, ui: &Ui, groups: &[Sorted<'_>], left_out: usize) -> (String, usize) {
        let render = |paint| {
            let mut text = table_texts(&self.request, groups, self.width(), paint).join("\n");
            if left_out > 0 {
                text.push_str(&format!("… and {left_out} more\n"));
            } else if text.is_empty() {
                text = nothing_found(groups) + "\n";
            }
            text
        };
        let columns = ui.width().max(1);
        let height = |line: &str| line.chars().count().div_ceil(columns).max(1);
        let lines = render(Paint::Off).lines().map(height).sum();
        (render(ui.paint_out()), lines)
    }

    fn append(&mut self, ui: &Ui, groups: &[Sorted<'_>]) -> Result<()> {
        let nothing = groups.iter().all(|(_, objects)| objects.is_empty());
        if !self.begun && nothing && self.request.is_table() {
            ui.status(&nothing_found(groups));
        }
        self.begun = true;
        let mut gone = std::mem::take(&mut self.seen);
        let prefixed = self.request.show_kind || groups.len() > 1;
        for (kind, objects) in groups {
            let mut changed = Vec::new();
            for object in objects {
                let Some(key) = object.key() else { continue };
                if gone.remove(&key).as_ref() != Some(*object) {
                    changed.push(*object);
                }
                self.seen.insert(key, (*object).clone());
            }
            self.print(
                ui,
                *kind,
                &changed,
                Look {
                    fate: Fate::Lives,
                    prefixed,
                },
            )?;
        }
        for (key, object) in gone {
            self.print(
                ui,
                key.kind,
                &[&object],
                Look {
                    fate: Fate::Deleted,
                    prefixed,
                },
            )?;
        }
        Ok(())
    }

    fn print(&mut self, ui: &Ui, kind: Kind, objects: &[&Object], look: Look) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        let values = || objects.iter().map(|object| value::of(object));
        let text = match &self.request.format {
            OutputFormat::Table | OutputFormat::Wide => {
                let rows: Vec<Vec<Cell>> = objects.iter().map(|o| self.row(o, look)).collect();
                let table = table(kind, &self.request, self.width(), rows);
                self.lay_out(ui, kind, table)
            }
            OutputFormat::CustomColumns(columns) => {
                let table = columns.table(&values().collect::<Vec<_>>());
                self.lay_out(ui, kind, table)
            }
            OutputFormat::Json => values().map(|v| json::to_string(&v)).collect(),
            OutputFormat::Yaml => values()
                .map(|v| format!("---\n{}", yaml::to_string(&v)))
                .collect(),
            OutputFormat::Name => {
                let keys = objects.iter().filter_map(|o| o.key());
                keys.map(|key| format!("{key}\n")).collect()
            }
            OutputFormat::JsonPath(template) => {
                let text: String = values().map(|v| template.render(&v)).collect();
                return ui.out_foreign(&text);
            }
        };
        ui.out(&text)
    }

    fn row(&self, object: &Object, look: Look) -> Vec<Cell> {
        let mut cells = row(object, &self.request, self.width(), look.prefixed);
        let titles = columns::titles(object.kind(), self.width());
        let status = titles.iter().position(|t| *t == "STATUS");
        if let (Fate::Deleted, Some(cell)) = (look.fate, status.and_then(|i| cells.get_mut(i))) {
            *cell = Cell::new("Deleted", Role::Bad);
        }
        cells
    }

    /// Titles stand above a kind's first rows only; later columns are no narrower than earlier ones.
    fn lay_out(&mut self, ui: &Ui, kind: Kind, table: Table) -> String {
        let widths = self.widths.entry(kind).or_default();
        let first = widths.is_empty();
        let table = if first { table } else { table.without_titles() };
        let text = table.render_at_least(ui.paint_out(), widths);
        let new = table.widths();
        widths.resize(new.len(), 0);
        for (kept, new) in widths.iter_mut().zip(new) {
            *kept = (*kept).max(new);
        }
        text
    }
}

/// How a row looks.
#[derive(Clone, Copy)]
struct Look {
    fate: Fate,
    prefixed: bool,
}

/// Whether a row is of an object that is there or of one that is gone.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Lives,
    Deleted,
}

/// Takes away the last objects, at most `count` and never the very first; returns how many.
fn drop_last(groups: &mut [Sorted<'_>], count: usize) -> usize {
    let all: usize = groups.iter().map(|(_, objects)| objects.len()).sum();
    let count = count.min(all.saturating_sub(1));
    let mut left = count;
    for (_, objects) in groups.iter_mut().rev() {
        let here = left.min(objects.len());
        objects.truncate(objects.len() - here);
        left -= here;
    }
    count
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

    fn instances(objects: Vec<Object>) -> [Group; 1] {
        let kind = Kind::Instance;
        [Group { kind, objects }]
    }

    fn run(ui: &Ui, captured: &Captured, format: OutputFormat) -> (String, String) {
        let now = samples::ctx().now;
        let later = Timestamp::from_second(now.as_second() + 3600);
        let mut watcher = Watcher::new(PrintRequest::new(format, now));
        for (names, at) in [
            (vec![("web", Phase::Pending)], now),
            (vec![("web", Phase::Pending)], later),
            (vec![("web", Phase::Running), ("db", Phase::Pending)], later),
            (vec![("web", Phase::Running)], later),
        ] {
            let objects = names.into_iter().map(|(name, phase)| named(name, phase));
            watcher
                .show_at(ui, &instances(objects.collect()), at)
                .unwrap();
        }
        (captured.out(), captured.err())
    }

    #[test]
    fn a_pipe_gets_one_row_a_change() {
        let (ui, captured) = Ui::captured(UiOptions::default());
        let (out, err) = run(&ui, &captured, OutputFormat::Table);
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
        let (out, _) = run(&ui, &captured, OutputFormat::Name);
        assert_eq!(
            out,
            "instance/web\ninstance/db\ninstance/web\ninstance/db\n"
        );
        let (ui, captured) = Ui::captured(UiOptions::default());
        let (out, _) = run(&ui, &captured, OutputFormat::Json);
        let documents = serde_json::Deserializer::from_str(&out).into_iter::<serde_json::Value>();
        assert_eq!(documents.filter_map(Result::ok).count(), 4);
    }

    #[test]
    fn a_terminal_is_drawn_over() {
        let (ui, captured) = Ui::captured_terminal(UiOptions::default());
        let (out, _) = run(&ui, &captured, OutputFormat::Table);
        assert_eq!(out.matches("NAME").count(), 4);
        assert_eq!(out.matches("\x1b[2A\r\x1b[J").count(), 2, "{out:?}");
        assert_eq!(out.matches("\x1b[3A\r\x1b[J").count(), 1, "{out:?}");
    }

    #[test]
    fn a_screen_is_never_overflowed() {
        let (ui, captured) = Ui::captured_terminal(UiOptions::default());
        let now = samples::ctx().now;
        let request = PrintRequest::new(OutputFormat::Table, now);
        let mut watcher = Watcher::new(request);
        let many = (0..100)
            .map(|i| named(&format!("n{i:03}"), Phase::Running))
            .collect();
        watcher.show_at(&ui, &instances(many), now).unwrap();
        assert_eq!(captured.out().lines().count(), 23);
        assert!(
            captured.out().ends_with("… and 79 more\n"),
            "{}",
            captured.out()
        );
    }
}
