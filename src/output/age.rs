//! Ages as kubectl prints them: `5s`, `3m20s`, `2h`, `3d4h`, `2y`.

use crate::api::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Returns how long ago `then` was, or `<unknown>`.
pub fn age_or_unknown(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "<unknown>".to_owned(), |then| age(then, now))
}

/// Returns how long ago `then` was.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    human(now.as_second() - then.as_second())
}

/// Returns a length of time in seconds with two units at most, fewer the longer it is.
///
/// The thresholds are those of `k8s.io/apimachinery/pkg/util/duration.HumanDuration`.
pub fn human(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s, (MINUTE, "m"), (1, "s")),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s, (HOUR, "h"), (MINUTE, "m")),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s, (DAY, "d"), (HOUR, "h")),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s, (YEAR, "y"), (DAY, "d")),
        s => format!("{}y", s / YEAR),
    }
}

fn two(seconds: i64, large: (i64, &str), small: (i64, &str)) -> String {
    let (count, rest) = (seconds / large.0, seconds % large.0 / small.0);
    if rest == 0 {
        format!("{count}{}", large.1)
    } else {
        format!("{count}{}{rest}{}", large.1, small.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_kubectl() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (5 * HOUR + 61, "5h1m"),
            (8 * HOUR, "8h"),
            (2 * DAY - 1, "47h"),
            (3 * DAY + 4 * HOUR, "3d4h"),
            (8 * DAY, "8d"),
            (2 * YEAR, "2y"),
            (3 * YEAR + 2 * DAY, "3y2d"),
            (9 * YEAR, "9y"),
        ] {
            assert_eq!(human(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn an_unknown_birth_is_said() {
        let now = Timestamp::from_second(1_000);
        assert_eq!(age_or_unknown(None, now), "<unknown>");
        assert_eq!(age(Timestamp::from_second(995), now), "5s");
    }
}
