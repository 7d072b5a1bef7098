//! Says what long work is doing: bars where a person looks, plain lines elsewhere, and nothing at all
//! of what is over at once.

mod bars;
mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::style::Paint;
use super::ui::Ui;
use crate::api::ObjectKey;
use crate::api::Reporter;

/// What is over within this time is not worth a word. Who sits at a terminal is not left without an
/// answer for longer.
const DELAY: Duration = Duration::from_millis(100);
/// The same where nobody looks: lines in a log, of which fewer are better.
const LOG_DELAY: Duration = Duration::from_millis(250);

/// Returns the reporter that suits the terminal and the options.
pub fn reporter(ui: &Ui) -> Arc<dyn Reporter> {
    // -v prints lines that would tear bars apart; bars need escape sequences, which NO_COLOR rules out.
    let animated = ui.is_tty_err() && ui.paint_err() == Paint::Ansi;
    if animated && !ui.is_quiet() && ui.verbosity() == 0 {
        Arc::new(Delayed::new(ui.clone(), bars::Bars::on_stderr(ui), DELAY))
    } else {
        Arc::new(Delayed::new(
            ui.clone(),
            lines::Lines::new(ui.clone()),
            if ui.is_tty_err() { DELAY } else { LOG_DELAY },
        ))
    }
}

/// What is being done under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    Phase(String),
    Transfer {
        done: u64,
        total: Option<u64>,
        label: String,
    },
}

/// Shows work that has lasted long enough.
trait Sink: Send + 'static {
    fn show(&mut self, id: &str, work: &Work);
    fn gone(&mut self, id: &str);
}

/// Holds work back until it has lasted for the delay.
struct Delayed<S> {
    ui: Ui,
    delay: Duration,
    board: Arc<Mutex<Board<S>>>,
}

struct Board<S> {
    sink: S,
    waiting: BTreeMap<String, (Instant, Work)>,
    shown: BTreeSet<String>,
    has_clock: bool,
}

impl<S: Sink> Delayed<S> {
    fn new(ui: Ui, sink: S, delay: Duration) -> Self {
        let board = Board {
            sink,
            waiting: BTreeMap::new(),
            shown: BTreeSet::new(),
            has_clock: false,
        };
        Self {
            ui,
            delay,
            board: Arc::new(Mutex::new(board)),
        }
    }

    fn show(&self, id: &str, work: Work) {
        let mut board = lock(&self.board);
        if board.shown.contains(id) {
            board.sink.show(id, &work);
            return;
        }
        let due = Instant::now() + self.delay;
        board
            .waiting
            .entry(id.to_owned())
            .and_modify(|(_, held)| held.clone_from(&work))
            .or_insert((due, work));
        if !board.has_clock {
            board.has_clock = true;
            let board = Arc::clone(&self.board);
            thread::spawn(move || run_clock(&board));
        }
    }
}

impl<S: Sink> Reporter for Delayed<S> {
    fn phase(&self, object: &ObjectKey, text: &str) {
        self.show(&object.to_string(), Work::Phase(text.to_owned()));
    }

    fn progress(&self, object: &ObjectKey, label: &str, done: u64, total: Option<u64>) {
        let label = label.to_owned();
        let work = Work::Transfer { done, total, label };
        self.show(&object.to_string(), work);
    }

    fn finished(&self, object: &ObjectKey) {
        let id = object.to_string();
        let mut board = lock(&self.board);
        board.waiting.remove(&id);
        if board.shown.remove(&id) {
            board.sink.gone(&id);
        }
    }

    fn warn(&self, text: &str) {
        self.ui.warn(text);
    }
}

/// Shows what falls due, and ends when nothing waits.
fn run_clock<S: Sink>(board: &Mutex<Board<S>>) {
    loop {
        let next = {
            let mut board = lock(board);
            board.show_due(Instant::now());
            match board.waiting.values().map(|(due, _)| *due).min() {
                Some(next) => next,
                None => {
                    board.has_clock = false;
                    return;
                }
            }
        };
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

impl<S: Sink> Board<S> {
    fn show_due(&mut self, now: Instant) {
        let due = self.waiting.iter().filter(|(_, (due, _))| *due <= now);
        let due: Vec<String> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            if let Some((_, work)) = self.waiting.remove(&id) {
                self.sink.show(&id, &work);
                self.shown.insert(id);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a thread that panicked has told stays true.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, Name};
    use crate::output::ui::UiOptions;

    fn web() -> ObjectKey {
        ObjectKey::new(Kind::Instance, Name::new("web").unwrap())
    }

    fn lines(delay: u64, options: UiOptions) -> (Arc<dyn Reporter>, crate::output::Captured) {
        let (ui, captured) = Ui::captured(options);
        let sink = lines::Lines::new(ui.clone());
        let reporter = Delayed::new(ui, sink, Duration::from_millis(delay));
        (Arc::new(reporter), captured)
    }

    fn eventually(captured: &crate::output::Captured, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while captured.err() != text {
            assert!(
                Instant::now() < deadline,
                "{:?} is not {text:?}",
                captured.err()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_is_over_at_once_is_not_told() {
        let (reporter, captured) = lines(30_000, UiOptions::default());
        reporter.phase(&web(), "making the disk");
        reporter.phase(&web(), "defining");
        reporter.finished(&web());
        assert_eq!(captured.err(), "");
    }

    #[test]
    fn what_lasts_is_told_though_nothing_new_comes() {
        let (reporter, captured) = lines(20, UiOptions::default());
        reporter.phase(&web(), "making the disk");
        reporter.phase(&web(), "booting\x1b[2J");
        eventually(&captured, "instance/web: booting\\x1b[2J\n");
        reporter.phase(&web(), "booting\x1b[2J");
        reporter.phase(&web(), "cloud-init: final");
        assert_eq!(
            captured.err(),
            "instance/web: booting\\x1b[2J\ninstance/web: cloud-init: final\n"
        );
        reporter.finished(&web());
        reporter.phase(&web(), "stopping");
        eventually(
            &captured,
            "instance/web: booting\\x1b[2J\ninstance/web: cloud-init: final\ninstance/web: stopping\n",
        );
    }

    #[test]
    fn transfers_are_told_in_steps() {
        let (reporter, captured) = lines(0, UiOptions::default());
        let step = |n: u64| reporter.progress(&web(), "pulling d", n << 20, Some(200 << 20));
        step(0);
        eventually(&captured, "instance/web: pulling d 0% of 200Mi\n");
        for n in 1..=200 {
            step(n);
        }
        assert_eq!(captured.err().lines().count(), 11);
        assert!(
            captured
                .err()
                .ends_with("d 90% of 200Mi\ninstance/web: pulling d 100% of 200Mi\n")
        );
    }

    #[test]
    fn quiet_tells_warnings_only() {
        let (reporter, captured) = lines(
            0,
            UiOptions {
                quiet: true,
                ..UiOptions::default()
            },
        );
        reporter.phase(&web(), "booting");
        reporter.warn("no KVM here");
        thread::sleep(Duration::from_millis(50));
        assert_eq!(captured.err(), "warning: no KVM here\n");
    }

    #[test]
    fn a_pipe_gets_no_escape_sequence() {
        let (ui, captured) = Ui::captured(UiOptions::default());
        let reporter = reporter(&ui);
        reporter.phase(&web(), "booting");
        eventually(&captured, "instance/web: booting\n");
    }
}
