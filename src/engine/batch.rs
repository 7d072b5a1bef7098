//! Many objects in one run: independent ones in parallel, failures collected, the rest carried on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::error::{Error, Kind, Result};
use crate::host::one_thread;

/// What came of a run over several objects.
#[derive(Debug, Default)]
pub struct Batch {
    /// How many went well.
    pub done: usize,
    /// What went wrong, in the order of the objects.
    pub errors: Vec<Error>,
}

impl Batch {
    /// Adds another run's results.
    pub fn merge(&mut self, other: Self) {
        self.done += other.done;
        self.errors.extend(other.errors);
    }

    /// Returns the error that the run as a whole ends with.
    ///
    /// One object: its own error. Several: the kind they share, or `Partial`; each error has been
    /// printed by then, so that `print` is called for every one of them.
    ///
    /// # Errors
    /// If anything went wrong.
    pub fn into_result(self, print: impl Fn(&Error)) -> Result<()> {
        let total = self.done + self.errors.len();
        let mut errors = self.errors;
        match errors.len() {
            0 => Ok(()),
            1 if total == 1 => Err(errors.remove(0)),
            failed => {
                if let Some(stop) = errors.iter().find(|e| e.kind().is_signal()) {
                    return Err(stop.clone());
                }
                errors.iter().for_each(print);
                let shared = errors
                    .iter()
                    .all(|e| e.kind() == errors[0].kind())
                    .then(|| errors[0].kind());
                let kind = if self.done > 0 {
                    Kind::Partial
                } else {
                    shared.unwrap_or(Kind::Failed)
                };
                Err(Error::new(
                    kind,
                    format!("{failed} of {total} objects failed"),
                ))
            }
        }
    }
}

/// Runs `work` on every item with at most `width` at once.
pub fn run_all<T: Sync>(
    items: &[T],
    width: usize,
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Batch {
    if let [only] = items {
        return collect(vec![work(only)]);
    }
    if one_thread() {
        return collect(items.iter().map(work).collect());
    }
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<()>)>> = Mutex::new(Vec::with_capacity(items.len()));
    let one = || {
        while let Some((at, item)) = take(&next, items) {
            let result = work(item);
            results
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .push((at, result));
        }
    };
    thread::scope(|scope| {
        let width = width.min(items.len());
        let threads: Vec<_> = (0..width).map(|_| scope.spawn(one)).collect();
        // The end of a scope waits for the closures only: a thread that frees what libvirt keeps for it
        // would meet the end of the process.
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(at, _)| *at);
    collect(results.into_iter().map(|(_, result)| result).collect())
}

fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    items.get(at).map(|item| (at, item))
}

fn collect(results: Vec<Result<()>>) -> Batch {
    results.into_iter().collect()
}

impl FromIterator<Result<()>> for Batch {
    fn from_iter<I: IntoIterator<Item = Result<()>>>(results: I) -> Self {
        let mut batch = Self::default();
        for result in results {
            match result {
                Ok(()) => batch.done += 1,
                Err(error) => batch.errors.push(error),
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_carried_on_and_the_sum_is_partial() {
        let items: Vec<u32> = (0..20).collect();
        let batch = run_all(&items, 4, |n| match n {
            3 | 7 => Err(Error::not_found(format!("no {n}"))),
            _ => Ok(()),
        });
        assert_eq!((batch.done, batch.errors.len()), (18, 2));
        assert_eq!(batch.errors[0].message(), "no 3");
        let error = batch.into_result(|_| {}).unwrap_err();
        assert_eq!(error.kind(), Kind::Partial);
    }

    #[test]
    fn one_object_keeps_its_own_error() {
        let batch = run_all(&[1], 4, |_| Err(Error::conflict("taken")));
        assert_eq!(
            batch.into_result(|_| {}).unwrap_err().kind(),
            Kind::Conflict
        );
    }
}
