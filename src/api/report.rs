//! How the engine tells what it is doing, without knowing who listens.
//!
//! The trait is here because both sides must know it: the engine that tells, and the output that
//! prints, which do not know each other.

use super::object::ObjectKey;

/// Somebody who is told what happens.
pub trait Reporter: Send + Sync {
    /// An object entered a phase, as "creating disk".
    fn phase(&self, object: &ObjectKey, text: &str);
    /// So many of so many bytes are done.
    fn progress(&self, object: &ObjectKey, label: &str, done: u64, total: Option<u64>);
    /// Nothing more will be said of the object.
    fn finished(&self, object: &ObjectKey);
    /// Something a person should know that is not an error.
    fn warn(&self, text: &str);
}

/// A reporter that tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Reporter for Silent {
    fn phase(&self, _: &ObjectKey, _: &str) {}
    fn progress(&self, _: &ObjectKey, _: &str, _: u64, _: Option<u64>) {}
    fn finished(&self, _: &ObjectKey) {}
    fn warn(&self, _: &str) {}
}
