//! Steps of secrets: they live in the store alone.

/// One change of a secret.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Writes it.
    Write(Box<crate::api::Secret>),
    /// Removes it.
    Remove,
}

impl Step {
    /// Returns what the step does.
    pub fn describe(&self) -> String {
        match self {
            Self::Write(_) => "write the secret to the store".to_owned(),
            Self::Remove => "remove the secret from the store".to_owned(),
        }
    }
}
