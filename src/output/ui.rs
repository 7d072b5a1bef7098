//! The terminal: two streams, what may be written to each, and how.
//!
//! Data goes to standard output, the story to standard error. Each stream is judged by itself, so that
//! `kvmctl get instances | less` still has coloured errors and an uncoloured table.

mod capture;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::MultiProgress;

use super::style::{Paint, Role};
use super::{error, escape};
use crate::error::{Error, Kind, Result};
use crate::shell::shell_words;

pub use capture::Captured;

/// What the command line says of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UiOptions {
    /// `--no-color`.
    pub no_color: bool,
    /// `--quiet`: neither progress nor status lines; warnings and errors still.
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// One stream and what is known of it.
pub struct Output {
    writer: Box<dyn Write + Send>,
    tty: bool,
    paint: Paint,
}

impl Output {
    /// Wraps a writer; `tty` is whether a person looks at it.
    pub fn new(writer: Box<dyn Write + Send>, tty: bool, paint: Paint) -> Self {
        Self { writer, tty, paint }
    }
}

/// Where everything is printed. Clones share the streams; threads may print at once.
#[derive(Clone)]
pub struct Ui {
    shared: Arc<Shared>,
}

struct Shared {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    bars: Mutex<Option<MultiProgress>>,
    tty_out: bool,
    tty_err: bool,
    paint_out: Paint,
    paint_err: Paint,
    options: UiOptions,
    size: Option<(usize, usize)>,
    /// What was asked for, as a shell takes it.
    command: Option<String>,
}

impl fmt::Debug for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ui")
            .field("tty_out", &self.shared.tty_out)
            .field("tty_err", &self.shared.tty_err)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Ui {
    /// Opens the process's own streams.
    pub fn stdio(options: UiOptions) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let (tty_out, tty_err) = (out.is_terminal(), err.is_terminal());
        let mut ui = Shared::new(
            Output::new(Box::new(out), tty_out, paint_for(tty_out, options)),
            Output::new(Box::new(err), tty_err, paint_for(tty_err, options)),
            options,
        );
        if tty_out || tty_err {
            ui.size = terminal_size();
        }
        let args: Vec<_> = std::env::args_os().skip(1).collect();
        ui.command = Some(format!("kvmctl {}", shell_words(&args)));
        Self {
            shared: Arc::new(ui),
        }
    }

    /// Prints to the given streams.
    pub fn new(out: Output, err: Output, options: UiOptions) -> Self {
        Self {
            shared: Arc::new(Shared::new(out, err, options)),
        }
    }

    /// Writes data to standard output as it is; text from outside must have been escaped.
    ///
    /// # Errors
    /// [`Kind::BrokenPipe`] when the reader is gone, else [`Kind::Failed`] (a full disk, say).
    pub fn out(&self, text: &str) -> Result<()> {
        self.out_bytes(text.as_bytes())
    }

    /// Writes a line for people and scripts to standard output, with what a terminal would obey escaped.
    ///
    /// # Errors
    /// As [`Ui::out`].
    pub fn out_line(&self, text: &str) -> Result<()> {
        self.out(&format!("{}\n", escape::text(text)))
    }

    /// As [`Ui::out_line`], for lines that are known together: they are written at once.
    ///
    /// # Errors
    /// As [`Ui::out`].
    pub fn out_lines(&self, lines: impl IntoIterator<Item = String>) -> Result<()> {
        let lines = lines.into_iter();
        let text: String = lines.map(|l| format!("{}\n", escape::text(&l))).collect();
        match text.is_empty() {
            true => Ok(()),
            false => self.out(&text),
        }
    }

    /// Writes bytes to standard output as they are (a command's own output).
    ///
    /// # Errors
    /// As [`Ui::out`].
    pub fn out_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.while_bars_stand_aside(|| write_now(&self.shared.out, bytes))
            .map_err(|e| write_error(&e, "standard output"))
    }

    /// Flushes both streams. Every write is flushed at once: this only asks again before the end.
    ///
    /// # Errors
    /// As [`Ui::out`].
    pub fn flush(&self) -> Result<()> {
        self.err_bytes(b"")?;
        self.out_bytes(b"")
    }

    /// Writes text from outside to standard output: untouched into a pipe, escaped on a terminal.
    ///
    /// # Errors
    /// As [`Ui::out`].
    pub fn out_foreign(&self, text: &str) -> Result<()> {
        if self.shared.tty_out {
            self.out(&escape::text(text))
        } else {
            self.out(text)
        }
    }

    /// Writes bytes to standard error as they are (a command's own output).
    ///
    /// # Errors
    /// As [`Ui::out`].
    pub fn err_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.while_bars_stand_aside(|| write_now(&self.shared.err, bytes))
            .map_err(|e| write_error(&e, "standard error"))
    }

    /// Tells what was done or is being done; silent with `--quiet`.
    pub fn status(&self, text: &str) {
        if !self.shared.options.quiet {
            self.err_line(&escape::text(text));
        }
    }

    /// Tells a detail; only with at least `level` times `-v`.
    pub fn verbose(&self, level: u8, text: &str) {
        if self.shared.options.verbosity >= level {
            let text = escape::text(text);
            self.err_line(&self.paint_err().paint(Role::Dim, &text));
        }
    }

    /// Warns: `warning: …`.
    pub fn warn(&self, text: &str) {
        let label = self.paint_err().paint(Role::Warning, "warning:");
        self.err_line(&format!(
            "{label} {}",
            error::indented(&escape::text(text), 2)
        ));
    }

    /// Advises: `hint: …`.
    pub fn hint(&self, text: &str) {
        let label = self.paint_err().paint(Role::Hint, "hint:");
        self.err_line(&format!(
            "{label} {}",
            error::indented(&escape::text(text), 2)
        ));
    }

    /// Prints an error with its causes and hints, unless it is one to be silent about.
    pub fn error(&self, error: &Error) {
        if !matches!(error.kind(), Kind::BrokenPipe | Kind::Remote(_)) {
            let command = self.shared.command.as_deref();
            self.err_raw(&error::render(error, command, self.paint_err()));
        }
    }

    /// Returns whether a person looks at standard output.
    pub fn is_tty_out(&self) -> bool {
        self.shared.tty_out
    }

    /// Returns whether a person looks at standard error.
    pub fn is_tty_err(&self) -> bool {
        self.shared.tty_err
    }

    /// Returns how to colour standard output.
    pub fn paint_out(&self) -> Paint {
        self.shared.paint_out
    }

    /// Returns how to colour standard error.
    pub fn paint_err(&self) -> Paint {
        self.shared.paint_err
    }

    /// Returns whether `--quiet` was given.
    pub fn is_quiet(&self) -> bool {
        self.shared.options.quiet
    }

    /// Returns how often `-v` was given.
    pub fn verbosity(&self) -> u8 {
        self.shared.options.verbosity
    }

    /// Returns the width of the terminal in columns; 80 where it cannot be told.
    pub fn width(&self) -> usize {
        self.shared.size.map_or(80, |(columns, _)| columns)
    }

    /// Returns the height of the terminal in lines; 24 where it cannot be told.
    pub fn height(&self) -> usize {
        self.shared.size.map_or(24, |(_, lines)| lines)
    }

    /// Returns a writer on standard error that escapes and that progress bars make room for.
    pub fn err_writer(&self) -> ErrWriter {
        ErrWriter { ui: self.clone() }
    }

    /// Runs `f`, which uses the terminal itself (an editor, a prompt), with progress bars hidden.
    pub fn while_bars_stand_aside<R>(&self, f: impl FnOnce() -> R) -> R {
        let bars = lock(&self.shared.bars).clone();
        match bars {
            Some(bars) => bars.suspend(f),
            None => f(),
        }
    }

    /// Makes every later write step around the given bars.
    pub(super) fn attach(&self, bars: MultiProgress) {
        *lock(&self.shared.bars) = Some(bars);
    }

    fn err_line(&self, text: &str) {
        self.err_raw(&format!("{text}\n"));
    }

    /// A standard error that cannot be written to leaves nobody to tell.
    fn err_raw(&self, text: &str) {
        let _ = self.err_bytes(text.as_bytes());
    }
}

