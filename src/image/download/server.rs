//! A small HTTP server that misbehaves as told, on a thread of the test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does with the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Serves the file, and ranges of it.
    Serve,
    /// Announces all and closes after this many bytes.
    CutAfter(usize),
    /// Serves all, whatever range is asked for.
    IgnoreRange,
    /// Announces all, sends this many bytes, then one byte every 50 ms.
    DripAfter(usize),
    /// Sends no length, only the end of the connection.
    NoLength,
    /// Answers 206 with another range than the one asked for.
    WrongRange,
    /// Answers with this status.
    Status(u16),
    /// Redirects here.
    Redirect(&'static str),
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
}

#[derive(Debug)]
struct State {
    files: HashMap<String, (Vec<u8>, Option<String>)>,
    acts: Vec<Act>,
    seen: Vec<Seen>,
}

/// The server; its thread ends with the test process.
#[derive(Debug)]
pub(super) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            files: HashMap::new(),
            acts: Vec::new(),
            seen: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Publishes a file, with an ETag if one is given.
    pub(super) fn put(&self, path: &str, bytes: &[u8], etag: Option<&str>) {
        let file = (bytes.to_vec(), etag.map(str::to_owned));
        self.state
            .lock()
            .unwrap()
            .files
            .insert(path.to_owned(), file);
    }

    /// Says what to do with the next requests; after these it serves.
    pub(super) fn next(&self, acts: &[Act]) {
        self.state.lock().unwrap().acts = acts.iter().rev().copied().collect();
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }
}

fn answer(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(seen) = read_request(&mut reader) else {
        return;
    };
    let (act, file) = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen.clone());
        let act = state.acts.pop().unwrap_or(Act::Serve);
        (act, state.files.get(&seen.path).cloned())
    };
    // The client may hang up; that is its right.
    let _ = respond(stream, act, &seen, file);
}

fn read_request(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some(Seen { path, headers })
}

fn respond(
    mut out: TcpStream,
    act: Act,
    seen: &Seen,
    file: Option<(Vec<u8>, Option<String>)>,
) -> std::io::Result<()> {
    if let Act::Redirect(to) = act {
        return write!(
            out,
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let refusal = match (act, &file) {
        (Act::Status(code), _) => Some(code),
        (_, None) => Some(404),
        _ => None,
    };
    if let Some(code) = refusal {
        return write!(
            out,
            "HTTP/1.1 {code} No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        );
    }
    let (bytes, etag) = file.unwrap_or_default();
    let from = match act {
        Act::IgnoreRange | Act::NoLength => 0,
        Act::WrongRange => 1,
        _ => wanted(seen, etag.as_deref()),
    };
    if from >= bytes.len() && from > 0 {
        let total = bytes.len();
        return write!(
            out,
            "HTTP/1.1 416 No\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    head(&mut out, act, from, bytes.len(), etag.as_deref())?;
    body(&mut out, act, &bytes[from..])
}

/// Returns where the wanted range begins, if the state it holds for is ours.
fn wanted(seen: &Seen, etag: Option<&str>) -> usize {
    let same = seen.headers.get("if-range").map(String::as_str) == etag;
    let range = seen.headers.get("range").filter(|_| same);
    let from = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    from.unwrap_or(0)
}

fn head(
    out: &mut TcpStream,
    act: Act,
    from: usize,
    total: usize,
    etag: Option<&str>,
) -> std::io::Result<()> {
    if from > 0 {
        write!(
            out,
            "HTTP/1.1 206 Partial\r\nContent-Range: bytes {from}-{}/{total}\r\n",
            total - 1
        )?;
    } else {
        write!(out, "HTTP/1.1 200 OK\r\n")?;
    }
    if let Some(etag) = etag {
        write!(out, "ETag: {etag}\r\n")?;
    }
    if act != Act::NoLength {
        write!(out, "Content-Length: {}\r\n", total - from)?;
    }
    write!(out, "Connection: close\r\n\r\n")
}

fn body(out: &mut TcpStream, act: Act, bytes: &[u8]) -> std::io::Result<()> {
    match act {
        Act::CutAfter(count) => out.write_all(&bytes[..count.min(bytes.len())]),
        Act::DripAfter(count) => {
            let (now, later) = bytes.split_at(count.min(bytes.len()));
            out.write_all(now)?;
            for byte in later {
                thread::sleep(Duration::from_millis(50));
                out.write_all(&[*byte])?;
                out.flush()?;
            }
            Ok(())
        }
        _ => out.write_all(bytes),
    }
}
