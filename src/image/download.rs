//! Brings images here: resumes after a cut, verifies while it streams, and trusts no redirect.
//!
//! The caller gives a directory that only it can write to (0700). A file under its final name is
//! whole and verified; what is still coming is `NAME.part`, with `NAME.part.json` saying of which
//! state of which URL it is a part.

mod lock;
mod part;
mod sums;
mod transfer;
mod url;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use sums::find_sum;

use super::catalogue::{ChecksumSource, Choice, Mirrors};
use super::decompress::unpack;
use super::digest::{Checksum, Sha256};
use super::error::DownloadError;
use part::Part;
use transfer::{Failure, Transfer};

/// How downloads behave.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether plain http is accepted, also in redirects.
    pub allow_http: bool,
    /// Time for resolving, connecting and TLS.
    pub connect_timeout: Duration,
    /// In each span of this length at least `stall_floor` bytes must come.
    pub stall_timeout: Duration,
    /// The least that counts as moving, in bytes.
    pub stall_floor: u64,
    /// How often a failed attempt is repeated when it brought nothing.
    pub retries: u32,
    /// Pause before the first repetition; it doubles each time, up to 30 s.
    pub backoff: Duration,
    /// The largest file that is accepted, in bytes.
    pub max_size: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_http: false,
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(30),
            stall_floor: 1024,
            retries: 4,
            backoff: Duration::from_secs(1),
            max_size: 64 << 30,
        }
    }
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here, those of an earlier run among them.
    pub received: u64,
    /// All bytes, when the server says.
    pub total: Option<u64>,
    /// Bytes that an earlier run had brought.
    pub resumed: u64,
}

/// Who hears of progress and who may end it.
pub struct Watch<'a> {
    /// When set, the download stops; what has come is kept.
    pub stop: &'a AtomicBool,
    /// Hears of every piece.
    pub progress: &'a mut dyn FnMut(Progress),
}

impl Watch<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps unless stopped.
    fn pause(&self, length: Duration) {
        let end = Instant::now() + length;
        while !self.stopped() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50).min(length));
        }
    }
}

/// A file that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The publisher's sum that it was verified against, if one was known.
    pub verified: Option<Checksum>,
}

/// An image that has come and, where it was packed, is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub path: PathBuf,
    /// SHA-256 of the image, unless it was unpacked and is still to be hashed.
    pub sha256: Option<Sha256>,
    /// The URL it came from.
    pub url: String,
    /// The publisher's sum of what was downloaded.
    pub verified: Checksum,
}

/// Downloads files.
#[derive(Debug, Clone)]
pub struct Fetcher {
    agent: ureq::Agent,
    options: Options,
}

const MAX_BACKOFF: Duration = Duration::from_secs(30);
const MAX_SUMS: u64 = 1 << 20;
/// An attempt that brings less counts as one that brought nothing.
const FRUITFUL: u64 = 64 << 10;

