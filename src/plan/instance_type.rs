//! Steps of types: they live in the store alone.

/// One change of a type.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Writes it.
    Write(Box<crate::api::InstanceType>),
    /// Removes it.
    Remove,
}

impl Step {
    /// Returns what the step does.
    pub fn describe(&self) -> String {
        match self {
            Self::Write(_) => "write the type to the store".to_owned(),
            Self::Remove => "remove the type from the store".to_owned(),
        }
    }
}
