//! Asks targets whether they are well, all at once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::api::{BalancerProtocol, TargetHealth, UrlPath};

/// Most probes at a time.
const AT_ONCE: usize = 256;
/// The user-space network of QEMU takes a connection before the guest was asked, and ends it when the
/// guest does not want it.
const SECOND_THOUGHT: Duration = Duration::from_millis(100);
const STACK: usize = 128 << 10;

/// Who is asked, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Where the target is.
    pub at: SocketAddr,
    /// What it speaks. Nobody can tell from outside whether somebody takes UDP packets.
    pub protocol: BalancerProtocol,
    /// What it is asked for; a connection is enough where there is no path.
    pub path: Option<UrlPath>,
    /// How long it has to answer.
    pub patience: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// How the target is.
    pub health: TargetHealth,
    /// How long it took to answer well.
    pub latency: Option<Duration>,
    /// Why it is not well.
    pub error: Option<String>,
}

/// Asks all targets, some hundreds at once, and returns the answers in the same order.
pub fn probe_all(probes: &[Probe]) -> Vec<Probed> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<Option<Probed>>> = Mutex::new(vec![None; probes.len()]);
    let work = || {
        while let Some((at, probe)) = take(probes, &next) {
            let answer = ask(probe);
            let mut all = answers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = all.get_mut(at) {
                *place = Some(answer);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..probes.len().min(AT_ONCE) {
            let builder = thread::Builder::new().stack_size(STACK);
            // Without one more thread the others do its work.
            let _ = builder.spawn_scoped(scope, work);
        }
        work();
    });
    let all = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.into_iter().map(|a| a.unwrap_or_else(unknown)).collect()
}

fn take<'a>(probes: &'a [Probe], next: &AtomicUsize) -> Option<(usize, &'a Probe)> {
    let at = next.fetch_add(1, Ordering::SeqCst);
    probes.get(at).map(|probe| (at, probe))
}

const fn unknown() -> Probed {
    Probed {
        health: TargetHealth::Unknown,
        latency: None,
        error: None,
    }
}

fn ask(probe: &Probe) -> Probed {
    if probe.protocol == BalancerProtocol::Udp {
        return unknown();
    }
    let begin = Instant::now();
    let answer = connect(probe).and_then(|(stream, took)| match Asked::of(probe) {
        Asked::Nothing => stays(&stream, probe.at).map(|()| took),
        asked => request(stream, &asked, probe, begin).map(|()| begin.elapsed()),
    });
    match answer {
        Ok(latency) => Probed {
            health: TargetHealth::Healthy,
            latency: Some(latency),
            error: None,
        },
        Err(error) => Probed {
            health: TargetHealth::Unhealthy,
            latency: None,
            error: Some(error),
        },
    }
}

/// What a target is asked for once it has taken a connection.
enum Asked<'a> {
    Nothing,
    /// A page, which must be good.
    Page(&'a UrlPath),
    /// Whether it is there at all: a connection through QEMU is taken while the guest still boots.
    Anything,
}

impl<'a> Asked<'a> {
    fn of(probe: &'a Probe) -> Self {
        let is_http = probe.protocol == BalancerProtocol::Http;
        match &probe.path {
            Some(path) => Self::Page(path),
            None if is_http && probe.at.ip().is_loopback() => Self::Anything,
            None => Self::Nothing,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Page(path) => format!("GET {path}"),
            _ => "HEAD /".to_owned(),
        }
    }

    const fn takes(&self, status: u16) -> bool {
        matches!(self, Self::Anything) || matches!(status, 200..=399)
    }
}

fn connect(probe: &Probe) -> Result<(TcpStream, Duration), String> {
    let begin = Instant::now();
    let stream = TcpStream::connect_timeout(&probe.at, at_least(probe.patience));
    let stream = stream.map_err(|e| worded(&e, probe.patience))?;
    Ok((stream, begin.elapsed()))
}

/// Only a connection to the host itself may be one of QEMU's: others are not waited for.
fn stays(mut stream: &TcpStream, at: SocketAddr) -> Result<(), String> {
    if !at.ip().is_loopback() {
        return Ok(());
    }
    let limited = stream.set_read_timeout(Some(SECOND_THOUGHT));
    limited.map_err(|e| e.to_string())?;
    match stream.read(&mut [0]) {
        Ok(0) => Err("connection closed at once".to_owned()),
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
            Err("connection reset at once".to_owned())
        }
        _ => Ok(()),
    }
}

