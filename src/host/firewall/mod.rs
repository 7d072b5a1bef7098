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
mod netlink;
mod nftables;
mod plan;
mod present;
mod reading;
#[cfg(test)]
mod roundtrip_tests;
mod rule;
mod ruleset;
mod tables;
pub(in crate::host) mod tools;
mod words;

use std::time::Duration;

use super::threads::side_by_side;
use crate::error::{Error, Result};
use crate::net::forward::{Mapping, Segment};
use crate::store::{FirewallLock, Store, StoreError};

pub use error::FirewallError;
pub use foreign::Foreign;
pub use health::{BridgeState, ForwardState, Health, Observation};
pub use kernel::restart_command;
pub use plan::{Course, Wanted};
pub use rule::Found;
pub use ruleset::{Backend, LibvirtHealth};
pub use tools::Privilege;

use plan::{Plan, plan};
use rule::Family;
use ruleset::{Firewalls, Ruleset};
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
    /// What libvirt's own rules lack, one line for each bridge; a warning tells each, too.
    pub libvirt: Vec<String>,
}

/// How things were, and what came of putting them right.
#[derive(Debug)]
pub struct Mended {
    /// How the forwards fared before.
    pub before: Observation,
    /// What was done.
    pub done: Result<Changes>,
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
        self.check(&Wanted {
            mappings: mappings.to_vec(),
            ..Wanted::default()
        })
    }

    /// As [`Firewall::observe`], and tells what is off with what is to go, too.
    ///
    /// # Errors
    /// As [`Firewall::observe`].
    pub fn check(&self, wanted: &Wanted) -> Result<Observation, FirewallError> {
        let ruleset = self.read()?;
        let plan = plan(&ruleset, wanted);
        Ok(health::observe(&ruleset, &wanted.mappings, &plan))
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
    /// written. Connections go with it that a run which was cut off has left on another way.
    ///
    /// `wanted` is asked under the firewall's lock, so it must read what it knows anew.
    ///
    /// # Errors
    /// What `wanted` says; [`FirewallError`]; `Busy` when another run keeps the lock.
    pub fn assert(&self, store: &Store, wanted: &dyn Fn() -> Result<Wanted>) -> Result<Changes> {
        let (found, lock) = self.look_locked(store, wanted)?;
        self.settle(found, lock, Sweep::All)
    }

    /// As [`Firewall::assert`], and tells how things were before, from the same reading.
    ///
    /// # Errors
    /// As [`Firewall::assert`], before anything is written.
    pub fn mend(&self, store: &Store, wanted: &dyn Fn() -> Result<Wanted>) -> Result<Mended> {
        let (found, lock) = self.look_locked(store, wanted)?;
        Ok(Mended {
            before: health::observe(&found.ruleset, &found.wanted.mappings, &found.plan),
            done: self.settle(found, lock, Sweep::Moved),
        })
    }

    /// Looks what is off under the firewall's lock: another run, or what a killed one has started, may
    /// be writing still. Who may not lock may look, and has nothing to do where nothing is off.
    fn look_locked<'s>(
        &self,
        store: &'s Store,
        wanted: &dyn Fn() -> Result<Wanted>,
    ) -> Result<(Look, Lock<'s>)> {
        let lock = store.lock_firewall(LOCK_WAIT);
        Ok((self.look(wanted)?, lock))
    }

    /// Reads the rules while `wanted` asks the daemon and the store.
    fn look(&self, wanted: &dyn Fn() -> Result<Wanted>) -> Result<Look> {
        let (ruleset, wanted) = side_by_side(|| self.read(), wanted);
        let (wanted, ruleset) = (wanted?, ruleset?);
        let plan = plan(&ruleset, &wanted);
        Ok(Look {
            wanted,
            ruleset,
            plan,
        })
    }

    fn settle(&self, found: Look, lock: Lock<'_>, sweep: Sweep) -> Result<Changes> {
        let (wanted, plan) = (&found.wanted, &found.plan);
        if plan.is_empty() {
            let flushed = match lock {
                Ok(_) => self.flush(sweep, plan, wanted, &found.ruleset),
                Err(_) => None,
            };
            let warnings = flushed.into_iter().collect();
            return Ok(report(&found.ruleset, wanted, warnings));
        }
        let lock = lock?;
        let called = kernel::call_guests(&wanted.mappings);
        let after = self.write_until_right(found.ruleset, plan, wanted, &lock)?;
        called.wait();
        for port in kernel::hairpins_off(&wanted.mappings) {
            // A guest that stops takes its port with it.
            let _ = self.tools.write(&port, "1");
        }
        let flushed = self.flush(sweep, plan, wanted, &after);
        let mut changes = report(&after, wanted, flushed.into_iter().collect());
        changes.changed = plan.lines();
        Ok(changes)
    }

    /// Ends connections that have no rule behind them any more, and says why where it cannot.
    fn flush(&self, sweep: Sweep, plan: &Plan, wanted: &Wanted, now: &Ruleset) -> Option<String> {
        let foreign = || foreign::find(self.tools, now);
        let left = match sweep {
            Sweep::All => conntrack::Left::all(&plan.moved, wanted, now, &foreign),
            Sweep::Moved => conntrack::Left::moved(&plan.moved, &foreign),
        };
        let why = Error::from(conntrack::flush(self.tools, &left).err()?);
        tracing::warn!(target: "host", "connections that exist keep their old way: {why}");
        Some(format!("connections that exist keep their old way: {why}"))
    }

    /// Writes, reads what was written, and writes it again where another program came first.
    fn write_until_right(
        &self,
        mut ruleset: Ruleset,
        first: &Plan,
        wanted: &Wanted,
        lock: &FirewallLock<'_>,
    ) -> Result<Ruleset, FirewallError> {
        let mut written = self.write(&ruleset, first, lock);
        self.read_again(&mut ruleset, first.deltas.keys())?;
        for again in (0..WRITES).rev() {
            let mut left = plan(&ruleset, wanted);
            left.hairpin.clear();
            match (written, left.lines().first()) {
                (_, None) => return Ok(ruleset),
                (Ok(()) | Err(FirewallError::Tool(_)), Some(_)) if again > 0 => {}
                (Err(error), _) => return Err(error),
                (Ok(()), Some(line)) => {
                    return Err(FirewallError::NotInForce(format!("still to do: {line}")));
                }
            }
            written = self.write(&ruleset, &left, lock);
            self.read_again(&mut ruleset, left.deltas.keys())?;
        }
        Err(FirewallError::NotInForce("nothing was read".to_owned()))
    }

    fn write(
        &self,
        before: &Ruleset,
        plan: &Plan,
        lock: &FirewallLock<'_>,
    ) -> Result<(), FirewallError> {
        for bridge in &plan.localnet_off {
            kernel::set_route_localnet(self.tools, bridge, false)?;
        }
        for ((family, firewall), delta) in &plan.deltas {
            let half = before.half(*family);
            match (firewall, &half.iptables, &half.nftables) {
                (Firewalls::Iptables, Some(saved), _) => {
                    self.restore(*family, &iptables::script(delta, saved), lock)?;
                    for (table, chains) in iptables::tables_to_drop(delta) {
                        if !self.drop_table(*family, table, &chains, lock)? {
                            let script = iptables::end_of_chains(delta, table);
                            self.restore(*family, &script, lock)?;
                        }
                    }
                }
                (Firewalls::Nftables, _, Some(listed)) => {
                    let script = nftables::script(delta, listed, *family);
                    tracing::debug!(target: "host", "nft reads\n{script}");
                    self.nft_reads(&script, lock)?;
                }
                _ => {}
            }
        }
        for bridge in &plan.localnet_on {
            kernel::set_route_localnet(self.tools, bridge, true)?;
        }
        Ok(())
    }

    fn nft_reads(&self, script: &str, lock: &FirewallLock<'_>) -> Result<(), FirewallError> {
        let args = ["-f", "-"];
        self.tools
            .load("nft", "nftables", &args, script.as_bytes(), lock)
    }

    fn restore(
        &self,
        family: Family,
        script: &str,
        lock: &FirewallLock<'_>,
    ) -> Result<(), FirewallError> {
        let name = match family {
            Family::V4 => "iptables-restore",
            Family::V6 => "ip6tables-restore",
        };
        tracing::debug!(target: "host", "{name} reads\n{script}");
        let args = ["--noflush", "-w", "5"];
        self.tools
            .load(name, "iptables", &args, script.as_bytes(), lock)
    }

    /// Takes a table away that iptables made for us, with what is left of our chains in it; returns
    /// whether it is gone. It stays where somebody uses it by now.
    fn drop_table(
        &self,
        family: Family,
        table: &str,
        chains: &[&str],
        lock: &FirewallLock<'_>,
    ) -> Result<bool, FirewallError> {
        let ip = nftables::keyword(family);
        let listed = match self.nft(&["-a", "list", "table", ip, table]) {
            Ok(Some(text)) => text,
            // The older iptables keeps its tables for itself, and none of them can be taken away.
            Ok(None) | Err(FirewallError::Tool(_)) => return Ok(false),
            Err(e) => return Err(e),
        };
        let Some(script) = nftables::drop_whole(&listed, ip, table, chains) else {
            return Ok(false);
        };
        match self.nft_reads(&script, lock) {
            Ok(()) => Ok(true),
            Err(FirewallError::Tool(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// Which connections are looked for.
#[derive(Debug, Clone, Copy)]
enum Sweep {
    /// Those of what was written now.
    Moved,
    /// All that are on another way than what is wanted: what was written by a run that was cut off is
    /// right already, but the connections are where they were.
    All,
}

/// The firewall's lock, or why we do not hold it.
type Lock<'a> = Result<FirewallLock<'a>, StoreError>;

/// What is wanted, what is there, and what must change.
struct Look {
    wanted: Wanted,
    ruleset: Ruleset,
    plan: Plan,
}

/// Says what is not in our hands.
fn report(ruleset: &Ruleset, wanted: &Wanted, mut warnings: Vec<String>) -> Changes {
    let libvirt = health::libvirt_trouble(&health::bridges(ruleset, &wanted.mappings));
    for trouble in &libvirt {
        warnings.push(format!(
            "{trouble}; only this brings them back: {}",
            restart_command()
        ));
    }
    Changes {
        changed: Vec::new(),
        warnings,
        libvirt,
    }
}