impl Fetcher {
    /// Makes a fetcher; a proxy is taken from the environment (`https_proxy`…).
    pub fn new(options: Options) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(options.connect_timeout))
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_recv_response(Some(options.stall_timeout * 2))
            .timeout_per_read(Some(options.stall_timeout * 2))
            .user_agent(concat!("kvmctl/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = config.new_agent();
        Self { agent, options }
    }

    /// Downloads `url` to `dest`, going on where an earlier attempt stopped.
    ///
    /// A second process that wants the same `dest` waits for the first and takes its result.
    ///
    /// # Errors
    /// [`DownloadError`]; after `WrongSum`, `TooLarge` and `NoSpace` nothing is left behind, after
    /// the others what has come stays for the next run.
    pub fn fetch(
        &self,
        url: &str,
        dest: &Path,
        expected: Option<&Checksum>,
        watch: &mut Watch<'_>,
    ) -> Result<Downloaded, DownloadError> {
        url::check(url, self.options.allow_http)?;
        let mut part = Part::open(url, dest, expected, watch)?;
        if let Some(there) = part.finished_by_another()? {
            return Ok(there);
        }
        self.fill(url, &mut part, watch)?;
        if part.was_resumed() && !part.sum_is_right() {
            // Two states of a moving URL were joined; the whole of one is fetched once.
            part.restart(None, None)?;
            self.fill(url, &mut part, watch)?;
        }
        part.finish(url)
    }

    /// Repeats attempts until the part is whole.
    fn fill(&self, url: &str, part: &mut Part, watch: &mut Watch<'_>) -> Result<(), DownloadError> {
        let mut fruitless = 0;
        loop {
            let before = part.received();
            let failure = match self.attempt(url, part, watch) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let brought = part.received().saturating_sub(before);
            fruitless = if brought >= FRUITFUL {
                0
            } else {
                fruitless + 1
            };
            match failure {
                Failure::Final(error) => return Err(part.give_up(error)),
                Failure::Passing(error) if fruitless > self.options.retries => return Err(error),
                Failure::Passing(error) => {
                    tracing::info!(target: "download", "{error}; trying again");
                    let factor = 2u32.saturating_pow(fruitless.saturating_sub(1));
                    watch.pause(self.options.backoff.saturating_mul(factor).min(MAX_BACKOFF));
                }
            }
        }
    }

    fn attempt(&self, url: &str, part: &mut Part, watch: &mut Watch<'_>) -> Result<(), Failure> {
        let range = part.range();
        let mut transfer = Transfer::start(&self.agent, &self.options, url, range);
        let head = transfer.head(watch)?;
        let Some(()) = part.begin(url, &head, self.options.max_size)? else {
            return Ok(());
        };
        while let Some(bytes) = transfer.next(watch)? {
            part.append(url, &bytes, self.options.max_size)?;
            (watch.progress)(part.progress());
        }
        part.check_whole(url)
    }

    /// Downloads a small text.
    /// Fetches a small text, at most 1 MiB.
    ///
    /// # Errors
    /// As [`Fetcher::fetch`].
    pub fn text(&self, url: &str, watch: &mut Watch<'_>) -> Result<String, DownloadError> {
        url::check(url, self.options.allow_http)?;
        let mut failed = 0;
        loop {
            match self.text_once(url, watch) {
                Ok(text) => return Ok(text),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) if failed >= self.options.retries => {
                    return Err(error);
                }
                Err(Failure::Passing(_)) => {
                    watch.pause(self.options.backoff.saturating_mul(1 << failed.min(5)));
                    failed += 1;
                }
            }
        }
    }

    fn text_once(&self, url: &str, watch: &Watch<'_>) -> Result<String, Failure> {
        let mut transfer = Transfer::start(&self.agent, &self.options, url, None);
        transfer.head(watch)?;
        let mut bytes = Vec::new();
        while let Some(piece) = transfer.next(watch)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > MAX_SUMS {
                let url = url.to_owned();
                let limit = MAX_SUMS;
                return Err(Failure::Final(DownloadError::TooLarge { url, limit }));
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the sum that the publisher of `image_url` states.
    ///
    /// # Errors
    /// [`DownloadError::NoSum`] when the list does not name the file, else as [`Fetcher::fetch`].
    pub fn published_sum(
        &self,
        image_url: &str,
        source: &ChecksumSource,
        mirrors: &Mirrors,
        watch: &mut Watch<'_>,
    ) -> Result<Checksum, DownloadError> {
        if let Some(pinned) = source.pinned() {
            return Ok(pinned);
        }
        let file = url::file_name(image_url);
        let no_sum = |sums_url: &str, algorithm| DownloadError::NoSum {
            sums_url: sums_url.to_owned(),
            algorithm,
            file: file.to_owned(),
        };
        match source {
            ChecksumSource::Published {
                url,
                algorithm,
                form,
            } => {
                let text = self.text(&mirrors.rewrite(url), watch)?;
                find_sum(&text, *algorithm, *form, file)
                    .ok_or_else(|| no_sum(url, algorithm.as_str()))
            }
            ChecksumSource::Sha256 { .. } => Err(no_sum("the catalogue", "SHA256")),
            ChecksumSource::Sha512 { .. } => Err(no_sum("the catalogue", "SHA512")),
        }
    }

    /// Pulls an image of the catalogue into `dir`, verified and unpacked; nothing else stays there.
    ///
    /// # Errors
    /// As [`Fetcher::fetch`], [`Fetcher::published_sum`] and [`unpack`].
    pub fn pull(
        &self,
        choice: &Choice<'_>,
        mirrors: &Mirrors,
        dir: &Path,
        watch: &mut Watch<'_>,
    ) -> Result<Pulled, DownloadError> {
        let source = choice.source;
        let sum = self.published_sum(&source.url, &source.checksum, mirrors, watch)?;
        let url = mirrors.rewrite(&source.url).into_owned();
        // The sum in the name keeps two states of one URL apart.
        let file = format!("{:.16}-{}", sum.hex(), url::file_name(&source.url));
        let got = self.fetch(&url, &dir.join(file), Some(&sum), watch)?;
        let (path, sha256) = match choice.entry.compressed {
            None => (got.path, Some(got.sha256)),
            Some(packing) => {
                let plain = unpack(&got.path, packing, self.options.max_size)?;
                let _ = std::fs::remove_file(&got.path);
                (plain, None)
            }
        };
        Ok(Pulled {
            path,
            sha256,
            url,
            verified: sum,
        })
    }
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
