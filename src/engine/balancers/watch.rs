//! `reconcile --watch`: targets that fail their health check are taken out, and in again when they are
//! well.
//!
//! nginx as everybody has it learns of a dead target only from a client's request. This loop asks
//! before one does. It is a loop in the foreground: whoever wants it for good lets systemd run it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::{mend, note, set_out};
use crate::api::{HealthCheck, Kind, Name, ObjectKey, PortNumber, Reporter, TargetHealth, Uid};
use crate::engine::signal::interrupted;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::host::probe::{Probe, Probed, probe_all};
use crate::observe::{WantedBalancer, World};

/// How often it is looked whether a check is due.
const TICK: Duration = Duration::from_millis(250);
/// How often balancers are led to where their instances are by now.
const MEND_EVERY: Duration = Duration::from_secs(30);
/// A daemon that restarts is away for a while.
const MOST_FAILURES: u32 = 20;

type Target = (Uid, Name, PortNumber);

/// How a target did lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Streak {
    good: u16,
    bad: u16,
}

impl Streak {
    /// Notes an answer; returns whether the target is to be out now, if that changes.
    fn note(&mut self, well: bool, is_out: bool, check: &HealthCheck) -> Option<bool> {
        if well {
            *self = Self {
                good: self.good.saturating_add(1),
                bad: 0,
            };
        } else {
            *self = Self {
                good: 0,
                bad: self.bad.saturating_add(1),
            };
        }
        let goes = !is_out && self.bad >= check.unhealthy_threshold().max(1);
        let comes = is_out && self.good >= check.healthy_threshold().max(1);
        (goes || comes).then_some(goes)
    }
}

/// What the loop remembers.
#[derive(Debug, Default)]
struct Memory {
    streaks: BTreeMap<Target, Streak>,
    next: BTreeMap<Uid, Instant>,
    failures: u32,
}

/// Watches until a signal comes.
///
/// # Errors
/// `Interrupted` or `Terminated`; or what the store or the daemon refuses for so long that it is no
/// restart.
pub fn watch(world: &World, reporter: &dyn Reporter) -> Result<()> {
    let mut memory = Memory::default();
    let mut next_mend = Instant::now() + MEND_EVERY;
    loop {
        interrupted()?;
        let mut round = memory.round(world, reporter);
        if round.is_ok() && Instant::now() >= next_mend {
            next_mend = Instant::now() + MEND_EVERY;
            round = mend(world, reporter).map(drop);
        }
        memory.judge(round, reporter)?;
        thread::sleep(TICK);
    }
}

impl Memory {
    /// Asks the targets whose time has come.
    fn round(&mut self, world: &World, reporter: &dyn Reporter) -> Result<()> {
        let now = Instant::now();
        if self.next.values().all(|at| *at > now) && !self.next.is_empty() && self.failures == 0 {
            return Ok(());
        }
        let all = world.wanted_balancers()?;
        let checked = |w: &&WantedBalancer| {
            w.record.spec.health_check.is_some() && w.record.deletion_timestamp.is_none()
        };
        let checked: Vec<&WantedBalancer> = all.iter().filter(checked).collect();
        self.forget(&checked, now);
        let due: Vec<&WantedBalancer> = checked
            .into_iter()
            .filter(|w| self.next.get(&w.record.uid).is_none_or(|at| *at <= now))
            .collect();
        let mut answers = probe_all(&probes(&due)).into_iter();
        for wanted in due {
            let check = wanted.record.spec.health_check.clone().unwrap_or_default();
            let interval = check.interval().duration().max(TICK);
            self.next.insert(wanted.record.uid, now + interval);
            self.take(world, wanted, &check, &mut answers, reporter)?;
        }
        // New balancers are found in time, also where there is none to ask yet.
        self.next.insert(NOBODY, now + Duration::from_secs(2));
        Ok(())
    }

    fn forget(&mut self, checked: &[&WantedBalancer], now: Instant) {
        let known = |uid: &Uid| checked.iter().any(|w| w.record.uid == *uid);
        self.streaks.retain(|(uid, ..), _| known(uid));
        self.next.retain(|uid, at| known(uid) || *at > now);
    }

