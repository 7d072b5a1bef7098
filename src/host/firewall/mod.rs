//! The firewall that port forwards stand on.
//!
//! libvirt writes the rules of each bridge with iptables or with nftables, and what passes one of
//! them need not pass the other, so each bridge's forwards go where libvirt's rules are: with
//! iptables into chains of our own, with nftables into a table of our own and a chain at the head of
//! libvirt's. Everything is read at once, compared as values, and loaded at once; what is right
//! already is not written. Rules carry `kvmctl:UID` as a comment, and those of other owners are left
//! as they are.

mod conntrack;
mod delta;
mod error;
mod foreign;
mod health;
mod iptables;
mod kernel;
mod nftables;
mod plan;
mod present;
#[cfg(test)]
mod roundtrip_tests;
mod rule;
mod ruleset;
pub(in crate::host) mod tools;
mod words;

use std::time::Duration;

use super::command::HostError;
use crate::error::{Error, Result};
use crate::net::forward::{Mapping, Segment};
use crate::store::Store;

pub use error::FirewallError;
pub use foreign::Foreign;
pub use health::{BridgeState, ForwardState, Health, Observation};
pub use kernel::restart_command;
pub use plan::Wanted;
pub use rule::Found;
pub use ruleset::{Backend, LibvirtHealth};
pub use tools::Privilege;

use plan::{Plan, plan};
use rule::Family;
use ruleset::{Firewalls, Half, Ruleset};
use tools::Tools;

/// How long another run may take to write its rules.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// How often rules are written that another program moves in the meantime, as Docker does.
const WRITES: u32 = 3;

/// The host's firewall.
#[derive(Debug, Clone, Copy)]
pub struct Firewall {
    tools: Tools,
}

/// What an assertion did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What was written, one line each; empty when nothing was off.
    pub changed: Vec<String>,
    /// What could not be mended here, one line each.
    pub warnings: Vec<String>,
    /// How the forwards fare now.
    pub observation: Observation,
}

impl Firewall {
    /// Makes a firewall whose tools run with the given rights. Nothing is run yet.
    pub const fn new(privilege: Privilege) -> Self {
        Self {
            tools: Tools { privilege },
        }
    }

    /// Looks how forwards fare; writes nothing.
    ///
    /// # Errors
    /// [`FirewallError::NotPermitted`], or what a tool said.
    pub fn observe(&self, mappings: &[Mapping]) -> Result<Observation, FirewallError> {
        let ruleset = self.read()?;
        let wanted = Wanted {
            mappings: mappings.to_vec(),
            retired: Vec::new(),
        };
        Ok(health::observe(
            &ruleset,
            mappings,
            &plan(&ruleset, &wanted),
        ))
    }

    /// Looks at bridges; writes nothing.
    ///
    /// # Errors
    /// As [`Firewall::observe`].
    pub fn bridges(&self, segments: &[Segment]) -> Result<Vec<BridgeState>, FirewallError> {
        let ruleset = self.read()?;
        let state = |segment| health::bridge_state(&ruleset, segment);
        Ok(segments.iter().map(state).collect())
    }

    /// Finds the rules of others that take ports of the host.
    ///
    /// # Errors
    /// As [`Firewall::observe`].
    pub fn foreign(&self) -> Result<Vec<Foreign>, FirewallError> {
        foreign::find(self.tools, &self.read()?)
    }

    /// Puts into force what is wanted, and nothing else is touched; when nothing is off, nothing is
    /// written.
    ///
    /// `wanted` may be asked twice, the second time under the firewall's lock, so it must read what it
    /// knows anew.
    ///
    /// # Errors
    /// What `wanted` says; [`FirewallError`]; `Busy` when another run keeps the lock.
    pub fn assert(&self, store: &Store, wanted: &dyn Fn() -> Result<Wanted>) -> Result<Changes> {
        // Usually nobody else is there, and one reading does.
        let mut lock = store.lock_firewall(Duration::ZERO).ok();
        loop {
            let (now, before) = (wanted()?, self.read()?);
            let plan = plan(&before, &now);
            if plan.is_empty() {
                return Ok(report(&before, &now, &plan, Vec::new()));
            }
            if lock.is_some() {
                return self.put_into_force(&before, &now, &plan);
            }
            lock = Some(store.lock_firewall(LOCK_WAIT)?);
        }
    }

    fn put_into_force(&self, before: &Ruleset, wanted: &Wanted, plan: &Plan) -> Result<Changes> {
        kernel::meet_guests(&wanted.mappings);
        self.write(before, plan)?;
        for port in kernel::hairpins_off(&wanted.mappings) {
            // A guest that stops takes its port with it.
            let _ = self.tools.write(&port, "1");
        }
        let mut warnings = Vec::new();
        if let Err(why) = conntrack::flush(self.tools, &plan.moved) {
            let why = Error::from(why);
            warnings.push(format!("connections that exist keep their old way: {why}"));
        }
        let (after, left) = self.read_back(wanted)?;
        let mut changes = report(&after, wanted, &left, warnings);
        changes.changed = plan.lines();
        Ok(changes)
    }

