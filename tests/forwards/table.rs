//! The table of who reaches what: cells, and what was found when.

use std::fmt::Write as _;

use super::probe::{Answer, Target, ask};

/// From where, in which namespace, to which address and port, and who must answer.
pub(super) struct Cell {
    from: &'static str,
    namespace: Option<&'static str>,
    to: &'static str,
    what: &'static str,
    expected: Option<&'static str>,
}

const fn cell(
    from: &'static str,
    namespace: Option<&'static str>,
    to: &'static str,
    what: &'static str,
    expected: Option<&'static str>,
) -> Cell {
    Cell {
        from,
        namespace,
        to,
        what,
        expected,
    }
}

/// What a published port is for.
pub(super) const OPEN: [Cell; 8] = [
    cell(
        "external",
        Some("out"),
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "host address",
        None,
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "localhost",
        None,
        "127.0.0.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "same bridge",
        Some("peer"),
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "same bridge",
        Some("peer"),
        "10.77.1.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "guest itself",
        Some("web"),
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "other network",
        Some("far"),
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "other network",
        Some("far"),
        "10.77.2.1:8080",
        "published",
        Some("web"),
    ),
];

/// What nobody may have taken: ports of the same number on other machines.
pub(super) const FOREIGN: [Cell; 4] = [
    cell(
        "host address",
        None,
        "203.0.113.2:8080",
        "foreign",
        Some("foreign"),
    ),
    cell(
        "same bridge",
        Some("peer"),
        "203.0.113.2:8080",
        "foreign",
        Some("foreign"),
    ),
    cell(
        "guest itself",
        Some("web"),
        "203.0.113.2:8080",
        "foreign",
        Some("foreign"),
    ),
    cell(
        "other network",
        Some("far"),
        "203.0.113.2:8080",
        "foreign",
        Some("foreign"),
    ),
];

/// What must stay shut.
pub(super) const SHUT: [Cell; 8] = [
    cell(
        "external",
        Some("out"),
        "203.0.113.1:8081",
        "unpublished",
        None,
    ),
    cell(
        "external",
        Some("out"),
        "10.77.1.10:80",
        "guest by route",
        None,
    ),
    cell(
        "external",
        Some("out"),
        "10.77.1.10:81",
        "guest by route",
        None,
    ),
    cell(
        "other network",
        Some("far"),
        "10.77.1.10:80",
        "guest directly",
        None,
    ),
    cell(
        "same bridge",
        Some("evil"),
        "127.0.0.1:9999",
        "host's 127/8",
        None,
    ),
    cell(
        "external",
        Some("out"),
        "203.0.113.1:9999",
        "host's 127/8",
        None,
    ),
    cell(
        "localhost",
        None,
        "127.0.0.1:8082",
        "not by localhost",
        None,
    ),
    cell(
        "localhost",
        None,
        "203.0.113.1:8083",
        "only by localhost",
        None,
    ),
];

/// What is published of a guest that has no way out by itself, and what stays shut.
pub(super) const ISOLATED: [Cell; 9] = [
    cell(
        "external",
        Some("out"),
        "203.0.113.1:8090",
        "published",
        Some("alone"),
    ),
    cell(
        "host address",
        None,
        "203.0.113.1:8090",
        "published",
        Some("alone"),
    ),
    cell(
        "localhost",
        None,
        "127.0.0.1:8090",
        "published",
        Some("alone"),
    ),
    cell(
        "same bridge",
        Some("mate"),
        "10.77.4.1:8090",
        "published",
        Some("alone"),
    ),
    cell(
        "guest itself",
        Some("alone"),
        "10.77.4.1:8090",
        "published",
        Some("alone"),
    ),
    cell(
        "other network",
        Some("far"),
        "203.0.113.1:8090",
        "published",
        Some("alone"),
    ),
    cell(
        "external",
        Some("out"),
        "10.77.4.10:80",
        "guest by route",
        None,
    ),
    cell(
        "other network",
        Some("far"),
        "10.77.4.10:80",
        "guest directly",
        None,
    ),
    cell(
        "isolated guest",
        Some("alone"),
        "203.0.113.2:8080",
        "way out",
        None,
    ),
];

/// The columns of the table, in which a test says what has happened.
#[derive(Default)]
pub(super) struct Table {
    columns: Vec<String>,
    rows: Vec<(String, Vec<&'static str>)>,
    pub(super) wrong: Vec<String>,
}

impl Table {
    /// Tries cells by both protocols.
    pub(super) fn try_all(&mut self, when: &str, cells: &[&[Cell]]) {
        let column = self.columns.len();
        self.columns.push(when.to_owned());
        let cells: Vec<&Cell> = cells.iter().copied().flatten().collect();
        let mut namespaces: Vec<_> = cells.iter().map(|c| c.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        std::thread::scope(|scope| {
            let asked: Vec<_> = namespaces
                .iter()
                .map(|namespace| {
                    let mine: Vec<&Cell> = cells
                        .iter()
                        .copied()
                        .filter(|c| c.namespace == *namespace)
                        .collect();
                    scope.spawn(move || {
                        let targets: Vec<Target> = mine.iter().flat_map(|c| both(c)).collect();
                        let answers = ask(*namespace, &targets);
                        (mine, answers)
                    })
                })
                .collect();
            for thread in asked {
                let (mine, answers) = thread.join().unwrap();
                for (cell, got) in mine.iter().zip(answers.chunks(2)) {
                    for (protocol, got) in ["tcp", "udp"].iter().zip(got) {
                        self.note(column, cell, protocol, got);
                    }
                }
            }
        });
    }

    fn note(&mut self, column: usize, cell: &Cell, protocol: &str, got: &Answer) {
        let expected = cell
            .expected
            .map_or(Answer::None, |name| Answer::From(name.to_owned()));
        let mark = match (*got == expected, got) {
            (true, Answer::From(_)) => "yes",
            (true, Answer::None) => "no",
            (false, _) => "WRONG",
        };
        let name = format!(
            "{:14} {:18} {:17} {protocol}",
            cell.from, cell.to, cell.what
        );
        if mark == "WRONG" {
            let when = &self.columns[column];
            self.wrong
                .push(format!("{when}: {name}: {got:?} instead of {expected:?}"));
        }
        let row = match self.rows.iter().position(|(row, _)| *row == name) {
            Some(row) => row,
            None => {
                self.rows.push((name, Vec::new()));
                self.rows.len() - 1
            }
        };
        let marks = &mut self.rows[row].1;
        marks.resize(column, "");
        marks.push(mark);
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (number, when) in self.columns.iter().enumerate() {
            let _ = writeln!(text, "  {}: {when}", number + 1);
        }
        let numbers: String = (1..=self.columns.len())
            .map(|n| format!("{n:>6}"))
            .collect();
        let _ = writeln!(text, "{:54}{numbers}", "");
        for (row, marks) in &self.rows {
            let marks: String = marks.iter().map(|mark| format!("{mark:>6}")).collect();
            let _ = writeln!(text, "{row:54}{marks}");
        }
        text
    }
}

/// What was published is no longer there.
pub(super) fn closed() -> [Cell; 8] {
    OPEN.map(|c| Cell {
        expected: None,
        ..c
    })
}

fn both(cell: &Cell) -> [Target; 2] {
    let to = cell.to.parse().unwrap();
    [Target { udp: false, to }, Target { udp: true, to }]
}
