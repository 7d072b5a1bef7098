//! Which of a row of snapshots are kept: pure, by their times alone.

use std::collections::BTreeSet;

use crate::api::Timestamp;

/// How many are kept, of which age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// The newest so many.
    pub last: usize,
    /// The newest of each of the last so many days that have one.
    pub daily: usize,
    /// The newest of each of the last so many weeks that have one; a week begins on Monday.
    pub weekly: usize,
}

impl Rules {
    /// Returns whether nothing is kept.
    pub const fn is_empty(&self) -> bool {
        self.last == 0 && self.daily == 0 && self.weekly == 0
    }
}

/// The day, in UTC, as a number.
fn day(time: Timestamp) -> i64 {
    time.as_second().div_euclid(86400)
}

/// The week as a number: the first day of 1970 was a Thursday.
fn week(time: Timestamp) -> i64 {
    (day(time) + 3).div_euclid(7)
}

/// Returns for each of `times`, the oldest first, the rule that keeps it; nothing where none does.
pub fn keep(times: &[Timestamp], rules: &Rules) -> Vec<Option<&'static str>> {
    let mut reasons = vec![None; times.len()];
    let mut note = |count: usize, rule: &'static str, period: &dyn Fn(usize) -> i64| {
        let mut seen = BTreeSet::new();
        for at in (0..times.len()).rev() {
            let period = period(at);
            if seen.len() < count && seen.insert(period) {
                reasons[at].get_or_insert(rule);
            }
        }
    };
    note(rules.last, "last", &|at| {
        i64::try_from(at).unwrap_or(i64::MAX)
    });
    note(rules.daily, "daily", &|at| day(times[at]));
    note(rules.weekly, "weekly", &|at| week(times[at]));
    reasons
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86400;

    fn at(seconds: &[i64]) -> Vec<Timestamp> {
        seconds.iter().map(|s| Timestamp::from_second(*s)).collect()
    }

    #[test]
    fn the_newest_of_each_day_and_week_stay() {
        // A Monday at noon, and what came after it.
        let monday = 4 * DAY + DAY / 2;
        let times = at(&[
            monday,
            monday + 3600,
            monday + DAY,
            monday + 7 * DAY,
            monday + 8 * DAY,
            monday + 8 * DAY + 60,
        ]);
        let rules = Rules {
            last: 1,
            daily: 2,
            weekly: 2,
        };
        let kept = keep(&times, &rules);
        assert_eq!(
            kept,
            [
                None,
                None,
                Some("weekly"),
                Some("daily"),
                None,
                Some("last")
            ]
        );
    }

    #[test]
    fn a_week_begins_on_monday() {
        let sunday = 3 * DAY + DAY / 2;
        assert_eq!(week(at(&[sunday])[0]) + 1, week(at(&[sunday + DAY])[0]));
        assert_eq!(week(at(&[sunday])[0]), week(at(&[sunday - 6 * DAY])[0]));
    }

    proptest! {
        #[test]
        fn no_rule_keeps_more_than_it_says_and_the_newest_always_stays(
            mut seconds in proptest::collection::vec(0i64..100 * DAY, 1..40),
            last in 0usize..5, daily in 0usize..5, weekly in 0usize..5,
        ) {
            seconds.sort_unstable();
            let times = at(&seconds);
            let rules = Rules { last, daily, weekly };
            let kept = keep(&times, &rules);
            prop_assert!(kept.iter().flatten().count() <= last + daily + weekly);
            prop_assert_eq!(kept[kept.len() - 1].is_none(), rules.is_empty());
            prop_assert!(kept.iter().flatten().count() >= last.min(times.len()));
        }
    }
}
