//! Progress as spinners and bars, for a person at a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Sink, Work};
use crate::output::escape;
use crate::output::ui::Ui;

const SPINNER: &str = "{spinner} {wide_msg} {elapsed}";
// A narrow terminal cuts the words, and not the figures.
const BAR: &str =
    "{wide_msg} [{bar:16}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} ETA {eta}";
const COUNTER: &str = "{spinner} {wide_msg} {binary_bytes} {binary_bytes_per_sec}";

/// One line on the terminal for everything that is under way.
pub(super) struct Bars {
    all: MultiProgress,
    lines: BTreeMap<String, ProgressBar>,
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

    fn line(&mut self, id: &str) -> &ProgressBar {
        self.lines.entry(id.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        })
    }
}

impl Sink for Bars {
    fn show(&mut self, id: &str, work: &Work) {
        let line = self.line(id);
        match work {
            Work::Phase(text) => {
                line.set_style(style(SPINNER));
                line.set_message(escape::line(&format!("{id}: {text}")).into_owned());
            }
            Work::Transfer { done, total, label } => {
                let message = escape::line(&format!("{id}: {label}")).into_owned();
                let another = line.message() != message;
                if another {
                    // The rate of what was before says nothing.
                    line.reset();
                }
                if let Some(total) = total {
                    line.set_length(*total);
                }
                line.set_position(*done);
                if another {
                    // Nor does it what was there when it was first looked at.
                    line.reset_eta();
                    line.set_style(style(if total.is_some() { BAR } else { COUNTER }));
                    line.set_message(message);
                }
            }
        }
    }

    fn gone(&mut self, id: &str) {
        if let Some(line) = self.lines.remove(id) {
            line.finish_and_clear();
            self.all.remove(&line);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for line in self.lines.values() {
            line.finish_and_clear();
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
