//! `reconcile --watch`: targets that fail their health check are taken out, and in again when they are
//! well.
//!
//! nginx as everybody has it learns of a dead target only from a client's request. This loop asks
//! before one does. It is a loop in the foreground: whoever wants it for good lets systemd run it
//! (`setup --persist`). What is out stands in the record, so that a loop that was killed leaves nothing
//! that the next one, or `reconcile`, does not know of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use super::{mend, note, set_out};
use crate::api::{HealthCheck, Kind, Name, ObjectKey, PortNumber, Reporter, TargetHealth, Uid};
use crate::engine::signal::interrupted;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::host::probe::{Probe, Probed, probe_all};
use crate::observe::{WantedBalancer, World};
use crate::store::{BalancerRecord, ObjectLock, StoreError};

/// How often it is looked whether a check is due.
const TICK: Duration = Duration::from_millis(250);
/// How soon a new balancer is found.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often balancers are led to where their instances are by now.
const MEND_EVERY: Duration = Duration::from_secs(30);
/// A daemon that restarts is away for a while, and one that is upgraded for longer.
const MOST_TROUBLE: Duration = Duration::from_secs(300);

type Target = (Uid, Name, PortNumber);

/// The right to watch, which one run has at a time.
#[derive(Debug)]
pub struct Watch<'w> {
    world: &'w World,
    _only: ObjectLock<'w>,
}

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
    /// Balancers whose targets are being asked: one that answers late keeps no other waiting.
    asked: BTreeMap<Uid, Asked>,
    /// Since when nothing works.
    trouble: Option<Instant>,
    /// What could not be mended the last time.
    unmended: BTreeSet<String>,
}

/// The targets of a balancer, while they are asked.
#[derive(Debug)]
struct Asked {
    wanted: WantedBalancer,
    answers: Receiver<Vec<Probed>>,
}

impl Asked {
    /// Asks them, in the background.
    fn targets_of(wanted: &WantedBalancer) -> Self {
        let (tell, answers) = mpsc::channel();
        let probes = probes(wanted);
        thread::spawn(move || {
            // Nobody hears it where the loop has ended.
            let _ = tell.send(probe_all(&probes));
        });
        Self {
            wanted: wanted.clone(),
            answers,
        }
    }
}

/// Who hears of what happens.
struct Ears<'a> {
    reporter: &'a dyn Reporter,
    /// Told what was done, a line each.
    tell: &'a dyn Fn(&str),
}

impl<'w> Watch<'w> {
    /// Takes the right to watch the targets of a context.
    ///
    /// # Errors
    /// A conflict that names the run which watches already; what the store refuses.
    pub fn begin(world: &'w World) -> Result<Self> {
        world.nginx()?.may_change()?;
        let only = world.store()?.lock_watch().map_err(|error| match error {
            StoreError::Busy { holder, .. } => {
                let whom = holder.map_or_else(String::new, |holder| format!(" by {holder}"));
                Error::conflict(format!("the targets are watched already{whom}"))
                    .hint("kvmctl reconcile")
            }
            other => other.into(),
        })?;
        Ok(Self { world, _only: only })
    }

    /// Watches until a signal comes.
    ///
    /// # Errors
    /// `Interrupted` or `Terminated`; or what the store or the daemon refuses for so long that it is
    /// no restart.
    pub fn run(&self, reporter: &dyn Reporter, tell: &dyn Fn(&str)) -> Result<()> {
        let ears = Ears { reporter, tell };
        let mut memory = Memory::default();
        let mut world = self.world.anew();
        let mut next_mend = Instant::now() + MEND_EVERY;
        loop {
            interrupted()?;
            let mut round = memory.round(&world, &ears);
            if round.is_ok() && Instant::now() >= next_mend {
                next_mend = Instant::now() + MEND_EVERY;
                round = memory.mend(&world, &ears);
                // Nothing that was opened is relied on for ever.
                world = self.world.anew();
            }
            let failed = round.is_err();
            memory.judge(round, &ears)?;
            if failed {
                // A connection does not outlive its daemon.
                world = self.world.anew();
                thread::sleep(TICK * 2);
            }
            thread::sleep(TICK);
        }
    }
}

