//! The caller's terminal in raw mode, for the serial console.

use std::io::{self, Read, Write};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// Ctrl-]: leaves the console, as in telnet and virsh.
const ESCAPE: u8 = 0x1d;

/// A terminal in raw mode; it is put back when this goes out of scope.
pub struct Terminal {
    before: Termios,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminal")
    }
}

impl Terminal {
    /// Returns whether standard input is a terminal.
    pub fn is_there() -> bool {
        isatty(io::stdin())
    }

    /// Puts the terminal into raw mode.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn raw() -> io::Result<Self> {
        let stdin = io::stdin();
        if !Self::is_there() {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "standard input is no terminal",
            ));
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }

    /// Hands on what is typed until Ctrl-] or until `take` has had enough.
    ///
    /// # Errors
    /// When reading fails.
    pub fn read_until_escape(mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let mut typed = [0; 256];
        loop {
            let got = io::stdin().lock().read(&mut typed)?;
            let bytes = &typed[..got];
            match bytes.iter().position(|b| *b == ESCAPE) {
                Some(at) => {
                    take(&bytes[..at]);
                    return Ok(());
                }
                None if got == 0 || !take(bytes) => return Ok(()),
                None => {}
            }
        }
    }

    /// Writes what `next` gives to standard output until it gives nothing.
    ///
    /// # Errors
    /// When writing fails.
    pub fn copy_out(mut next: impl FnMut() -> Option<Vec<u8>>) -> io::Result<()> {
        let mut out = io::stdout();
        while let Some(bytes) = next() {
            out.write_all(&bytes)?;
            out.flush()?;
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing better can be done with a terminal that does not take its settings back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
