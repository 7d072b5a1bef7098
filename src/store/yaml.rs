//! YAML that reads back as it was written, and errors that do not quote secrets.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Result;
use super::file::{Dir, Durability};

/// Whether the message about a damaged file may quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// It may.
    Plain,
    /// It may not: only the place is told.
    Secret,
}

impl Dir {
    /// Reads a YAML file; `None` when there is none.
    ///
    /// # Errors
    /// [`super::StoreError::Damaged`] when it does not parse: it is never overwritten then.
    pub fn read_yaml<T: DeserializeOwned>(
        &self,
        rel: &str,
        contents: Contents,
    ) -> Result<Option<T>> {
        let Some(bytes) = self.read(rel)? else {
            return Ok(None);
        };
        self.parse(rel, &bytes, contents).map(Some)
    }

    /// As [`Dir::read_yaml`], for what is read again and again in one run. Secrets are not kept.
    ///
    /// # Errors
    /// As [`Dir::read_yaml`].
    pub fn read_record<T: DeserializeOwned + Clone + Send + Sync + 'static>(
        &self,
        rel: &str,
        contents: Contents,
    ) -> Result<Option<T>> {
        if contents == Contents::Secret {
            return self.read_yaml(rel, contents);
        }
        let Some(bytes) = self.read(rel)? else {
            self.parsed.forget(rel);
            return Ok(None);
        };
        let parse = |bytes: &[u8]| self.parse(rel, bytes, contents);
        self.parsed.read(rel, bytes, parse).map(Some)
    }

    fn parse<T: DeserializeOwned>(&self, rel: &str, bytes: &[u8], contents: Contents) -> Result<T> {
        serde_yaml::from_slice(bytes).map_err(|e| self.damaged(rel, what_is_wrong(&e, contents)))
    }

    /// Replaces a YAML file.
    ///
    /// # Errors
    /// As [`Dir::write`].
    pub fn write_yaml<T: Serialize>(&self, rel: &str, value: &T) -> Result<()> {
        let text = to_yaml(value).map_err(|e| self.damaged(rel, e))?;
        self.write(rel, text.as_bytes(), Durability::Power)
    }
}

fn what_is_wrong(error: &serde_yaml::Error, contents: Contents) -> String {
    match (contents, error.location()) {
        (Contents::Plain, _) => error.to_string(),
        (Contents::Secret, Some(at)) => {
            format!(
                "something is wrong at line {} column {}",
                at.line(),
                at.column()
            )
        }
        (Contents::Secret, None) => "something is wrong in it, from line 1 on".to_owned(),
    }
}

/// Writes YAML that reads back as it was.
///
/// The emitter writes some line breaks (CR, NEL, U+2028) so that they read back as others; what
/// holds one is written as JSON, which is YAML too, with everything that folds escaped.
fn to_yaml<T: Serialize>(value: &T) -> Result<String, String> {
    let text = serde_yaml::to_string(value).map_err(|e| e.to_string())?;
    if !text.contains(folds) {
        return Ok(text);
    }
    let json = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    let mut escaped = String::with_capacity(json.len() + 64);
    // Outside its strings JSON has none of these.
    for c in json.chars() {
        if folds(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    Ok(escaped)
}

/// Characters of the basic plane that a YAML reader changes or refuses.
fn folds(c: char) -> bool {
    let line = matches!(c, '\n' | '\t');
    (c.is_control() && !line)
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_as_it_was(
            texts in prop::collection::btree_map("\\PC{1,8}", any::<String>(), 0..4),
            lines in prop::collection::vec("[ \ta\r\n:#'\"\u{85}\u{2028}\u{feff}|>-]{0,12}", 0..4),
        ) {
            let value = (texts, lines);
            let yaml = to_yaml(&value).unwrap();
            let back: (BTreeMap<String, String>, Vec<String>) = serde_yaml::from_str(&yaml).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
