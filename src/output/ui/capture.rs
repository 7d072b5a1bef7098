//! A [`Ui`] whose streams are kept in memory, for tests of whatever prints.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::{Output, Ui, UiOptions, lock};
use crate::output::style::Paint;

impl Ui {
    /// Keeps what is printed in memory, without colour and as if piped.
    pub fn captured(options: UiOptions) -> (Self, Captured) {
        let captured = Captured::default();
        let stream = |buffer: &Buffer| Output::new(Box::new(buffer.clone()), false, Paint::Off);
        let ui = Self::new(stream(&captured.out), stream(&captured.err), options);
        (ui, captured)
    }

    /// Keeps what is printed in memory, as if a person looked at a colour terminal.
    pub fn captured_terminal(options: UiOptions) -> (Self, Captured) {
        let captured = Captured::default();
        let paint = if options.no_color {
            Paint::Off
        } else {
            Paint::Ansi
        };
        let stream = |buffer: &Buffer| Output::new(Box::new(buffer.clone()), true, paint);
        let ui = Self::new(stream(&captured.out), stream(&captured.err), options);
        (ui, captured)
    }
}

/// What was printed to a [`Ui::captured`].
#[derive(Debug, Clone, Default)]
pub struct Captured {
    out: Buffer,
    err: Buffer,
}

impl Captured {
    /// Returns standard output so far.
    pub fn out(&self) -> String {
        self.out.text()
    }

    /// Returns standard error so far.
    pub fn err(&self) -> String {
        self.err.text()
    }
}

#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
