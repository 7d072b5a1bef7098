//! Streams into a guest: lines from a virtio-serial port, and the serial console.
//!
//! A thread blocks in `virStreamRecv` and hands on what comes, so that nobody polls; the crate's
//! stream callbacks are not used because they keep the address of a value that moves.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use virt::connect::Connect;
use virt::stream::Stream;
use virt::sys;

use super::conn::Host;
use super::domain::Domain;
use super::error::{Cause, LibvirtError};

/// The longest line that is kept; the rest of a longer one is dropped, because a guest is not trusted.
const MAX_LINE: usize = 64 << 10;

/// What came of waiting for a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line, without its end.
    Text(String),
    /// None came in time.
    TimedOut,
    /// The other side is gone.
    Closed,
}

/// Reads lines from a port of a guest. The port is given back when it goes out of scope.
#[derive(Debug)]
pub struct LineReader {
    lines: Receiver<String>,
    _open: OpenStream,
}

/// Both directions of a serial console, given back when the last copy goes out of scope.
#[derive(Clone)]
pub struct ConsoleStream {
    stream: Arc<OpenStream>,
}

/// A stream that is ended when nobody uses it any more. One that is only dropped stays open in the
/// daemon until the connection closes, and keeps its port or console taken.
struct OpenStream(Stream);

impl OpenStream {
    /// Ends the stream; whoever waits in it is woken.
    fn end(&self) {
        // One that has ended already cannot be ended again, which is as good.
        let _ = self.0.clone().abort();
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenStream")
    }
}

impl std::fmt::Debug for ConsoleStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConsoleStream")
    }
}

impl Domain {
    /// Opens a virtio-serial port of the guest for reading. One reader at a time can have it.
    ///
    /// # Errors
    /// NotNow when the domain does not run or another has the port.
    pub fn open_channel(&self, host: &Host, name: &str) -> Result<LineReader, LibvirtError> {
        let stream = self.stream(&host.conn)?;
        self.ask("virDomainOpenChannel", "listen to the guest of", |raw| {
            raw.open_channel(Some(name), &stream, 0)
        })?;
        let (sender, lines) = sync_channel(64);
        let reading = stream.clone();
        let open = OpenStream(stream);
        std::thread::Builder::new()
            .name("guest-port".to_owned())
            .spawn(move || read_lines(&reading, &sender))
            .map_err(|e| LibvirtError::ours("start a thread", Cause::Other, e))?;
        Ok(LineReader { lines, _open: open })
    }

    /// Opens the serial console. `force` takes it from whoever has it.
    ///
    /// # Errors
    /// NotNow when the domain does not run or another has the console.
    pub fn open_console(&self, host: &Host, force: bool) -> Result<ConsoleStream, LibvirtError> {
        let stream = self.stream(&host.conn)?;
        let flags = if force {
            sys::VIR_DOMAIN_CONSOLE_FORCE
        } else {
            sys::VIR_DOMAIN_CONSOLE_SAFE
        };
        let opened = self.ask("virDomainOpenConsole", "open the console of", |raw| {
            raw.open_console(None, &stream, flags)
        });
        match opened {
            // Not every driver can tell whether somebody else has it.
            Err(e) if e.is_no_support() && !force => {
                self.ask("virDomainOpenConsole", "open the console of", |raw| {
                    raw.open_console(None, &stream, 0)
                })?;
            }
            other => other?,
        }
        Ok(ConsoleStream {
            stream: Arc::new(OpenStream(stream)),
        })
    }

    fn stream(&self, conn: &Connect) -> Result<Stream, LibvirtError> {
        Stream::new(conn, 0 as sys::virStreamFlags)
            .map_err(|e| LibvirtError::new(format!("open a stream to domain {:?}", self.name), &e))
    }
}

impl LineReader {
    /// Returns the next line, waiting until `deadline` at most.
    pub fn next(&self, deadline: Instant) -> Line {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left.max(Duration::from_millis(1))) {
            Ok(line) => Line::Text(line),
            Err(RecvTimeoutError::Timeout) => Line::TimedOut,
            Err(RecvTimeoutError::Disconnected) => Line::Closed,
        }
    }
}

fn read_lines(stream: &Stream, sender: &SyncSender<String>) {
    let mut line: Vec<u8> = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(got) = stream.recv(&mut piece) {
        let got = usize::try_from(got).unwrap_or(0);
        if got == 0 {
            return;
        }
        for &byte in &piece[..got] {
            if byte == b'\n' {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                // Nobody listens any more: the port is given back.
                if sender.send(text).is_err() {
                    return;
                }
            } else if line.len() < MAX_LINE {
                line.push(byte);
            }
        }
    }
}

impl ConsoleStream {
    /// Ends it for all copies: who waits in [`Self::receive`] is woken, and the console is free for
    /// the next.
    pub fn close(&self) {
        self.stream.end();
    }

    /// Waits for output and returns it; empty when the console is gone.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn receive(&self) -> Result<Vec<u8>, LibvirtError> {
        let mut piece = vec![0; 4096];
        let got = self
            .stream
            .0
            .recv(&mut piece)
            .map_err(|e| LibvirtError::new("read the console".to_owned(), &e))?;
        piece.truncate(usize::try_from(got).unwrap_or(0));
        Ok(piece)
    }

    /// Sends input, all of it.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn send(&self, mut bytes: &[u8]) -> Result<(), LibvirtError> {
        while !bytes.is_empty() {
            let doing = || "write to the console".to_owned();
            let sent = self
                .stream
                .0
                .send(bytes)
                .map_err(|e| LibvirtError::new(doing(), &e))?;
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => bytes = bytes.get(sent..).unwrap_or_default(),
                _ => return Err(LibvirtError::ours(doing(), Cause::Lost, "it takes no more")),
            }
        }
        Ok(())
    }
}