    /// Takes one balancer's answers, and what follows from them.
    fn take(
        &mut self,
        world: &World,
        wanted: &WantedBalancer,
        check: &HealthCheck,
        answers: &mut impl Iterator<Item = Probed>,
        reporter: &dyn Reporter,
    ) -> Result<()> {
        let uid = wanted.record.uid;
        let mut flips = Vec::new();
        let mut told = Vec::new();
        for target in wanted.resolved.targets.iter().filter(|t| t.address.is_ok()) {
            let Some(answer) = answers.next() else { break };
            if answer.health == TargetHealth::Unknown {
                continue;
            }
            let (name, port) = (target.target.instance.clone(), target.target.port);
            let streak = self.streaks.entry((uid, name.clone(), port)).or_default();
            let well = answer.health == TargetHealth::Healthy;
            if let Some(out) = streak.note(well, target.out, check) {
                told.push(sentence(&name, port, out, answer.error.as_deref()));
                flips.push((name, port, out));
            }
        }
        if flips.is_empty() || !set_out(world, uid, &flips)? {
            return Ok(());
        }
        let key = ObjectKey::new(Kind::LoadBalancer, wanted.record.name.clone());
        for text in told {
            reporter.warn(&format!("{key}: {text}"));
            note(world, &key, uid, "TargetHealth", &text);
        }
        Ok(())
    }

    /// One failure is a restart of the daemon or another run that is busy; many are not.
    fn judge(&mut self, round: Result<()>, reporter: &dyn Reporter) -> Result<()> {
        match round {
            Ok(()) => self.failures = 0,
            Err(error) if is_signal(&error) => return Err(error),
            Err(error) => {
                self.failures += 1;
                if self.failures == 1 {
                    reporter.warn(&error.to_string());
                }
                if self.failures >= MOST_FAILURES {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Stands for the balancers that are not there yet.
const NOBODY: Uid = Uid::from_bytes([0; 16]);

fn is_signal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Terminated)
}

fn probes(due: &[&WantedBalancer]) -> Vec<Probe> {
    let mut probes = Vec::new();
    for wanted in due {
        let spec = &wanted.record.spec;
        let check = spec.health_check.clone().unwrap_or_default();
        let reached = wanted.resolved.targets.iter();
        for at in reached.filter_map(|t| t.address.as_ref().ok()) {
            probes.push(Probe {
                at: *at,
                protocol: spec.protocol(),
                path: check.path.clone(),
                patience: check.timeout().duration(),
            });
        }
    }
    probes
}

fn sentence(name: &Name, port: PortNumber, out: bool, why: Option<&str>) -> String {
    match (out, why) {
        (true, Some(why)) => format!("{name}:{port} is taken out: {why}"),
        (true, None) => format!("{name}:{port} is taken out"),
        (false, _) => format!("{name}:{port} is well and taken in again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unhealthy: u16, healthy: u16) -> HealthCheck {
        HealthCheck {
            unhealthy_threshold: Some(unhealthy),
            healthy_threshold: Some(healthy),
            ..HealthCheck::default()
        }
    }

    #[test]
    fn only_so_many_in_a_row_take_a_target_out_or_in() {
        let check = check(3, 2);
        let mut streak = Streak::default();
        for (well, is_out, expected) in [
            (false, false, None),
            (false, false, None),
            (true, false, None),
            (false, false, None),
            (false, false, None),
            (false, false, Some(true)),
            (false, true, None),
            (true, true, None),
            (false, true, None),
            (true, true, None),
            (true, true, Some(false)),
            (true, false, None),
        ] {
            assert_eq!(streak.note(well, is_out, &check), expected, "{streak:?}");
        }
    }

    #[test]
    fn a_change_that_was_not_made_is_asked_for_again() {
        let mut streak = Streak::default();
        let check = check(1, 1);
        assert_eq!(streak.note(false, false, &check), Some(true));
        assert_eq!(streak.note(false, false, &check), Some(true));
    }
}
