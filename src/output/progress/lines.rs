//! Progress as plain lines, for logs and pipes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Sink, Work};
use crate::output::size;
use crate::output::ui::Ui;

/// How often a transfer of unknown length is told of.
const EVERY: Duration = Duration::from_secs(5);

/// Prints a line for each new phase and each tenth of a transfer.
pub(super) struct Lines {
    ui: Ui,
    last: BTreeMap<String, Said>,
}

enum Said {
    Phase(String),
    Tenths(u64),
    At(Instant),
}

impl Lines {
    pub(super) fn new(ui: Ui) -> Self {
        Self {
            ui,
            last: BTreeMap::new(),
        }
    }
}

impl Sink for Lines {
    fn show(&mut self, id: &str, work: &Work) {
        let last = self.last.get(id);
        let (line, said) = match work {
            Work::Phase(text) => {
                if matches!(last, Some(Said::Phase(before)) if before == text) {
                    return;
                }
                (format!("{id}: {text}"), Said::Phase(text.clone()))
            }
            Work::Transfer {
                done,
                total: Some(total),
                label,
            } => {
                let tenths = u128::from(*done) * 10 / u128::from((*total).max(1));
                let tenths = u64::try_from(tenths).unwrap_or(10);
                if matches!(last, Some(Said::Tenths(before)) if *before >= tenths) {
                    return;
                }
                let line = format!("{id}: {label} {}% of {}", tenths * 10, size::bytes(*total));
                (line, Said::Tenths(tenths))
            }
            Work::Transfer {
                done,
                total: None,
                label,
            } => {
                if matches!(last, Some(Said::At(before)) if before.elapsed() < EVERY) {
                    return;
                }
                (
                    format!("{id}: {label} {}", size::bytes(*done)),
                    Said::At(Instant::now()),
                )
            }
        };
        self.last.insert(id.to_owned(), said);
        self.ui.status(&line);
    }

    fn gone(&mut self, id: &str) {
        self.last.remove(id);
    }
}