impl Shared {
    fn new(out: Output, err: Output, options: UiOptions) -> Self {
        Self {
            tty_out: out.tty,
            tty_err: err.tty,
            paint_out: out.paint,
            paint_err: err.paint,
            out: Mutex::new(out.writer),
            err: Mutex::new(err.writer),
            bars: Mutex::new(None),
            options,
            size: None,
            command: None,
        }
    }
}

/// Standard error as `std::io::Write`, for text of the program's own (`tracing`): it is escaped.
#[derive(Debug)]
pub struct ErrWriter {
    ui: Ui,
}

impl Write for ErrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = escape::text(&text);
        self.ui
            .while_bars_stand_aside(|| write_now(&self.ui.shared.err, text.as_bytes()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked while printing leaves a writer that is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes and flushes: an error that shows only when a buffer is dropped would be lost.
fn write_now(stream: &Mutex<Box<dyn Write + Send>>, bytes: &[u8]) -> io::Result<()> {
    let mut stream = lock(stream);
    stream.write_all(bytes)?;
    stream.flush()
}

fn write_error(error: &io::Error, stream: &str) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Error::new(
            Kind::BrokenPipe,
            format!("the reader of {stream} went away"),
        );
    }
    Error::failed(format!("cannot write to {stream}: {error}"))
}

fn paint_for(tty: bool, options: UiOptions) -> Paint {
    let set = |name| std::env::var_os(name).unwrap_or_default();
    colour(
        tty,
        options.no_color,
        set("NO_COLOR").is_empty(),
        set("TERM") != "dumb",
    )
}

/// clig.dev: colour only on a terminal, with `NO_COLOR` empty or unset, `TERM` not `dumb`, no `--no-color`.
fn colour(tty: bool, no_color_flag: bool, no_color_empty: bool, able: bool) -> Paint {
    if tty && !no_color_flag && no_color_empty && able {
        Paint::Ansi
    } else {
        Paint::Off
    }
}

fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout())
        .or_else(|_| rustix::termios::tcgetwinsize(rustix::stdio::stderr()))
        .ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

#[cfg(test)]
mod tests;
