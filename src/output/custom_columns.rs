//! `-o custom-columns=NAME:.metadata.name,IP:.status.address`.

use serde_json::Value;

use super::error::InvalidRequest;
use super::jsonpath::{self, Path};
use super::table::{Cell, Table};

/// Columns of the caller's choice.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomColumns {
    columns: Vec<(String, Path)>,
}

impl CustomColumns {
    /// Parses `HEADER:PATH,HEADER:PATH`.
    ///
    /// # Errors
    /// [`InvalidRequest::CustomColumns`] for a part without a header or a path,
    /// [`InvalidRequest::JsonPath`] for a path that does not parse.
    pub fn parse(spec: &str) -> Result<Self, InvalidRequest> {
        let columns = split(spec).into_iter().map(|part| {
            let invalid = || InvalidRequest::CustomColumns {
                spec: part.to_owned(),
            };
            let (title, path) = part.split_once(':').ok_or_else(invalid)?;
            if title.is_empty() || path.is_empty() {
                return Err(invalid());
            }
            Ok((title.to_owned(), Path::parse(path)?))
        });
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(Self { columns })
    }

    /// Parses a file: a line of headers and a line of paths, both with blanks between.
    ///
    /// # Errors
    /// As [`CustomColumns::parse`].
    pub fn parse_file(text: &str) -> Result<Self, InvalidRequest> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let mut words = || -> Vec<&str> { lines.next().unwrap_or("").split_whitespace().collect() };
        let (titles, paths) = (words(), words());
        if titles.is_empty() || titles.len() != paths.len() {
            return Err(InvalidRequest::CustomColumns {
                spec: text.trim().to_owned(),
            });
        }
        let columns = titles.into_iter().zip(paths);
        let columns = columns
            .map(|(title, path)| Ok((title.to_owned(), Path::parse(path)?)))
            .collect::<Result<_, InvalidRequest>>()?;
        Ok(Self { columns })
    }

    /// Makes a table with a row for each object; what a path does not find is `<none>`.
    pub fn table(&self, objects: &[Value]) -> Table {
        let mut table = Table::new(self.columns.iter().map(|(title, _)| title.as_str()));
        for object in objects {
            table.push(self.columns.iter().map(|(_, path)| cell(path, object)));
        }
        table
    }
}

fn cell(path: &Path, object: &Value) -> Cell {
    let found: Vec<String> = path
        .find(object)
        .into_iter()
        .map(jsonpath::text_of)
        .collect();
    if found.is_empty() {
        "<none>".into()
    } else {
        found.join(",").into()
    }
}

/// Splits at commas outside of brackets, so that a path may hold a union.
fn split(spec: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut depth) = (0, 0usize);
    for (i, c) in spec.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&spec[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&spec[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::style::Paint;

    #[test]
    fn what_is_missing_is_none() {
        let columns =
            CustomColumns::parse("N:.metadata.name,X:.spec.zz,P:{.ports[*]},U:.a['b','c']")
                .unwrap();
        let objects = [
            json!({"metadata": {"name": "web"}, "ports": [80, 81], "a": {"b": 1, "c": 2}}),
            json!({"metadata": {"name": "\u{1b}[2J"}, "ports": []}),
        ];
        insta::assert_snapshot!(columns.table(&objects).render(Paint::Off), @r"
        N         X        P        U
        web       <none>   80,81    1,2
        \x1b[2J   <none>   <none>   <none>
        ");
    }

    #[test]
    fn a_file_has_titles_and_paths() {
        let columns = CustomColumns::parse_file("NAME  IP\n.metadata.name\t.status.address\n");
        assert_eq!(
            columns.unwrap(),
            CustomColumns::parse("NAME:.metadata.name,IP:.status.address").unwrap()
        );
        assert!(CustomColumns::parse_file("A B\n.a\n").is_err());
        assert!(CustomColumns::parse_file("").is_err());
    }

    #[test]
    fn a_part_without_title_or_path_is_refused() {
        for bad in ["", "A", "A:", ":.a", "A:.a,", "A:.a[", "A:.a b"] {
            assert!(CustomColumns::parse(bad).is_err(), "{bad:?}");
        }
    }
}