impl Memory {
    /// Takes the answers that have come, and asks the targets whose time has come.
    fn round(&mut self, world: &World, ears: &Ears<'_>) -> Result<()> {
        self.hear(world, ears)?;
        let now = Instant::now();
        let later = |at: &Instant| *at > now;
        if !self.next.is_empty() && self.next.values().all(later) && self.trouble.is_none() {
            return Ok(());
        }
        let records: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
        let all = match records.iter().any(is_checked) {
            true => world.wanted_balancers()?,
            // Where there is nothing to watch, nobody is asked where the instances are.
            false => Vec::new(),
        };
        let checked: Vec<&WantedBalancer> = all.iter().filter(|w| is_checked(&w.record)).collect();
        self.forget(&checked, now);
        for wanted in checked {
            let uid = wanted.record.uid;
            let is_due = self.next.get(&uid).is_none_or(|at| *at <= now);
            if !is_due || self.asked.contains_key(&uid) {
                continue;
            }
            let check = wanted.record.spec.health_check.clone().unwrap_or_default();
            let interval = check.interval().duration().max(TICK);
            self.next.insert(uid, now + interval);
            self.asked.insert(uid, Asked::targets_of(wanted));
        }
        self.next.insert(NOBODY, now + LOOK_EVERY);
        Ok(())
    }

    /// Takes the answers that have come since.
    fn hear(&mut self, world: &World, ears: &Ears<'_>) -> Result<()> {
        let come = |(uid, asked): (&Uid, &Asked)| match asked.answers.try_recv() {
            Err(TryRecvError::Empty) => None,
            answers => Some((*uid, answers.unwrap_or_default())),
        };
        let come: Vec<(Uid, Vec<Probed>)> = self.asked.iter().filter_map(come).collect();
        for (uid, answers) in come {
            if let Some(Asked { wanted, .. }) = self.asked.remove(&uid) {
                let check = wanted.record.spec.health_check.clone().unwrap_or_default();
                self.take(world, &wanted, &check, answers.into_iter(), ears)?;
            }
        }
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
        mut answers: impl Iterator<Item = Probed>,
        ears: &Ears<'_>,
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
            (ears.tell)(&format!("{key}: {text}"));
            note(world, &key, uid, "TargetHealth", &text);
        }
        Ok(())
    }

    /// Leads all balancers to where their instances are by now; what cannot be mended is told once.
    fn mend(&mut self, world: &World, ears: &Ears<'_>) -> Result<()> {
        // Logs that nobody asks for grow all the same, and would take long to count once somebody asks.
        let nginx = world.nginx()?;
        if nginx.are_logs_long() {
            nginx.rotate()?;
        }
        let findings = mend(world, ears.reporter)?;
        let mut unmended = BTreeSet::new();
        for finding in findings {
            let line = finding.to_string();
            if finding.mended {
                (ears.tell)(&line);
            } else {
                if !self.unmended.contains(&line) {
                    ears.reporter.warn(&line);
                }
                unmended.insert(line);
            }
        }
        self.unmended = unmended;
        Ok(())
    }

    /// One failure is a restart of the daemon or another run that is busy; many are not.
    fn judge(&mut self, round: Result<()>, ears: &Ears<'_>) -> Result<()> {
        match (round, self.trouble) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                self.trouble = None;
                (ears.tell)("it works again");
            }
            (Err(error), _) if is_signal(&error) => return Err(error),
            (Err(error), None) => {
                self.trouble = Some(Instant::now());
                ears.reporter.warn(&format!("{error}; trying again"));
            }
            (Err(error), Some(since)) if since.elapsed() >= MOST_TROUBLE => return Err(error),
            (Err(_), Some(_)) => {}
        }
        Ok(())
    }
}

/// Stands for the balancers that are not there yet.
const NOBODY: Uid = Uid::from_bytes([0; 16]);

const fn is_checked(record: &BalancerRecord) -> bool {
    record.spec.health_check.is_some() && record.deletion_timestamp.is_none()
}

fn is_signal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Terminated)
}

fn probes(wanted: &WantedBalancer) -> Vec<Probe> {
    let targets = wanted.resolved.targets.iter();
    let reached = targets.filter_map(|t| t.address.as_ref().ok());
    reached.map(|at| probe(wanted, *at)).collect()
}

/// What the health check of a balancer asks a target.
pub(super) fn probe(wanted: &WantedBalancer, at: std::net::SocketAddr) -> Probe {
    let spec = &wanted.record.spec;
    let check = spec.health_check.clone().unwrap_or_default();
    Probe {
        at,
        protocol: spec.protocol(),
        patience: check.timeout().duration(),
        path: check.path,
    }
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
