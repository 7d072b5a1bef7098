//! What is wrong with the configuration, and how a person is told.

use std::io;
use std::path::PathBuf;

use crate::error::{Error, Kind, did_you_mean};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not parse; the text begins with `FILE:LINE:COLUMN`.
    #[error("{at}: {what}")]
    Parse {
        /// File, line and column.
        at: String,
        /// What is wrong there.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// "read" or "write".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No context has that name.
    #[error("no context exists with the name: {name:?}")]
    NoContext {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A context needs a URI.
    #[error("context {0:?} has no URI yet")]
    NoUri(String),
    /// The name of a context, or a URI, holds what it must not.
    #[error("{value:?} is not a valid {what}: {rule}")]
    Invalid {
        /// The value.
        value: String,
        /// "context name", "libvirt URI", "accelerator".
        what: &'static str,
        /// What it should be.
        rule: &'static str,
    },
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        let kind = match &error {
            ConfigError::Parse { .. } | ConfigError::NoUri(_) | ConfigError::Invalid { .. } => {
                Kind::Usage
            }
            ConfigError::NoContext { .. } => Kind::NotFound,
            ConfigError::Io { .. } => Kind::Failed,
        };
        let worded = Self::new(kind, error.to_string());
        match &error {
            ConfigError::NoContext { name, known } => {
                let near = did_you_mean(name, known.iter().map(String::as_str));
                match near {
                    Some(near) => worded.hint(format!("did you mean {near:?}?")),
                    None => worded.hint("'kvmctl config get-contexts' shows all"),
                }
            }
            ConfigError::NoUri(name) => worded.hint(format!(
                "kvmctl config set-context {name} --uri qemu:///system"
            )),
            ConfigError::Io { path, source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                worded.hint(format!("ls -l {}", path.display()))
            }
            _ => worded,
        }
    }
}
