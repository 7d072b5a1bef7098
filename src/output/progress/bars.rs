//! Progress as spinners and bars, for a person at a terminal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Sink, Work};
use crate::output::ui::Ui;
use crate::output::{age, escape};

const SPINNER: &str = "{spinner} {wide_msg} {elapsed}";
// A narrow terminal cuts the words, and not the figures.
const BAR: &str = "{wide_msg} [{bar:16}] {binary_bytes}/{binary_total_bytes}{prefix}";
const COUNTER: &str = "{spinner} {wide_msg} {binary_bytes}{prefix}";

/// Before this, a rate is noise.
const SETTLED: Duration = Duration::from_millis(500);

/// One line on the terminal for everything that is under way.
pub(super) struct Bars {
    all: MultiProgress,
    lines: BTreeMap<String, Line>,
}

/// A line, and when and where its present work was first seen: what had been done by then was done in a
/// time that nobody knows.
struct Line {
    bar: ProgressBar,
    since: Instant,
    from: u64,
    /// What is moved; nothing while nothing is.
    moves: Option<String>,
}

impl Line {
    /// Words how fast it is, and how long it will take yet; nothing before that can be told.
    fn pace(&self, done: u64, total: Option<u64>) -> String {
        let (moved, seconds) = (done.saturating_sub(self.from), self.since.elapsed());
        if moved == 0 || seconds < SETTLED {
            return String::new();
        }
        let rate = moved as f64 / seconds.as_secs_f64();
        let left = total.map_or(0, |total| total.saturating_sub(done)) as f64 / rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "for people"
        )]
        let (rate, left) = (BinaryBytes(rate as u64), left.ceil() as i64);
        match total {
            None => format!(" {rate}/s"),
            Some(_) => format!(" {rate}/s ETA {}", age::human(left)),
        }
    }
}

impl Bars {
    pub(super) fn on_stderr(ui: &Ui) -> Self {
        let bars = Self::on(ProgressDrawTarget::stderr());
        ui.attach(bars.all.clone());
        bars
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Self {
            all: MultiProgress::with_draw_target(target),
            lines: BTreeMap::new(),
        }
    }

    fn line(&mut self, id: &str) -> &mut Line {
        self.lines.entry(id.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            Line {
                bar,
                since: Instant::now(),
                from: 0,
                moves: None,
            }
        })
    }
}

impl Sink for Bars {
    fn show(&mut self, id: &str, work: &Work) {
        let line = self.line(id);
        match work {
            Work::Phase(text) => {
                line.moves = None;
                line.bar.set_style(style(SPINNER));
                let message = escape::line(&format!("{id}: {text}")).into_owned();
                line.bar.set_message(message);
            }
            Work::Transfer { done, total, label } => {
                let message = escape::line(&format!("{id}: {label}")).into_owned();
                if let Some(total) = total {
                    line.bar.set_length(*total);
                }
                line.bar.set_position(*done);
                if line.moves.as_deref() != Some(label) {
                    line.bar
                        .set_style(style(if total.is_some() { BAR } else { COUNTER }));
                    line.bar.set_message(message);
                    (line.since, line.from) = (Instant::now(), *done);
                    line.moves = Some(label.clone());
                }
                line.bar.set_prefix(line.pace(*done, *total));
            }
        }
    }

    fn gone(&mut self, id: &str) {
        if let Some(line) = self.lines.remove(id) {
            line.bar.finish_and_clear();
            self.all.remove(&line.bar);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for line in self.lines.values() {
            line.bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    // The templates above are well-formed: a test sets each.
    style.unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn add(&self, text: &str) {
            self.0.lock().unwrap().push_str(text);
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            100
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, s: &str) -> io::Result<()> {
            self.add(s);
            self.add("\n");
            Ok(())
        }
        fn write_str(&self, s: &str) -> io::Result<()> {
            self.add(s);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_template_is_well_formed() {
        for template in [SPINNER, BAR, COUNTER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_screen_shows_phases_and_transfers() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let mut bars = Bars::on(target);
        bars.show("instance/web", &Work::Phase("booting\x1b[2J".into()));
        let transfer = |done| Work::Transfer {
            done,
            total: Some(4 << 20),
            label: "pulling debian-12".into(),
        };
        bars.show("image/d", &transfer(1 << 20));
        std::thread::sleep(Duration::from_millis(250));
        let seen = screen.0.lock().unwrap().clone();
        assert!(seen.contains("instance/web: booting\\x1b[2J"), "{seen:?}");
        assert!(
            seen.contains("image/d: pulling debian-12 ") && seen.contains("] 1.00 MiB/4.00 MiB"),
            "{seen:?}"
        );
        assert!(!seen.contains('\x1b'));
        bars.gone("instance/web");
        bars.gone("image/d");
        assert!(bars.lines.is_empty());
    }
}
