//! What can be wrong before a manifest is even text, and how it is told.

use std::io;

use crate::error::{Error, Kind};

/// Why a manifest could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing lies there.
    #[error("the path {path:?} does not exist")]
    Missing {
        /// As it was given.
        path: String,
    },
    /// A directory without manifests.
    #[error("error reading {path:?}: recognized file extensions are [.json .yaml .yml]")]
    NoManifests {
        /// As it was given.
        path: String,
        /// Whether a directory below it was not looked into.
        has_directories: bool,
    },
    /// Larger than [`super::MAX_BYTES`].
    #[error("{name}: larger than 1 MiB, which no manifest may be")]
    TooLarge {
        /// File, `-` or URL.
        name: String,
    },
    /// Not text in UTF-8.
    #[error("{name}: {what}")]
    NotText {
        /// File, `-` or URL.
        name: String,
        /// What it is instead.
        what: String,
    },
    /// Reading failed.
    #[error("cannot read {name}")]
    Io {
        /// File or `-`.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// `-` was given twice.
    #[error("standard input (\"-\") can be read only once")]
    StdinTwice,
    /// All inputs together hold no object.
    #[error("no objects passed to {verb}")]
    NoObjects {
        /// The verb that was called.
        verb: String,
    },
    /// The URL could not be fetched; the caller's own error.
    #[error(transparent)]
    Fetch(Error),
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        let message = error.to_string();
        match error {
            LoadError::Io { source, .. } => Self::new(Kind::Usage, message).caused_by(source),
            LoadError::NoManifests {
                has_directories: true,
                ..
            } => Self::usage(message).hint("-R reads the directories below it too"),
            LoadError::Fetch(inner) => inner,
            _ => Self::usage(message),
        }
    }
}

/// Why a field cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// No kind has this noun.
    #[error("no resource type {noun:?}")]
    UnknownKind {
        /// As it was given.
        noun: String,
        /// The noun most like it.
        near: Option<&'static str>,
    },
    /// The kind has no such field.
    #[error("field {field:?} does not exist")]
    UnknownField {
        /// The step of the path that leads nowhere.
        field: String,
        /// What was probably meant, as the whole path.
        near: Option<String>,
    },
}

impl From<ExplainError> for Error {
    fn from(error: ExplainError) -> Self {
        let worded = Self::usage(error.to_string());
        match error {
            ExplainError::UnknownKind { near: Some(n), .. } => {
                worded.hint(format!("did you mean \"{n}\"?"))
            }
            ExplainError::UnknownKind { near: None, .. } => worded.hint("kvmctl api-resources"),
            ExplainError::UnknownField { near: Some(n), .. } => {
                worded.hint(format!("did you mean \"{n}\"?"))
            }
            ExplainError::UnknownField { near: None, .. } => worded,
        }
    }
}

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is not a list of operations as RFC 6902 has them.
    #[error("operation {index} of the patch is malformed: {reason}")]
    Malformed {
        /// From 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It points at nothing.
    #[error("operation {index} of the patch: nothing lies at {pointer:?}")]
    NoTarget {
        /// From 0.
        index: usize,
        /// The JSON pointer.
        pointer: String,
    },
    /// Its `test` found another value.
    #[error("operation {index} of the patch: the value at {pointer:?} is another one")]
    TestFailed {
        /// From 0.
        index: usize,
        /// The JSON pointer.
        pointer: String,
    },
}

impl From<PatchError> for Error {
    fn from(error: PatchError) -> Self {
        let kind = match error {
            PatchError::TestFailed { .. } => Kind::Conflict,
            _ => Kind::Usage,
        };
        Self::new(kind, error.to_string())
    }
}
