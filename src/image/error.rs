//! What goes wrong with images, as facts; the wording for people is in `wording.rs`.

mod wording;

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::catalogue::Architecture;
use super::digest::Checksum;
use super::header::Foreign;
use crate::host::HostError;

/// Why a file is not taken as an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It could not be read, or the private copy not written.
    #[error("cannot {doing} the image")]
    Io {
        /// `read` or `copy`.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// It has no bytes.
    #[error("the file is empty")]
    Empty,
    /// It is something else, which we know by its magic.
    #[error("the file is {0}, not a qcow2 or raw disk image")]
    Foreign(Foreign),
    /// It begins like nothing we know and has no partition table.
    #[error(
        "the file is neither qcow2 nor a raw disk with a partition table (it begins with {begins})"
    )]
    Unrecognised {
        /// Its first bytes, as hex.
        begins: String,
    },
    /// A qcow2 version other than 2 and 3.
    #[error("qcow2 version {0} is not supported (2 and 3 are)")]
    Version(u32),
    /// It is an overlay; its base could be any file of this host.
    #[error("the image needs a backing file, {name}")]
    BackingFile {
        /// The name that stands in the header, escaped.
        name: String,
    },
    /// Its data lies in another file, which could be any file of this host.
    #[error("the image keeps its data in an external data file{}", named(.name))]
    ExternalDataFile {
        /// The name that stands in the header, escaped.
        name: Option<String>,
    },
    /// It needs features that we do not know.
    #[error("the image needs unknown qcow2 features: {}", .0.join(", "))]
    UnknownFeatures(Vec<String>),
    /// It is encrypted.
    #[error("the image is encrypted ({0})")]
    Encrypted(&'static str),
    /// QEMU has marked it as corrupt.
    #[error("the image is marked corrupt")]
    Corrupt,
    /// It was not closed properly.
    #[error("the image is marked dirty: it was copied while in use, or not closed properly")]
    Dirty,
    /// It has internal snapshots.
    #[error("the image has {0} internal snapshots")]
    InternalSnapshots(u32),
    /// Its clusters are compressed in a way that we do not know.
    #[error("the image has the unknown compression type {0}")]
    Compression(u8),
    /// The disk it describes is absurdly large.
    #[error("the image describes a disk of {virtual_size} bytes; the limit is {limit} bytes")]
    TooLarge {
        /// Size a guest would see.
        virtual_size: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// Filled by a guest, it would not fit into the pool.
    #[error(
        "the image describes a disk of {}, but the pool has room for {}",
        size(*.virtual_size),
        size(*.room)
    )]
    DoesNotFit {
        /// Size a guest would see.
        virtual_size: u64,
        /// What the pool has free, less the margin.
        room: u64,
    },
    /// It ends before something it refers to.
    #[error("the image is cut short: its {what} ends at byte {end}, the file at {size}")]
    Truncated {
        /// What lies beyond the end.
        what: &'static str,
        /// Where that would end.
        end: u64,
        /// The size of the file.
        size: u64,
    },
    /// Its header breaks the format's rules.
    #[error("the qcow2 header is malformed: {0}")]
    Malformed(&'static str),
}

fn named(name: &Option<String>) -> String {
    name.as_ref().map(|n| format!(", {n}")).unwrap_or_default()
}

