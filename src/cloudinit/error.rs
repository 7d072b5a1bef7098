//! What can be wrong with what is to go into a seed, or with a seed that is read back.

use crate::api::EnvName;

/// Why a variable cannot be carried into a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A character that systemd does not pass on.
    #[error(
        "variable {name} has U+{:04X} at byte {offset}, which systemd does not pass on to services",
        u32::from(*.character)
    )]
    Character {
        /// The variable.
        name: EnvName,
        /// The character.
        character: char,
        /// Where in the value, in bytes.
        offset: usize,
    },
    /// Longer than Linux takes.
    #[error("variable {name} is {bytes} bytes long; Linux takes at most {limit}")]
    TooLong {
        /// The variable.
        name: EnvName,
        /// Its length with name, `=` and NUL.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// All together are longer than there is room.
    #[error("the variables are {bytes} bytes long together; there is room for {limit}")]
    TotalTooLong {
        /// Their length together.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A name that shells keep to themselves.
    #[error("variable {name} cannot be set: shells keep that name to themselves")]
    Reserved {
        /// The variable.
        name: EnvName,
    },
}

/// Why a seed cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudInitError {
    /// A variable that cannot be carried.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// A public SSH key that is not one line of the known form.
    #[error("SSH key {number} is not a public key: {reason}")]
    SshKey {
        /// Which, counted from one.
        number: usize,
        /// Why.
        reason: &'static str,
    },
    /// A startup command with a NUL in it, which no argument can hold.
    #[error("{what} contains a NUL character")]
    Nul {
        /// Which.
        what: String,
    },
    /// The system gave no random numbers.
    #[error("the system gave no random numbers for an SSH key")]
    Random,
    /// The medium is not an ISO 9660 file system that can be read.
    #[error("not a readable seed medium: {0}")]
    Iso(&'static str),
}

impl From<CloudInitError> for crate::error::Error {
    fn from(error: CloudInitError) -> Self {
        use crate::error::Kind;
        let kind = match error {
            CloudInitError::Env(_) | CloudInitError::SshKey { .. } | CloudInitError::Nul { .. } => {
                Kind::Usage
            }
            CloudInitError::Random | CloudInitError::Iso(_) => Kind::Failed,
        };
        let worded = Self::new(kind, error.to_string());
        match error {
            CloudInitError::SshKey { .. } => worded.hint(
                "give the content of a .pub file, as: --ssh-key \"$(cat ~/.ssh/id_ed25519.pub)\"",
            ),
            CloudInitError::Env(EnvError::Character { .. }) => {
                worded.hint("encode the value, as with base64, and decode it where it is used")
            }
            _ => worded,
        }
    }
}

impl From<EnvError> for crate::error::Error {
    fn from(error: EnvError) -> Self {
        CloudInitError::from(error).into()
    }
}
