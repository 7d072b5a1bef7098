//! Every prerequisite of the main job: whether it is there, what that means, and what mends it.

mod cpu;
mod daemon;
mod network;
mod pool;
mod tools;

use serde::Serialize;

use super::world::World;
use crate::config::Settings;
use crate::error::Result;
use crate::libvirt::{LibvirtError, is_local};
use cpu::kvm;
use daemon::{daemon, group, socket_mode, unreachable_daemon};
use network::network;
use pool::pool;
use tools::{HERE, OF_NETWORKS, ON_HOST, stream, tools};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something that may hurt, or a feature that is missing.
    Warning,
    /// The main job cannot be done.
    Failed,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was looked at, in one word.
    pub name: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found, and what it means.
    pub finding: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// All checks.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// In the order of the work: CPU, daemon, pool, network, tools.
    pub checks: Vec<Check>,
}

impl Report {
    fn ok(&mut self, name: &'static str, finding: impl Into<String>) {
        self.push(name, Level::Ok, finding, None);
    }

    fn warning(&mut self, name: &'static str, finding: impl Into<String>, remedy: &str) {
        self.push(name, Level::Warning, finding, Some(remedy));
    }

    fn failed(&mut self, name: &'static str, finding: impl Into<String>, remedy: &str) {
        self.push(name, Level::Failed, finding, Some(remedy));
    }

    fn push(
        &mut self,
        name: &'static str,
        level: Level,
        finding: impl Into<String>,
        remedy: Option<&str>,
    ) {
        let (finding, remedy) = (finding.into(), remedy.map(str::to_owned));
        self.checks.push(Check {
            name,
            level,
            finding,
            remedy,
        });
    }
}

/// Looks at everything. What only the daemon knows is left out when it does not answer.
pub fn run(settings: &Settings, world: Result<&World>) -> Report {
    let mut report = Report { checks: Vec::new() };
    let opened = world.and_then(|w| Ok((w, w.host()?)));
    match &opened {
        Ok((_, host)) => daemon(&mut report, host),
        Err(error) => unreachable_daemon(&mut report, settings, error),
    }
    let local = is_local(&settings.uri);
    let session = match &opened {
        Ok((_, host)) => host.is_session(),
        Err(_) => settings.uri.ends_with("/session"),
    };
    if opened.is_err() && local {
        cpu::without_daemon(&mut report);
        socket_mode(&mut report);
    }
    if let Ok((world, host)) = &opened {
        kvm(&mut report, world, host);
        pool(&mut report, world, host);
        if !host.is_session() {
            network(&mut report, world, host);
        }
        store(&mut report, world);
        if local {
            socket_mode(&mut report);
            if !session {
                group(&mut report);
            }
        }
    }
    tools(&mut report, HERE);
    if local {
        tools(&mut report, ON_HOST);
        if !session {
            tools(&mut report, OF_NETWORKS);
        }
        stream(&mut report);
    }
    report
}

fn store(report: &mut Report, world: &World) {
    match world.store_for_reading() {
        Ok(store) if store.exists() => {
            report.ok("store", format!("store in {}", store.path().display()));
        }
        Ok(store) => report.warning(
            "store",
            format!("no store yet in {}", store.path().display()),
            "kvmctl setup",
        ),
        Err(e) => {
            let remedy = e
                .hints()
                .first()
                .cloned()
                .unwrap_or_else(|| "kvmctl setup".to_owned());
            report.failed("store", e.to_string(), &remedy);
        }
    }
}

/// Returns what mends a pool or network that cannot be looked up: where daemons are modular, the one
/// that has it may be stopped.
fn remedy(error: &LibvirtError) -> String {
    let start = error.start_hint();
    start.unwrap_or_else(|| "kvmctl setup".to_owned())
}

fn autostart(report: &mut Report, check: &'static str, what: &str, starts: Option<bool>) {
    match starts {
        Some(true) => report.ok(check, format!("{what} starts with the host")),
        Some(false) => report.warning(
            check,
            format!("{what} does not start with the host"),
            "kvmctl setup",
        ),
        None => {}
    }
}
