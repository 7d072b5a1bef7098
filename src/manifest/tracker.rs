//! What one typed reading of a document leaves out, where it stops, and what it finds.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::fmt;

use super::path::{FieldPath, Segment};
use super::refuse::Refuse;

/// A field that its struct does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnknownField {
    pub(super) path: FieldPath,
    pub(super) known: &'static [&'static str],
}

/// Where reading failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) path: FieldPath,
    pub(super) at_key: bool,
    /// The message as it was before the parser decorated it, where the type itself spoke.
    pub(super) message: Option<String>,
}

/// What one reading of a document leaves out, and what it finds.
#[derive(Debug)]
pub(super) struct Tracker<'s> {
    skip: &'s BTreeSet<FieldPath>,
    nulls: &'s HashSet<FieldPath>,
    path: RefCell<FieldPath>,
    stop: RefCell<Option<Stop>>,
    message: RefCell<Option<String>>,
    unknown: RefCell<BTreeSet<UnknownField>>,
}

impl<'s> Tracker<'s> {
    /// Makes a tracker that leaves out `skip`, and the empty fields among `nulls`.
    pub(super) fn new(skip: &'s BTreeSet<FieldPath>, nulls: &'s HashSet<FieldPath>) -> Self {
        Self {
            skip,
            nulls,
            path: RefCell::default(),
            stop: RefCell::default(),
            message: RefCell::default(),
            unknown: RefCell::default(),
        }
    }

    /// Returns the unknown fields that were met.
    pub(super) fn unknown(&self) -> BTreeSet<UnknownField> {
        self.unknown.borrow().clone()
    }

    /// Returns where reading failed; the root when nothing below it is to blame.
    pub(super) fn stop(&self) -> Stop {
        self.stop.borrow().clone().unwrap_or_else(|| Stop {
            path: FieldPath::root(),
            at_key: false,
            message: self.message.borrow().clone(),
        })
    }

    /// Runs `read` one step below the present path.
    pub(super) fn below<T, E>(
        &self,
        segment: Segment,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.path.borrow_mut().push(segment);
        let result = read();
        if result.is_err() {
            self.note_stop(false);
        }
        self.path.borrow_mut().pop();
        result
    }

    /// Returns whether the present path's `segment` is to be left out.
    pub(super) fn skips(&self, segment: &Segment) -> bool {
        !self.skip.is_empty() && self.skip.contains(&self.at(segment))
    }

    pub(super) fn is_null(&self, segment: &Segment) -> bool {
        !self.nulls.is_empty() && self.nulls.contains(&self.at(segment))
    }

    fn at(&self, segment: &Segment) -> FieldPath {
        self.path.borrow().with(segment.clone())
    }

    fn note_stop(&self, at_key: bool) {
        let mut stop = self.stop.borrow_mut();
        if stop.is_none() {
            *stop = Some(Stop {
                path: self.path.borrow().clone(),
                at_key,
                message: self.message.borrow().clone(),
            });
        }
    }

    pub(super) fn note_key(&self, key: &str) {
        self.path.borrow_mut().push(Segment::Key(key.to_owned()));
        self.note_stop(true);
        self.path.borrow_mut().pop();
    }

    pub(super) fn note_unknown(&self, key: &str, known: &'static [&'static str]) {
        self.unknown.borrow_mut().insert(UnknownField {
            path: self.path.borrow().key(key),
            known,
        });
    }

    /// Notes the message of a type that judges a value after reading it; the parser has not put
    /// path and place into it yet.
    pub(super) fn note_own_message<E: fmt::Display>(&self, error: E) -> E {
        if error.to_string().contains(" at line ") {
            return error;
        }
        self.note_message(error)
    }

    pub(super) fn refuse(&self, why: &'static str) -> Refuse {
        Refuse(self.note_message(why))
    }

    pub(super) fn note_message<E: fmt::Display>(&self, error: E) -> E {
        self.message
            .borrow_mut()
            .get_or_insert_with(|| error.to_string());
        error
    }
}