    /// Reads what was written, and writes it again where another program came first.
    fn read_back(&self, wanted: &Wanted) -> Result<(Ruleset, Plan), FirewallError> {
        for again in (0..WRITES).rev() {
            let after = self.read()?;
            let mut left = plan(&after, wanted);
            left.hairpin.clear();
            match left.lines().first() {
                None => return Ok((after, left)),
                Some(_) if again > 0 => self.write(&after, &left)?,
                Some(line) => {
                    return Err(FirewallError::NotInForce(format!("still to do: {line}")));
                }
            }
        }
        Err(FirewallError::NotInForce("nothing was read".to_owned()))
    }

    fn read(&self) -> Result<Ruleset, FirewallError> {
        // Each tool takes a few milliseconds to read what the other family does not have.
        let (v4, v6) = std::thread::scope(|scope| {
            let v6 = scope.spawn(|| self.half(Family::V6));
            let v4 = self.half(Family::V4);
            (v4, v6.join().unwrap_or_else(|_| Ok(Half::default())))
        });
        let ruleset = Ruleset { v4: v4?, v6: v6? };
        if ruleset.v4.iptables.is_none() && ruleset.v4.nftables.is_none() {
            return Err(FirewallError::NoTool);
        }
        Ok(ruleset)
    }

    fn half(&self, family: Family) -> Result<Half, FirewallError> {
        let name = match family {
            Family::V4 => "iptables-save",
            Family::V6 => "ip6tables-save",
        };
        let saved = self.tools.run_if_there(name, "iptables", &["-c"], b"")?;
        let saved = saved.map(|out| iptables::read(&String::from_utf8_lossy(&out.stdout)));
        let ip = nftables::keyword(family);
        let own = self.nft_table(ip, nftables::OWN)?;
        let libvirt = self.nft_table(ip, nftables::LIBVIRT)?;
        let listed = own.zip(libvirt).map(|(own, libvirt)| own + &libvirt);
        Ok(Half {
            iptables: saved,
            nftables: listed.map(|text| nftables::read(&text, family)),
        })
    }

    /// Lists one table, which is empty when it is not there; `None` where there is no nft.
    ///
    /// `nft list tables` would read all rules of all tables, those of iptables too.
    fn nft_table(&self, ip: &str, table: &str) -> Result<Option<String>, FirewallError> {
        match self.nft(&["-a", "list", "table", ip, table]) {
            Err(FirewallError::Tool(HostError::Failed { stderr, .. }))
                if stderr.contains("No such file or directory") =>
            {
                Ok(Some(String::new()))
            }
            listed => listed,
        }
    }

    /// Runs nft and returns what it prints; `None` where there is no nft.
    fn nft(&self, args: &[&str]) -> Result<Option<String>, FirewallError> {
        let output = self.tools.run_if_there("nft", "nftables", args, b"")?;
        Ok(output.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()))
    }

    fn write(&self, before: &Ruleset, plan: &Plan) -> Result<(), FirewallError> {
        for bridge in &plan.localnet_off {
            kernel::set_route_localnet(self.tools, bridge, false)?;
        }
        for ((family, firewall), delta) in &plan.deltas {
            let half = before.half(*family);
            match (firewall, &half.iptables, &half.nftables) {
                (Firewalls::Iptables, Some(saved), _) => {
                    let name = match family {
                        Family::V4 => "iptables-restore",
                        Family::V6 => "ip6tables-restore",
                    };
                    let script = iptables::script(delta, saved);
                    tracing::debug!(target: "host", "{name} reads\n{script}");
                    self.tools.run_if_there(
                        name,
                        "iptables",
                        &["--noflush", "-w", "5"],
                        script.as_bytes(),
                    )?;
                    for table in iptables::tables_to_drop(delta) {
                        self.drop_if_empty(*family, table)?;
                    }
                }
                (Firewalls::Nftables, _, Some(listed)) => {
                    let script = nftables::script(delta, listed, *family);
                    tracing::debug!(target: "host", "nft reads\n{script}");
                    self.tools
                        .run_if_there("nft", "nftables", &["-f", "-"], script.as_bytes())?;
                }
                _ => {}
            }
        }
        for bridge in &plan.localnet_on {
            kernel::set_route_localnet(self.tools, bridge, true)?;
        }
        Ok(())
    }

    /// Takes a table away that iptables made for us, unless somebody uses it by now.
    fn drop_if_empty(&self, family: Family, table: &str) -> Result<(), FirewallError> {
        let ip = nftables::keyword(family);
        let listed = match self.nft(&["list", "table", ip, table]) {
            Ok(Some(text)) => text,
            // The older iptables keeps its tables for itself, and none of them can be taken away.
            Ok(None) | Err(FirewallError::Tool(_)) => return Ok(()),
            Err(e) => return Err(e),
        };
        if let Some(script) = nftables::drop_empty(&listed, ip, table) {
            let args = ["-f", "-"];
            self.tools
                .run_if_there("nft", "nftables", &args, script.as_bytes())?;
        }
        Ok(())
    }
}

/// Says how things are, and what is not in our hands.
fn report(ruleset: &Ruleset, wanted: &Wanted, plan: &Plan, mut warnings: Vec<String>) -> Changes {
    let observation = health::observe(ruleset, &wanted.mappings, plan);
    for trouble in observation.libvirt_trouble() {
        warnings.push(format!(
            "{trouble}; only this brings them back: {}",
            restart_command()
        ));
    }
    Changes {
        changed: Vec::new(),
        warnings,
        observation,
    }
}
