//! Rows and columns for people and `awk`: three blanks between columns, never a ragged row.

use tabled::builder::Builder;
use tabled::settings::object::Cell as Position;
use tabled::settings::{Color, Padding, Style};

use super::escape;
use super::style::{Paint, Role};

/// One value of a table and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The text as it comes; the table escapes it.
    pub text: String,
    /// What it means, for the colour.
    pub role: Role,
    blank: bool,
}

impl Cell {
    /// Makes a cell with a meaning.
    pub fn new(text: impl Into<String>, role: Role) -> Self {
        Self {
            text: text.into(),
            role,
            blank: false,
        }
    }

    /// Makes a cell in which nothing stands, for a row that goes on with the one above.
    pub fn blank() -> Self {
        Self {
            text: String::new(),
            role: Role::Plain,
            blank: true,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, Role::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Role::Plain)
    }
}

/// A table of any rows (checks of `doctor`, contexts, kinds, events, objects).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<Cell>>,
    with_titles: bool,
}

impl Table {
    /// Makes a table with the given titles, which have no blanks.
    pub fn new<T: Into<String>>(titles: impl IntoIterator<Item = T>) -> Self {
        Self {
            titles: titles.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            with_titles: true,
        }
    }

    /// Leaves the line of titles out (`--no-headers`).
    #[must_use]
    pub fn without_titles(mut self) -> Self {
        self.with_titles = false;
        self
    }

    /// Adds a row. Missing and empty cells become `<none>`, cells beyond the titles are dropped, blanks
    /// stay: only the last column of a table should have any.
    pub fn push<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut row: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        row.resize(self.titles.len(), Cell::from(""));
        for cell in &mut row {
            if cell.text.is_empty() && !cell.blank {
                "<none>".clone_into(&mut cell.text);
            }
            cell.text = escape::line(&cell.text).into_owned();
        }
        self.rows.push(row);
    }

    /// Returns whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the width of each column in characters, without the blanks between.
    pub fn widths(&self) -> Vec<usize> {
        let width = |text: &str| text.chars().count();
        (0..self.titles.len())
            .map(|i| {
                let title = if self.with_titles {
                    width(&self.titles[i])
                } else {
                    0
                };
                let rows = self.rows.iter().filter_map(|row| row.get(i));
                rows.map(|cell| width(&cell.text))
                    .max()
                    .unwrap_or(0)
                    .max(title)
            })
            .collect()
    }

    /// Lays the table out; every line ends with a newline, none with a blank.
    pub fn render(&self, paint: Paint) -> String {
        self.render_at_least(paint, &[])
    }

    /// Lays the table out with columns at least as wide as `widths`, so that rows printed later stand
    /// below those printed before.
    pub fn render_at_least(&self, paint: Paint, widths: &[usize]) -> String {
        let first_row = usize::from(self.with_titles);
        let mut builder = Builder::with_capacity(self.rows.len() + 2, self.titles.len());
        if self.with_titles {
            builder.push_record(&self.titles);
        }
        for row in &self.rows {
            builder.push_record(row.iter().map(|cell| cell.text.as_str()));
        }
        let lines = first_row + self.rows.len();
        if lines == 0 || self.titles.is_empty() {
            return String::new();
        }
        // A last line, cut off below, holds the columns apart.
        builder.push_record((0..self.titles.len()).map(|i| {
            let width = widths.get(i).copied().unwrap_or_default();
            "x".repeat(width)
        }));
        let mut table = builder.build();
        table.with(Style::empty()).with(Padding::new(0, 3, 0, 0));
        if paint == Paint::Ansi {
            for (i, row) in self.rows.iter().enumerate() {
                for (j, cell) in row
                    .iter()
                    .enumerate()
                    .filter(|(_, c)| c.role != Role::Plain)
                {
                    table.modify(Position::new(i + first_row, j), colour(cell.role));
                }
            }
        }
        let mut out = String::new();
        for line in table.to_string().lines().take(lines) {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

fn colour(role: Role) -> Color {
    let style = role.style();
    Color::new(style.render().to_string(), style.render_reset().to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_are_three_blanks_apart() {
        let mut table = Table::new(["NAME", "STATUS", "AGE"]);
        table.push(["web", "Running", "5s"]);
        table.push(["a-longer-name", "", ""]);
        insta::assert_snapshot!(table.render(Paint::Off), @r"
        NAME            STATUS    AGE
        web             Running   5s
        a-longer-name   <none>    <none>
        ");
        insta::assert_snapshot!(table.without_titles().render(Paint::Off), @r"
        web             Running   5s
        a-longer-name   <none>    <none>
        ");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new(["NAME", "STATUS", "AGE"]);
        table.push([
            Cell::from("web"),
            Cell::new("Running", Role::Good),
            Cell::new("1s", Role::Bad),
        ]);
        assert_eq!(
            table.render(Paint::Ansi),
            "NAME   STATUS    AGE\nweb    \x1b[32mRunning\x1b[0m   \x1b[31m1s\x1b[0m\n"
        );
    }

    #[test]
    fn a_row_may_go_on_with_the_one_above() {
        let mut table = Table::new(["STATUS", "FINDING"]);
        table.push([Cell::new("failed", Role::Bad), "no pool".into()]);
        table.push([Cell::blank(), "mend: kvmctl setup".into()]);
        insta::assert_snapshot!(table.render(Paint::Off), @r"
        STATUS   FINDING
        failed   no pool
                 mend: kvmctl setup
        ");
    }

    #[test]
    fn rows_printed_later_stand_below_the_earlier() {
        let mut table = Table::new(["NAME", "AGE"]).without_titles();
        table.push(["a", "5s"]);
        assert_eq!(table.render_at_least(Paint::Off, &[6, 2]), "a        5s\n");
        assert_eq!(table.widths(), [1, 2]);
    }

    #[test]
    fn no_row_and_no_title_is_nothing() {
        assert_eq!(Table::new(["A"]).without_titles().render(Paint::Off), "");
        assert_eq!(Table::new(["A"]).render(Paint::Off), "A\n");
    }

    proptest! {
        #[test]
        fn every_row_is_one_line_with_one_field_a_column(
            rows in prop::collection::vec(prop::collection::vec("[^ \t\u{a0}]*", 0..5), 0..6)
        ) {
            let mut table = Table::new(["A", "B", "C"]);
            for row in &rows {
                table.push(row.iter().map(|text| escape::field(text).into_owned()));
            }
            let text = table.render(Paint::Off);
            prop_assert_eq!(text.lines().count(), rows.len() + 1);
            for line in text.lines() {
                prop_assert_eq!(line.split([' ', '\t']).filter(|f| !f.is_empty()).count(), 3, "{:?}", line);
            }
        }
    }
}
