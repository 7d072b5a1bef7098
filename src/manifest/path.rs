//! Paths of fields, as messages print them: `spec.env[0].name`.

use std::fmt;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of a mapping.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// Where a field stands in a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<Segment>);

impl FieldPath {
    /// Returns the path of the document itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Returns the path of the field `dotted` ("spec.env"), whose keys have no dots.
    pub fn of(dotted: &str) -> Self {
        Self(
            dotted
                .split('.')
                .map(|k| Segment::Key(k.to_owned()))
                .collect(),
        )
    }

    /// Returns the path of a key below this one.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Segment::Key(key.into()))
    }

    /// Returns the path of a list entry below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// Returns the path one step below this one.
    #[must_use]
    pub fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    /// Returns this path with `tail` below it.
    #[must_use]
    pub fn join(&self, tail: &Self) -> Self {
        let mut path = self.clone();
        path.0.extend(tail.0.iter().cloned());
        path
    }

    /// Returns what is left of the path below `prefix`, or the path itself when it is not below it.
    #[must_use]
    pub fn below(&self, prefix: &Self) -> Self {
        Self(
            self.0
                .strip_prefix(prefix.0.as_slice())
                .unwrap_or(&self.0)
                .to_vec(),
        )
    }

    /// Returns the path one step up; the root has none.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }

    /// Returns the steps.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Returns whether it is the document itself.
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.0.push(segment);
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if is_plain(key) => {
                    write!(f, "{}{key}", if n == 0 { "" } else { "." })?;
                }
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_they_are_written_in_jsonpath() {
        let path = FieldPath::of("spec.env").index(0).key("name");
        assert_eq!(path.to_string(), "spec.env[0].name");
        let path = FieldPath::of("metadata.labels").key("example.com/a\u{1b}");
        assert_eq!(
            path.to_string(),
            r#"metadata.labels["example.com/a\u{1b}"]"#
        );
    }

    #[test]
    fn a_path_knows_what_it_is_below() {
        let item = FieldPath::of("items").index(2);
        let path = item.join(&FieldPath::of("spec.cpus"));
        assert_eq!(path.below(&item).to_string(), "spec.cpus");
        assert_eq!(path.below(&FieldPath::of("other")), path);
        assert_eq!(path.parent().unwrap().below(&item).to_string(), "spec");
    }
}
