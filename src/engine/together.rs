//! Objects of one kind that are worked on together, because what they stand on is read, and the host
//! told, once for all of them. Each has its own result nevertheless.

use super::options::Applied;
use crate::error::{Error, Result};

/// How many are worked on together: each has a file open that locks it.
pub(super) const AT_ONCE: usize = 400;

/// How far one of them is.
pub(super) enum Stage<T> {
    /// Nothing is left to be done.
    Done(Applied),
    /// It is known what is to be done.
    Wanted(Box<T>),
}

/// Works on some at a time; returns the results in the order in which the objects are given.
///
/// `rank` orders them: runs that lock the same ones lock them in the same order.
pub(super) fn in_order<T, K: Ord, R>(
    objects: &[T],
    rank: impl Fn(&T) -> K,
    mut work: impl FnMut(&[&T]) -> Vec<R>,
) -> Vec<R> {
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by_key(|at| rank(&objects[*at]));
    let mut results: Vec<(usize, R)> = Vec::new();
    for some in order.chunks(AT_ONCE) {
        let theirs: Vec<&T> = some.iter().map(|at| &objects[*at]).collect();
        results.extend(some.iter().copied().zip(work(&theirs)));
    }
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Returns what is still to be done.
pub(super) fn todos<T>(stages: &[Result<Stage<T>>]) -> impl Iterator<Item = &T> {
    stages.iter().filter_map(|stage| match stage {
        Ok(Stage::Wanted(todo)) => Some(&**todo),
        _ => None,
    })
}

/// Does something with each with which something is still to be done; one with which it fails is out.
pub(super) fn each<T>(stages: &mut [Result<Stage<T>>], mut work: impl FnMut(&mut T) -> Result<()>) {
    for stage in stages {
        if let Ok(Stage::Wanted(todo)) = stage
            && let Err(error) = work(todo)
        {
            *stage = Err(error);
        }
    }
}

/// Returns the result of one that was worked on alone.
///
/// # Errors
/// Its own.
pub(super) fn only<T>(mut results: Vec<Result<T>>) -> Result<T> {
    let none = || Err(Error::failed("nothing came of it"));
    results.pop().unwrap_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_objects() {
        let objects: Vec<usize> = (0..1000).rev().collect();
        let mut asked = Vec::new();
        let results = in_order(
            &objects,
            |n| *n,
            |some| {
                asked.push(some.len());
                assert!(some.is_sorted());
                some.iter().map(|n| **n * 2).collect()
            },
        );
        assert_eq!(asked, [400, 400, 200]);
        assert!(results.into_iter().eq(objects.into_iter().map(|n| n * 2)));
    }

    #[test]
    fn one_that_fails_is_out_and_the_others_go_on() {
        let wanted = |n| Ok(Stage::Wanted(Box::new(n)));
        let mut stages = vec![wanted(1), Err(Error::failed("no")), wanted(2), wanted(3)];
        each(&mut stages, |n| match n {
            2 => Err(Error::failed("not this one")),
            _ => {
                *n *= 10;
                Ok(())
            }
        });
        assert!(todos(&stages).eq(&[10, 30]));
        assert!(stages[2].is_err());
    }
}
