//! Objects with the place they were read at, and problems that are told that place.

use std::fmt;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::document::Document;
use super::locate::{Spot, locate};
use super::path::FieldPath;
use crate::api::{Kind, Object};
use crate::error::Error;

/// Something wrong with a field, before it is known where the field stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, from the object down.
    pub path: FieldPath,
    /// Whether key or value is to blame.
    pub(super) spot: Spot,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    pub help: Option<String>,
}

impl Problem {
    /// Makes a problem of a field's value; the message begins with the path.
    pub fn of_value(path: FieldPath, rule: impl fmt::Display) -> Self {
        let message = if path.is_root() {
            rule.to_string()
        } else {
            format!("{path}: {rule}")
        };
        Self {
            path,
            spot: Spot::Value,
            message,
            help: None,
        }
    }

    /// Adds what was probably meant.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl From<Vec<Problem>> for Error {
    /// Words the problems of an object that no file describes (`create NAME --flags`).
    fn from(problems: Vec<Problem>) -> Self {
        match problems.as_slice() {
            [one] => Self::usage(one.to_string()),
            many => many.iter().fold(
                Self::usage(format!("{} problems; nothing was changed", many.len())),
                |error, one| error.caused_by(one),
            ),
        }
    }
}

/// Where an object comes from.
#[derive(Debug, Clone)]
pub struct Origin(Place);

#[derive(Debug, Clone)]
enum Place {
    Document {
        document: Arc<Document>,
        /// `items[n]` for an object of a List.
        prefix: FieldPath,
        secret: bool,
    },
    Elsewhere(String),
}

impl Origin {
    pub(super) const fn new(document: Arc<Document>, prefix: FieldPath, secret: bool) -> Self {
        Self(Place::Document {
            document,
            prefix,
            secret,
        })
    }

    /// Makes the origin of an object that no file describes, as "the command line".
    pub fn elsewhere(what: impl Into<String>) -> Self {
        Self(Place::Elsewhere(what.into()))
    }

    /// Returns the diagnostic of a problem of this object, with its place.
    pub fn diagnose(&self, problem: &Problem) -> Diagnostic {
        let (document, prefix, secret) = match &self.0 {
            Place::Elsewhere(what) => {
                let mut diagnostic = Diagnostic::of_file(what.clone(), problem.message.clone());
                diagnostic.path = problem.path.clone();
                diagnostic.help = problem.help.clone();
                return diagnostic;
            }
            Place::Document {
                document,
                prefix,
                secret,
            } => (document, prefix, *secret),
        };
        let place = locate(document, &prefix.join(&problem.path), problem.spot);
        diagnose_at(document, place, problem, secret)
    }
}

/// Makes the diagnostic of a problem whose place is known.
pub(super) fn diagnose_at(
    document: &Document,
    place: Option<(usize, usize)>,
    problem: &Problem,
    secret: bool,
) -> Diagnostic {
    let (line, column) = place.unwrap_or((document.first_line(), 1));
    Diagnostic {
        file: document.file.to_string(),
        document: document.number,
        line,
        column,
        path: problem.path.clone(),
        message: problem.message.clone(),
        help: problem.help.clone(),
        excerpt: document.line(line).filter(|_| !secret),
    }
}

impl fmt::Display for Origin {
    /// Prints `a.yaml:12 (document 2)`, the line at which the object begins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Elsewhere(what) => f.write_str(what),
            Place::Document {
                document, prefix, ..
            } => {
                let line = locate(document, &prefix.key("metadata"), Spot::Key)
                    .map_or_else(|| document.first_line(), |(line, _)| line);
                write!(f, "{}:{line} (document {})", document.file, document.number)
            }
        }
    }
}

/// An object and where it was read.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The object.
    pub value: T,
    /// Where it was read.
    pub origin: Origin,
}

impl Located<Object> {
    /// Wraps an object that no file describes, as "the command line".
    pub fn elsewhere(value: Object, what: impl Into<String>) -> Self {
        Self {
            value,
            origin: Origin::elsewhere(what),
        }
    }

    /// Returns the kind of the object.
    pub const fn kind(&self) -> Kind {
        self.value.kind()
    }
}
