//! Steps of images.

use crate::shell::shell_words;

/// One change of an image.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Downloads it, checks it and puts it into the pool.
    Pull {
        /// Where from.
        url: String,
    },
    /// Writes down labels and annotations.
    Record,
    /// Deletes its volume and record.
    Delete {
        /// The pool.
        pool: String,
        /// The volume.
        volume: String,
    },
}

impl Step {
    /// Returns what the step does.
    pub fn describe(&self) -> String {
        match self {
            Self::Pull { url } => format!("pull {url}, verify it and put it into the pool"),
            Self::Record => "write the image's labels to the store".to_owned(),
            Self::Delete { volume, .. } => format!("delete volume {volume}"),
        }
    }

    /// Returns the commands a person would type to the same effect.
    pub fn equivalent(&self) -> Option<String> {
        match self {
            Self::Pull { url } => Some(shell_words(&["curl", "-fLO", url])),
            Self::Record => None,
            Self::Delete { pool, volume } => Some(shell_words(&[
                "virsh",
                "vol-delete",
                volume,
                "--pool",
                pool,
            ])),
        }
    }
}
