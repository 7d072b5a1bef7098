//! Clients that ask all the time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::rig::HOST;

/// How a client uses its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// One for each request.
    Fresh,
    /// As long as the server keeps it open.
    Kept,
}

/// What came of the requests.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) answered: u64,
    /// Connections that were closed after a request was sent and before a byte of its answer came.
    pub(super) cut: u64,
    pub(super) failed: Vec<String>,
}

/// Clients that go on until they are told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Outcome>>,
}

impl Load {
    pub(super) fn start(port: u16, style: Style, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let client = |_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || run(port, style, &stop, &answered))
        };
        Self {
            clients: (0..clients).map(client).collect(),
            stop,
            answered,
        }
    }

    /// Waits until so many were answered, for a bounded time.
    pub(super) fn wait_for(&self, count: u64) {
        for _ in 0..1200 {
            if self.answered.load(Ordering::SeqCst) >= count {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!(
            "only {} of {count} requests",
            self.answered.load(Ordering::SeqCst)
        );
    }

    pub(super) fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Outcome::default();
        for client in self.clients {
            let one = client.join().unwrap();
            all.answered += one.answered;
            all.cut += one.cut;
            all.failed.extend(one.failed);
        }
        all
    }
}

fn run(port: u16, style: Style, stop: &AtomicBool, answered: &AtomicU64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        let mut open = match connection.take().map_or_else(|| connect(port), Ok) {
            Ok(open) => open,
            Err(e) => {
                outcome.failed.push(format!("connect: {e}"));
                continue;
            }
        };
        match ask(&mut open, style) {
            Ok(Answer::Good { keep }) => {
                outcome.answered += 1;
                answered.fetch_add(1, Ordering::SeqCst);
                connection = keep.then_some(open);
            }
            Ok(Answer::Bad(status)) => outcome.failed.push(format!("status {status}")),
            Err(_) if open.1 == 0 => outcome.cut += 1,
            Err(e) => outcome.failed.push(format!("{e} after {} bytes", open.1)),
        }
    }
    outcome
}

enum Answer {
    Good { keep: bool },
    Bad(u16),
}

/// A connection, and how much of the present answer has come.
struct Open(BufReader<TcpStream>, usize);

fn connect(port: u16) -> std::io::Result<Open> {
    let stream = TcpStream::connect((HOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(Open(BufReader::new(stream), 0))
}

fn ask(open: &mut Open, style: Style) -> std::io::Result<Answer> {
    open.1 = 0;
    let how = if style == Style::Fresh {
        "close"
    } else {
        "keep-alive"
    };
    let text = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: {how}\r\n\r\n");
    open.0.get_mut().write_all(text.as_bytes())?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let got = open.0.read_line(&mut head)?;
        open.1 += got;
        if got == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower
        .split_once("content-length: ")
        .and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    open.0.read_exact(&mut body)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    if status != 200 || body.len() != 1 {
        return Ok(Answer::Bad(status));
    }
    Ok(Answer::Good {
        keep: style == Style::Kept && !lower.contains("connection: close"),
    })
}