fn request(
    mut stream: TcpStream,
    asked: &Asked<'_>,
    probe: &Probe,
    begin: Instant,
) -> Result<(), String> {
    let wrong = |e: &io::Error| worded(e, probe.patience);
    let left = || at_least(probe.patience.saturating_sub(begin.elapsed()));
    let limited = stream.set_write_timeout(Some(left()));
    limited.map_err(|e| wrong(&e))?;
    let text = format!(
        "{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: kvmctl\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        asked.line(),
        probe.at
    );
    stream.write_all(text.as_bytes()).map_err(|e| wrong(&e))?;
    let mut head = Vec::new();
    let mut byte = [0; 256];
    while !head.contains(&b'\n') && head.len() < 1024 {
        if begin.elapsed() >= probe.patience {
            return Err(late(probe.patience));
        }
        stream
            .set_read_timeout(Some(left()))
            .map_err(|e| wrong(&e))?;
        match stream.read(&mut byte).map_err(|e| wrong(&e))? {
            0 => break,
            got => head.extend_from_slice(&byte[..got]),
        }
    }
    match status(&head) {
        Some(status) if asked.takes(status) => Ok(()),
        Some(other) => Err(format!("answered {other} to {}", asked.line())),
        None if head.is_empty() => Err("connection closed without an answer".to_owned()),
        None => Err("answered something that is not HTTP".to_owned()),
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(head.split(|b| *b == b'\n').next()?).into_owned();
    let rest = line.strip_prefix("HTTP/1.")?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// A time of nothing would mean for ever.
fn at_least(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}

fn late(patience: Duration) -> String {
    format!("no answer within {} ms", patience.as_millis())
}

fn worded(error: &io::Error, patience: Duration) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => late(patience),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to it: it does not run".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn server(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut buffer = [0; 512];
                    let _ = stream.read(&mut buffer);
                    let _ = stream.write_all(answer);
                });
            }
        });
        at
    }

    fn probe(at: SocketAddr, path: Option<&str>) -> Probe {
        Probe {
            at,
            protocol: BalancerProtocol::Http,
            path: path.map(|p| UrlPath::new(p).unwrap()),
            patience: Duration::from_millis(400),
        }
    }

    #[test]
    fn answers_come_in_order_and_say_what_is_wrong() {
        let good = server(b"HTTP/1.1 204 No Content\r\n\r\n");
        let bad = server(b"HTTP/1.1 503 No\r\n\r\n");
        let odd = server(b"SSH-2.0-x\r\n");
        let shut = server(b"");
        let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
        // In its backlog a connection is taken, and nobody ever reads it.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let deaf = silent.local_addr().unwrap();
        let mut probes: Vec<Probe> = [good, bad, odd, shut, nobody, deaf]
            .map(|at| probe(at, Some("/health")))
            .into();
        probes.push(Probe {
            protocol: BalancerProtocol::Udp,
            ..probe(nobody, None)
        });
        probes.push(Probe {
            protocol: BalancerProtocol::Tcp,
            ..probe(deaf, None)
        });
        probes.push(probe(bad, None));
        probes.push(probe(deaf, None));
        let begin = Instant::now();
        let answers = probe_all(&probes);
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "one after the other"
        );
        let errors: Vec<Option<&str>> = answers.iter().map(|a| a.error.as_deref()).collect();
        assert_eq!(
            errors,
            [
                None,
                Some("answered 503 to GET /health"),
                Some("answered something that is not HTTP"),
                Some("connection closed without an answer"),
                Some("connection refused"),
                Some("no answer within 400 ms"),
                None,
                None,
                None,
                Some("no answer within 400 ms"),
            ]
        );
        assert_eq!(answers[0].health, TargetHealth::Healthy);
        assert!(answers[0].latency.is_some());
        assert_eq!(answers[6].health, TargetHealth::Unknown);
        assert_eq!(answers[7].health, TargetHealth::Healthy);
    }

    #[test]
    fn five_hundred_are_asked_without_five_hundred_threads() {
        let at = server(b"HTTP/1.1 200 OK\r\n\r\n");
        let patient = Probe {
            patience: Duration::from_secs(20),
            ..probe(at, Some("/"))
        };
        let answers = probe_all(&vec![patient; 500]);
        assert!(answers.iter().all(|a| a.health == TargetHealth::Healthy));
    }
}