/// Why a download did not come about.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The URL cannot be used.
    #[error("{url:?} is not a URL to download from: {why}")]
    BadUrl {
        /// The URL as it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Plain http is off.
    #[error("{url} is not https")]
    Insecure {
        /// The URL.
        url: String,
    },
    /// The server sends us where we do not go.
    #[error("{from} redirects to {to:?}, which is refused: {why}")]
    Redirect {
        /// What was asked for.
        from: String,
        /// Where it sends us.
        to: String,
        /// Why we do not go there.
        why: &'static str,
    },
    /// It is not there.
    #[error("{url} does not exist (HTTP {status})")]
    NotFound {
        /// The URL.
        url: String,
        /// 404 or 410.
        status: u16,
    },
    /// Another answer than the file.
    #[error("{url} answered HTTP {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// The network failed, after all retries.
    #[error("cannot download {url}")]
    Network {
        /// The URL.
        url: String,
        /// What happened last.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing, or next to nothing, came for too long, after all retries.
    #[error("{url} stalled: less than {floor} bytes came in {seconds} s")]
    Stalled {
        /// The URL.
        url: String,
        /// The least that counts as moving.
        floor: u64,
        /// The time it was given.
        seconds: u64,
    },
    /// The connection was cut, after all retries.
    #[error("{url} was cut off after {got} of {expected} bytes")]
    CutShort {
        /// The URL.
        url: String,
        /// What came.
        got: u64,
        /// What was announced.
        expected: u64,
    },
    /// It is larger than is accepted.
    #[error("{url} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The disk is full, or would be.
    #[error("no space left in {} for a download of {needed} bytes", .dir.display())]
    NoSpace {
        /// Where it was to go.
        dir: PathBuf,
        /// What is still to come, as far as known.
        needed: u64,
    },
    /// A local file could not be written or read.
    #[error("cannot write {}", .path.display())]
    Local {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The content is not what the publisher states. The file was removed.
    #[error("{url} has the wrong checksum: expected {expected}, got {actual}")]
    WrongSum {
        /// The URL.
        url: String,
        /// What the publisher states.
        expected: Checksum,
        /// What came.
        actual: Checksum,
    },
    /// The publisher's list does not name the file.
    #[error("{sums_url} states no {algorithm} sum for {file}")]
    NoSum {
        /// The list.
        sums_url: String,
        /// `SHA256` or `SHA512`.
        algorithm: &'static str,
        /// The file that was looked for.
        file: String,
    },
    /// The user has interrupted; what has come is kept.
    #[error("interrupted while downloading {url}")]
    Interrupted {
        /// The URL.
        url: String,
    },
    /// It could not be unpacked.
    #[error("cannot unpack {}", .path.display())]
    Unpack {
        /// The compressed file.
        path: PathBuf,
        /// What the tool said.
        source: HostError,
    },
}

/// One thing that is wrong in a catalogue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which entry, as `images[2] (fedora-44)`; empty for the file as a whole.
    pub entry: String,
    /// Line and column, counted from 1, where known.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "line {line} column {column}: ")?;
        }
        if !self.entry.is_empty() {
            write!(f, "{}: ", self.entry)?;
        }
        f.write_str(&self.what)
    }
}

/// Why the catalogue has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A catalogue file cannot be read.
    #[error("cannot read the image catalogue {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A catalogue file is wrong; all that is wrong with it is listed.
    #[error("the image catalogue {origin} has {} mistakes", .problems.len())]
    Invalid {
        /// The file.
        origin: String,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
    /// No entry has this name or alias.
    #[error("image {name:?} is not in the catalogue")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The name it most resembles.
        suggestion: Option<String>,
        /// The names there are.
        candidates: Vec<String>,
    },
    /// The image is not published for this architecture.
    #[error("image {name} is not published for {architecture}")]
    NotForArchitecture {
        /// The image.
        name: String,
        /// What was asked for.
        architecture: Architecture,
        /// What there is.
        available: Vec<Architecture>,
    },
}

/// Makes text that a stranger wrote safe to print: control characters and the like are escaped, and
/// it is cut at 200 characters.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text
        .chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().count() > 200 {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// Words a size in bytes as people read it.
fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{bytes} bytes"),
        mib => format!("{mib} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_cannot_steer_the_terminal() {
        let shown = printable("\u{1b}]0;x\u{7}a\u{202e}b\nc\"".as_bytes());
        assert_eq!(shown, r#""\u{1b}]0;x\u{7}a\u{202e}b\nc\"""#);
        assert!(printable(&[b'x'; 5000]).chars().count() < 210);
    }
}
