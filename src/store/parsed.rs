//! Records that were parsed in this run: one command asks for the same ones from many places, and to
//! parse YAML takes longer than to read the file. A file is read each time, and what was parsed counts
//! for the same bytes only, so nobody ever sees an old record.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// What was parsed, by file.
#[derive(Default)]
pub(super) struct Parsed(Mutex<HashMap<String, Known>>);

struct Known {
    bytes: Vec<u8>,
    value: Arc<dyn Any + Send + Sync>,
}

impl Parsed {
    /// Returns what the bytes of a file say: by heart, or by `parse`.
    ///
    /// # Errors
    /// What `parse` says, which is not remembered.
    pub(super) fn read<T: Clone + Send + Sync + 'static, E>(
        &self,
        rel: &str,
        bytes: Vec<u8>,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<T, E> {
        let known = self.known().get(rel).and_then(|known| {
            let same = (known.bytes == bytes).then(|| Arc::clone(&known.value))?;
            same.downcast::<T>().ok()
        });
        if let Some(known) = known {
            return Ok(T::clone(&known));
        }
        let value = parse(&bytes)?;
        let known = Known {
            bytes,
            value: Arc::new(value.clone()),
        };
        self.known().insert(rel.to_owned(), known);
        Ok(value)
    }

    /// Forgets a file that is gone.
    pub(super) fn forget(&self, rel: &str) {
        self.known().remove(rel);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        // It is whole at any moment.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parsed({} files)", self.known().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_are_known_by_heart() {
        let parsed = Parsed::default();
        let read = |text: &str| {
            let mut asked = false;
            let value = parsed.read("a", text.into(), |bytes| {
                asked = true;
                String::from_utf8(bytes.to_vec())
            });
            (value.unwrap(), asked)
        };
        assert_eq!(read("one"), ("one".to_owned(), true));
        assert_eq!(read("one"), ("one".to_owned(), false));
        assert_eq!(read("two"), ("two".to_owned(), true));
        assert_eq!(read("one"), ("one".to_owned(), true));
        let wrong: Result<String, ()> = parsed.read("a", b"bad".to_vec(), |_| Err(()));
        assert_eq!(wrong, Err(()));
        assert_eq!(read("one"), ("one".to_owned(), false));
        // The same file as something else.
        let number: Result<u8, ()> = parsed.read("a", b"one".to_vec(), |_| Ok(1));
        assert_eq!(number, Ok(1));
        parsed.forget("a");
        assert_eq!(read("one"), ("one".to_owned(), true));
    }
}
