//! `-v`: every libvirt call and host command as it happens; `-vv` and `-vvv` more of it.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::ui::Ui;

/// What of the crate is traced: its outsides by name, the rest under its own.
const TARGETS: [&str; 4] = ["host", "libvirt", "store", "kvmctl"];

/// Sends what the other modules trace to standard error, as far as `-v` was given. Only the first call
/// of a process counts.
pub fn trace(ui: &Ui) {
    let level = match ui.verbosity() {
        0 => return,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let writer = ui.clone();
    let lines = fmt::layer()
        .with_ansi(false)
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_writer(move || writer.err_writer());
    let targets = Targets::new().with_targets(TARGETS.map(|target| (target, level)));
    // Somebody (a test) may have set a subscriber before.
    let _ = tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::ui::UiOptions;

    #[test]
    fn verbose_runs_print_what_is_traced() {
        let options = UiOptions {
            verbosity: 1,
            ..UiOptions::default()
        };
        let (ui, captured) = Ui::captured(options);
        trace(&ui);
        tracing::info!(target: "host", "qemu-img create \x1b[2J");
        tracing::debug!(target: "host", "detail");
        tracing::info!(target: "rustls", "noise");
        assert_eq!(captured.err(), "qemu-img create \\x1b[2J\n");
    }
}
