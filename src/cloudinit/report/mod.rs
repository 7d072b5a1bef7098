//! What the reporter in a guest says: one line of JSON after another, from a guest that is not
//! trusted.
//!
//! Lines may be cut, stale or made up; what cannot be read is no report, and what is read is
//! bounded and fit for a terminal. The first line after opening the port may be older than the
//! opening (a guest blocks in the middle of a round while nobody listens), the next one is fresh
//! and follows within a second.

mod errors;
mod line;
mod text;
mod verdict;

use std::fmt;
use std::net::IpAddr;

pub use errors::ModuleError;
pub(super) use errors::{LogLine, from_log_line};
pub use line::{MAX_LINE, parse_boot_id, parse_line};
pub(super) use text::{clean, is_bidi};
pub use verdict::verdict_of_files;

/// Part of cloud-init's work at a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It has not begun.
    Waiting,
    /// Finds the seed and configures the network.
    InitLocal,
    /// Reads user-data; users, keys, files.
    Init,
    /// Packages' sources, locale, `runcmd` is written.
    Config,
    /// Packages, startup commands, the user's scripts.
    Final,
}

impl Stage {
    /// The stages with cloud-init's own names, in their order.
    const NAMES: [(Self, &'static str); 4] = [
        (Self::InitLocal, "init-local"),
        (Self::Init, "init"),
        (Self::Config, "modules-config"),
        (Self::Final, "modules-final"),
    ];

    /// Returns cloud-init's own name for it.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(stage, _)| *stage == self);
        found.map_or("waiting", |(_, name)| name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How cloud-init stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is at work, or between two stages.
    Running {
        /// The stage that runs, or ran last.
        stage: Stage,
    },
    /// It ended, and everything went well.
    Done,
    /// Something failed; it may be still at work on the rest ([`Report::ended`]).
    Failed {
        /// What failed, in the order of the stages; never empty.
        errors: Vec<ModuleError>,
    },
    /// It is switched off in this image.
    Disabled,
}

/// A network interface as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedNic {
    /// Its name in the guest.
    pub name: String,
    /// Its hardware address, in lower case.
    pub mac: String,
    /// Its addresses of global scope.
    pub addresses: Vec<IpAddr>,
}

/// One line of the reporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which boot of the guest speaks; a verdict holds for one boot.
    pub boot_id: String,
    /// Instance that the seed in the guest belongs to, as the guest says.
    pub instance: String,
    /// Counts the lines since the boot.
    pub round: u64,
    /// Time since the guest's kernel started, in seconds.
    pub uptime: u64,
    /// How cloud-init stands.
    pub verdict: Verdict,
    /// Whether cloud-init has come to its end, well or not.
    pub ended: bool,
    /// Whether the guest has kept what it needs, so that the medium may be replaced by
    /// [`Seed::sanitized`](super::Seed::sanitized).
    pub sealed: bool,
    /// What cloud-init warned of without failing.
    pub warnings: Vec<ModuleError>,
    /// Network interfaces.
    pub nics: Vec<ReportedNic>,
}
