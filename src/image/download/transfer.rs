//! One HTTP transfer, read by a thread of its own.
//!
//! A blocking read cannot hear an interrupt, and a server that sends one byte a minute is never
//! silent long enough for a read timeout. So a thread reads and this side waits: it looks at the
//! stop flag ten times a second and at the speed once per stall span. A thread that is left behind
//! ends at its own read timeout.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::header::{HeaderMap, HeaderName};
use ureq::{Agent, Body, http};

use super::{Options, Watch, url};
use crate::image::error::DownloadError;

const TICK: Duration = Duration::from_millis(100);
const PIECE: usize = 128 << 10;
const MAX_REDIRECTS: usize = 10;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may go better the next time.
    Passing(DownloadError),
    /// It will not.
    Final(DownloadError),
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        Self::Final(error)
    }
}

/// A request for the rest of a file, which holds only while the file is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: u64,
    pub(super) validator: String,
}

/// What the server says before the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// 200, 206 or 416.
    pub(super) status: u16,
    /// Size of the whole file.
    pub(super) total: Option<u64>,
    /// Offset of the first byte that follows.
    pub(super) from: Option<u64>,
    /// Strong `ETag` or `Last-Modified`.
    pub(super) validator: Option<String>,
}

enum Event {
    Head(Head),
    Bytes(Vec<u8>),
    End,
    Failed(Failure),
}

/// A transfer under way.
pub(super) struct Transfer {
    events: Receiver<Event>,
    url: String,
    stall: Stall,
}

impl Transfer {
    pub(super) fn start(agent: &Agent, options: &Options, url: &str, range: Option<Range>) -> Self {
        let (sender, events) = sync_channel(8);
        let request = Request {
            agent: agent.clone(),
            url: url.to_owned(),
            range,
            allow_http: options.allow_http,
        };
        thread::spawn(move || request.run(&sender));
        Self {
            events,
            url: url.to_owned(),
            stall: Stall::new(options),
        }
    }

    /// Waits for the head.
    pub(super) fn head(&mut self, watch: &Watch<'_>) -> Result<Head, Failure> {
        match self.event(watch)? {
            Event::Head(head) => Ok(head),
            Event::Failed(failure) => Err(failure),
            Event::Bytes(_) | Event::End => Err(self.lost()),
        }
    }

    /// Waits for the next bytes; `None` at the end.
    pub(super) fn next(&mut self, watch: &Watch<'_>) -> Result<Option<Vec<u8>>, Failure> {
        match self.event(watch)? {
            Event::Bytes(bytes) => Ok(Some(bytes)),
            Event::End => Ok(None),
            Event::Failed(failure) => Err(failure),
            Event::Head(_) => Err(self.lost()),
        }
    }

    fn event(&mut self, watch: &Watch<'_>) -> Result<Event, Failure> {
        loop {
            if watch.stopped() {
                let url = self.url.clone();
                return Err(Failure::Final(DownloadError::Interrupted { url }));
            }
            match self.events.recv_timeout(TICK) {
                Ok(event) => {
                    if let Event::Bytes(bytes) = &event {
                        self.stall.received += bytes.len() as u64;
                    }
                    self.stall.check(&self.url)?;
                    return Ok(event);
                }
                Err(RecvTimeoutError::Timeout) => self.stall.check(&self.url)?,
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost()),
            }
        }
    }

    fn lost(&self) -> Failure {
        network(&self.url, "the connection ended unexpectedly")
    }
}

/// Counts what comes in each span of time.
struct Stall {
    span: Duration,
    floor: u64,
    since: Instant,
    received: u64,
}

impl Stall {
    fn new(options: &Options) -> Self {
        Self {
            span: options.stall_timeout,
            floor: options.stall_floor,
            since: Instant::now(),
            received: 0,
        }
    }

    fn check(&mut self, url: &str) -> Result<(), Failure> {
        if self.since.elapsed() < self.span {
            return Ok(());
        }
        if self.received < self.floor {
            return Err(Failure::Passing(DownloadError::Stalled {
                url: url.to_owned(),
                floor: self.floor,
                seconds: self.span.as_secs(),
            }));
        }
        self.since = Instant::now();
        self.received = 0;
        Ok(())
    }
}

