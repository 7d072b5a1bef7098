//! Why an archive is not taken.

use std::io;

use crate::error::{Error, Kind};

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It cannot be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// What is in it cannot be put down for a while.
    #[error("cannot put down what is in the archive")]
    Write(#[source] io::Error),
    /// It is something else.
    #[error("not a tar archive")]
    NotTar,
    /// It is compressed.
    #[error("the archive is compressed with {tool}")]
    Packed {
        /// The program that unpacks it.
        tool: &'static str,
    },
    /// It ends before its end.
    #[error("the archive is cut off: its end mark is missing")]
    Cut,
    /// A header makes no sense.
    #[error("the archive is damaged: {0}")]
    Broken(String),
    /// A member that would reach out of the volume, or cannot be kept as it is.
    #[error("{path:?} {why}")]
    Refused {
        /// Its name.
        path: String,
        /// Why.
        why: String,
    },
    /// There is more in it than there is room for.
    #[error("the archive holds more than {limit} bytes, for which there is no room")]
    TooLarge {
        /// The room.
        limit: u64,
    },
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
}

impl TarError {
    /// Makes a refusal of a member.
    pub fn refused(path: &[u8], why: impl Into<String>) -> Self {
        Self::Refused {
            path: String::from_utf8_lossy(path).into_owned(),
            why: why.into(),
        }
    }
}

impl From<TarError> for Error {
    fn from(error: TarError) -> Self {
        let message = error.to_string();
        match error {
            TarError::Read(source) | TarError::Write(source) => {
                Self::failed(message).caused_by(source)
            }
            TarError::Interrupted => Self::new(Kind::Interrupted, message),
            TarError::Packed { tool } => Self::usage(message).hint(format!(
                "{tool} -dc FILE | kvmctl volumes create NAME --from-tar -"
            )),
            TarError::TooLarge { .. } => Self::failed(message),
            _ => Self::usage(message),
        }
    }
}
