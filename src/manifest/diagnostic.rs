//! What is wrong with a manifest, where, and what was probably meant.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::path::FieldPath;
use crate::error::{Error, Kind};

/// One problem of a manifest, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// File name, `-` for standard input, or a URL.
    pub file: String,
    /// Number of the document in the file, from 1; 0 when the whole file is meant.
    pub document: usize,
    /// Line in the file, from 1; 0 when unknown.
    pub line: usize,
    /// Column in characters, from 1; 0 when unknown.
    pub column: usize,
    /// Field that is wrong; the root when the document is.
    pub path: FieldPath,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    pub help: Option<String>,
    /// The line of the file, unless it may hold a secret.
    pub excerpt: Option<String>,
}

impl Diagnostic {
    /// Makes a diagnostic of a whole file.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            document: 0,
            line: 0,
            column: 0,
            path: FieldPath::root(),
            message: message.into(),
            help: None,
            excerpt: None,
        }
    }

    /// Renders the line of the file with a caret under the place, over several lines.
    ///
    /// `level` is the word before the message; `renderer` decides about colour.
    pub fn snippet(&self, level: Level<'_>, renderer: &Renderer) -> String {
        let Some(excerpt) = self.excerpt.as_deref().filter(|_| self.line > 0) else {
            let title = self.to_string();
            let group = Group::with_title(level.primary_title(title.as_str()));
            return renderer.render(&[group]);
        };
        let start = byte_of_column(excerpt, self.column);
        let end = start + token_length(&excerpt[start..]);
        let mut annotation = AnnotationKind::Primary.span(start..end);
        if let Some(help) = self.help.as_deref() {
            annotation = annotation.label(help);
        }
        let origin = format!("{} (document {})", self.file, self.document);
        let group = level.primary_title(self.message.as_str()).element(
            Snippet::source(excerpt)
                .line_start(self.line)
                .path(origin.as_str())
                .annotation(annotation),
        );
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    /// Prints `web.yaml:7:9: (document 2) unknown field "spec.cpu"; did you mean "cpus"?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.line > 0 && self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        f.write_str(": ")?;
        if self.document > 0 {
            write!(f, "(document {}) ", self.document)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// How many problems a person is told at once.
const MAX_TOLD: usize = 50;

/// Words several diagnostics as one usage error: nothing was changed.
pub fn into_error(diagnostics: &[Diagnostic]) -> Error {
    match diagnostics {
        [] => Error::new(Kind::Usage, "the manifest is invalid"),
        [one] => Error::usage(one.to_string()),
        many => {
            let count = many.len();
            let error = Error::usage(format!(
                "{count} problems in the manifests; nothing was changed"
            ));
            let error = many.iter().take(MAX_TOLD).fold(error, Error::caused_by);
            match count.checked_sub(MAX_TOLD) {
                None | Some(0) => error,
                Some(more) => error.caused_by(format!("and {more} more")),
            }
        }
    }
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        into_error(&[diagnostic])
    }
}

impl From<Vec<Diagnostic>> for Error {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        into_error(&diagnostics)
    }
}

fn byte_of_column(line: &str, column: usize) -> usize {
    line.char_indices()
        .nth(column.saturating_sub(1))
        .map_or(line.len(), |(at, _)| at)
}

fn token_length(rest: &str) -> usize {
    rest.find(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | ']' | '}'))
        .unwrap_or(rest.len())
        .max(rest.chars().next().map_or(0, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown_field() -> Diagnostic {
        Diagnostic {
            file: "web.yaml".to_owned(),
            document: 2,
            line: 7,
            column: 3,
            path: FieldPath::of("spec.cpu"),
            message: "unknown field \"spec.cpu\"".to_owned(),
            help: Some("did you mean \"cpus\"?".to_owned()),
            excerpt: Some("  cpu: 2".to_owned()),
        }
    }

    #[test]
    fn one_line_has_file_place_document_field_and_suggestion() {
        insta::assert_snapshot!(unknown_field(), @r#"web.yaml:7:3: (document 2) unknown field "spec.cpu"; did you mean "cpus"?"#);
    }

    #[test]
    fn a_snippet_points_at_the_field() {
        let text = unknown_field().snippet(Level::ERROR, &Renderer::plain());
        insta::assert_snapshot!(text, @r#"
        error: unknown field "spec.cpu"
         --> web.yaml (document 2):7:3
          |
        7 |   cpu: 2
          |   ^^^ did you mean "cpus"?
        "#);
    }

    #[test]
    fn a_snippet_survives_any_column() {
        for column in [0, 1, 8, 9, 500] {
            let mut d = unknown_field();
            d.column = column;
            d.excerpt = Some("ünï: \u{202e}".to_owned());
            assert!(
                d.snippet(Level::ERROR, &Renderer::plain())
                    .contains("spec.cpu")
            );
        }
    }

    #[test]
    fn several_problems_are_one_usage_error() {
        let error = Error::from(vec![unknown_field(), unknown_field()]);
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(
            error.message(),
            "2 problems in the manifests; nothing was changed"
        );
        assert_eq!(error.causes().len(), 2);
    }
}