/// The side that reads.
struct Request {
    agent: Agent,
    url: String,
    range: Option<Range>,
    allow_http: bool,
}

impl Request {
    /// Sends what comes until the end, an error, or nobody listens any more.
    fn run(self, sender: &SyncSender<Event>) {
        let response = match self.answer() {
            Ok(response) => response,
            Err(failure) => return drop(sender.send(Event::Failed(failure))),
        };
        let head = head_of(&response);
        if sender.send(Event::Head(head)).is_err() {
            return;
        }
        let mut body = response.into_body().into_reader();
        loop {
            let mut piece = vec![0; PIECE];
            let event = match body.read(&mut piece) {
                Ok(0) => Event::End,
                Ok(count) => {
                    piece.truncate(count);
                    Event::Bytes(piece)
                }
                Err(error) => Event::Failed(network(&self.url, error)),
            };
            let last = !matches!(event, Event::Bytes(_));
            if sender.send(event).is_err() || last {
                return;
            }
        }
    }

    /// Asks, and follows redirects; ureq's own way of following would not tell us where.
    fn answer(&self) -> Result<http::Response<Body>, Failure> {
        let mut target = self.url.clone();
        for _ in 0..MAX_REDIRECTS {
            let response = self.ask(&target)?;
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return self.checked(response, status);
            }
            let location = text(response.headers(), http::header::LOCATION);
            let location = location.unwrap_or_default();
            target = url::redirect(&target, &location, self.allow_http)?;
        }
        let from = self.url.clone();
        let (to, why) = (target, "there are more than ten redirects");
        Err(Failure::Final(DownloadError::Redirect { from, to, why }))
    }

    fn ask(&self, target: &str) -> Result<http::Response<Body>, Failure> {
        let mut request = self.agent.get(target).header("Accept-Encoding", "identity");
        if let Some(range) = &self.range {
            request = request
                .header("Range", format!("bytes={}-", range.from))
                .header("If-Range", &range.validator);
        }
        request.call().map_err(|error| network(&self.url, error))
    }

    fn checked(
        &self,
        response: http::Response<Body>,
        status: u16,
    ) -> Result<http::Response<Body>, Failure> {
        let url = self.url.clone();
        match status {
            200 => Ok(response),
            206 | 416 if self.range.is_some() => Ok(response),
            404 | 410 => Err(Failure::Final(DownloadError::NotFound { url, status })),
            408 | 425 | 429 | 500..=599 => {
                Err(Failure::Passing(DownloadError::Status { url, status }))
            }
            _ => Err(Failure::Final(DownloadError::Status { url, status })),
        }
    }
}

fn network(url: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    let url = url.to_owned();
    let source = source.into();
    Failure::Passing(DownloadError::Network { url, source })
}

fn head_of(response: &http::Response<Body>) -> Head {
    use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED};
    let headers = response.headers();
    let status = response.status().as_u16();
    let (from, total) = if status == 200 {
        let length = text(headers, CONTENT_LENGTH).and_then(|l| l.parse().ok());
        (Some(0), length)
    } else {
        text(headers, CONTENT_RANGE).map_or((None, None), |r| content_range(&r))
    };
    let strong = |tag: &String| !tag.starts_with("W/");
    let validator = text(headers, ETAG).filter(strong);
    Head {
        status,
        total,
        from,
        validator: validator.or_else(|| text(headers, LAST_MODIFIED)),
    }
}

/// Reads `bytes FROM-TO/TOTAL` or, with status 416, `bytes */TOTAL`.
fn content_range(value: &str) -> (Option<u64>, Option<u64>) {
    let Some((range, total)) = value.strip_prefix("bytes ").and_then(|v| v.split_once('/')) else {
        return (None, None);
    };
    let from = range
        .split_once('-')
        .and_then(|(from, _)| from.parse().ok());
    (from, total.parse().ok())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
