//! The layout of a description: `Key:   value`, indented sections, tables.

use crate::output::escape;
use crate::output::style::{Paint, Role};
use crate::output::table::{Cell, Table};

/// A description that is being put together.
#[derive(Debug, Default)]
pub(super) struct Doc {
    entries: Vec<(String, Entry)>,
}

#[derive(Debug)]
enum Entry {
    Value(Cell),
    List(Vec<String>),
    Section(Doc),
    Table(Table),
}

impl Doc {
    /// Adds `Key: value`.
    pub(super) fn field(&mut self, key: impl Into<String>, value: impl Into<Cell>) {
        self.entries.push((key.into(), Entry::Value(value.into())));
    }

    /// Adds `Key: value` if there is a value.
    pub(super) fn maybe(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.field(key, value.to_string());
        }
    }

    /// Adds a list, one item a line.
    pub(super) fn list(&mut self, key: &str, items: impl IntoIterator<Item = String>) {
        let items = Entry::List(items.into_iter().collect());
        self.entries.push((key.to_owned(), items));
    }

    /// Adds an indented section.
    pub(super) fn section(&mut self, key: impl Into<String>, section: Self) {
        self.entries.push((key.into(), Entry::Section(section)));
    }

    /// Adds a table below its title.
    pub(super) fn table(&mut self, key: &str, table: Table) {
        self.entries.push((key.to_owned(), Entry::Table(table)));
    }

    /// Lays the description out.
    pub(super) fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        self.write(&mut out, 0, paint);
        out
    }

    fn write(&self, out: &mut String, indent: usize, paint: Paint) {
        let inline = self.entries.iter().filter(|(_, e)| e.is_inline());
        let width = inline
            .map(|(key, _)| key.chars().count())
            .max()
            .unwrap_or(0)
            + 3;
        for (key, entry) in &self.entries {
            let key = escape::line(key);
            let label = paint.paint(Role::Strong, &format!("{key}:"));
            out.push_str(&format!("{:indent$}{label}", ""));
            // Columns are counted in what is seen, not in colours.
            let gap = width.saturating_sub(key.chars().count() + 1).max(1);
            match entry {
                Entry::Value(cell) => {
                    let text = value_text(&cell.text, indent + width);
                    out.push_str(&format!("{:gap$}{}\n", "", paint.paint(cell.role, &text)));
                }
                Entry::List(items) => {
                    let items: Vec<_> = items
                        .iter()
                        .map(|i| value_text(i, indent + width))
                        .collect();
                    let separator = format!("\n{:1$}", "", indent + width);
                    let text = if items.is_empty() {
                        "<none>".into()
                    } else {
                        items.join(&separator)
                    };
                    out.push_str(&format!("{:gap$}{text}\n", ""));
                }
                Entry::Section(section) if section.entries.is_empty() => {
                    out.push_str(&format!("{:gap$}<none>\n", ""));
                }
                Entry::Section(section) => {
                    out.push('\n');
                    section.write(out, indent + 2, paint);
                }
                Entry::Table(table) if table.is_empty() => {
                    out.push_str(&format!("{:gap$}<none>\n", ""));
                }
                Entry::Table(table) => {
                    out.push('\n');
                    for line in table.render(paint).lines() {
                        out.push_str(&format!("{:1$}{line}\n", "", indent + 2));
                    }
                }
            }
        }
    }
}

impl Entry {
    fn is_inline(&self) -> bool {
        match self {
            Self::Value(_) | Self::List(_) => true,
            Self::Section(section) => section.entries.is_empty(),
            Self::Table(table) => table.is_empty(),
        }
    }
}

/// Lines of a value after the first stand below it.
fn value_text(text: &str, indent: usize) -> String {
    if text.is_empty() {
        return "<none>".to_owned();
    }
    let text = escape::text(text);
    text.trim_end_matches('\n')
        .replace('\n', &format!("\n{:indent$}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_below_each_other() {
        let mut inner = Doc::default();
        inner.field("Path", "/var/lib/x");
        inner.field("Long name", "two\nlines\x1b[2J");
        let mut table = Table::new(["A", "B"]);
        table.push(["1", "two words"]);
        let mut doc = Doc::default();
        doc.field("Name", Cell::new("web", Role::Good));
        doc.list("Labels", ["a=b".to_owned(), "c=d".to_owned()]);
        doc.list("None", []);
        doc.section("Disk", inner);
        doc.section("Empty section", Doc::default());
        doc.table("Events", table);
        insta::assert_snapshot!(doc.render(Paint::Off), @r"
        Name:           web
        Labels:         a=b
                        c=d
        None:           <none>
        Disk:
          Path:       /var/lib/x
          Long name:  two
                      lines\x1b[2J
        Empty section:  <none>
        Events:
          A   B
          1   two words
        ");
        assert!(
            doc.render(Paint::Ansi)
                .contains("\x1b[1mName:\x1b[0m           \x1b[32mweb\x1b[0m\n")
        );
    }
}
