//! A look at guests that are booting, so that a listing says Ready although nobody waited for it.
//!
//! Every guest is asked on its own thread and all have the same short deadline. What could not be
//! found out in time is left as it was: a listing never fails and never hangs because of a guest.

use std::time::{Duration, Instant};

use super::doubt::{doubtful, has_settled, remember_consoles};
use super::ready::SILENCE;
use super::reboot::{Boot, compare, forget_verdict};
use super::verdict::{addressed, of_report, of_serial, remember, remember_stage, reserved, settle};
use crate::api::{ConditionStatus, Instance, Kind, ObjectKey, Phase, Timestamp};
use crate::cloudinit::{PORT_NAME, Report, parse_line, serial};
use crate::error::Result;
use crate::libvirt::{Domain, Driver, Line, LineReader};
use crate::observe::World;
use crate::store::Verdict;

/// How many guests one listing asks: the youngest, because an old one that never spoke will not.
const MOST: usize = 32;
/// How long after a stage was first told its reporter is taken to be at it, though it is silent now.
const LIVELY: Duration = Duration::from_secs(120);
/// How long a listing waits for guests that have spoken before; most answer in a few milliseconds.
const GREETING: Duration = Duration::from_millis(200);

/// Asks those of the instances that run and have not said yet whether they are ready, and those that
/// may have restarted since they said it. Returns whether there is news.
pub fn refresh_ready(world: &World, instances: &[&Instance], budget: Duration) -> bool {
    let begin = Instant::now();
    let mut booting: Vec<&Instance> = instances
        .iter()
        .copied()
        .filter(|i| is_booting(i))
        .collect();
    booting.sort_by_key(|i| std::cmp::Reverse(i.metadata.creation_timestamp));
    booting.truncate(MOST);
    let guests_run = world.host().is_ok_and(|h| h.driver() == Driver::Qemu);
    let doubtful = if guests_run {
        doubtful(world, instances, MOST)
    } else {
        Vec::new()
    };
    // A caller who may not write cannot remember what a guest says.
    if !guests_run || (booting.is_empty() && doubtful.is_empty()) || world.store().is_err() {
        return false;
    }
    let soon = begin + GREETING.min(budget);
    std::thread::scope(|threads| {
        let asked: Vec<_> = booting
            .into_iter()
            .map(|i| threads.spawn(move || ask(world, i, begin + budget).unwrap_or(false)))
            .collect();
        let compared: Vec<_> = doubtful
            .into_iter()
            .map(|d| {
                let answer = move || restarted(world, d.instance, soon).ok();
                (d.uid, d.console, threads.spawn(answer))
            })
            .collect();
        let mut news = false;
        for thread in asked {
            news |= thread.join().unwrap_or(false);
        }
        let mut unchanged = Vec::new();
        for (uid, console, thread) in compared {
            match thread.join().ok().flatten() {
                Some(Since::Restarted) => news = true,
                Some(Since::Same) => unchanged.extend(console.map(|mark| (uid, mark))),
                Some(Since::Untold) | None => {}
            }
        }
        remember_consoles(world, &unchanged);
        news
    })
}

/// Looks at one instance, which somebody named: lets it say whether it is ready, and whether what it
/// said before is of the boot that runs. Returns whether there is news.
pub fn recheck(world: &World, instance: &Instance, budget: Duration) -> bool {
    let deadline = Instant::now() + budget;
    if !has_settled(instance) {
        return refresh_ready(world, &[instance], budget);
    }
    let guests_run = world.host().is_ok_and(|h| h.driver() == Driver::Qemu);
    if !guests_run || world.store().is_err() {
        return false;
    }
    matches!(restarted(world, instance, deadline), Ok(Since::Restarted))
}

/// What became of a guest since it last spoke.
enum Since {
    /// The same boot runs.
    Same,
    /// It did not say.
    Untold,
    /// Another boot runs; what was said of the other is forgotten.
    Restarted,
}

/// Compares the boot that a verdict is of with the one that runs, and forgets it if it is another.
fn restarted(world: &World, instance: &Instance, deadline: Instant) -> Result<Since> {
    let (Some(name), Some(uid)) = (&instance.metadata.name, instance.metadata.uid) else {
        return Ok(Since::Untold);
    };
    let key = ObjectKey::new(Kind::Instance, name.clone());
    let domain = world.host()?.domain_by_uid(uid)?;
    let Some(verdict) = world.verdict_of(&domain)? else {
        return Ok(Since::Untold);
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let lines = match compare(world, &domain, &verdict, left)? {
        Boot::Same => return Ok(Since::Same),
        Boot::Untold => return Ok(Since::Untold),
        Boot::Another(lines) => lines,
    };
    forget_verdict(world, &key, &domain)?;
    if let Some(lines) = lines {
        listen(world, &key, &domain, lines, deadline)?;
    }
    Ok(Since::Restarted)
}

fn is_booting(instance: &Instance) -> bool {
    let Some(status) = &instance.status else {
        return false;
    };
    let unknown = status
        .conditions
        .iter()
        .any(|c| c.kind == "Ready" && c.status == ConditionStatus::Unknown);
    status.managed && status.phase == Phase::Running && unknown
}

fn ask(world: &World, instance: &Instance, deadline: Instant) -> Result<bool> {
    let (Some(name), Some(uid)) = (&instance.metadata.name, instance.metadata.uid) else {
        return Ok(false);
    };
    let key = ObjectKey::new(Kind::Instance, name.clone());
    let host = world.host()?;
    let domain = host.domain_by_uid(uid)?;
    if let Some(verdict) = world.verdict_of(&domain)? {
        // The index was rebuilt, or is another caller's.
        remember(world, &domain, &verdict)?;
        return Ok(true);
    }
    // Who has the port already will settle it.
    let lines = domain.open_channel(host, PORT_NAME)?;
    match listen(world, &key, &domain, lines, deadline)? {
        Heard::Settled | Heard::Stage => Ok(true),
        Heard::Nothing => silent(world, &key, &domain),
        Heard::NotYet => Ok(false),
    }
}

/// What came of listening.
enum Heard {
    Nothing,
    NotYet,
    /// It boots, and is in another stage than was known.
    Stage,
    Settled,
}

fn listen(
    world: &World,
    key: &ObjectKey,
    domain: &Domain,
    lines: LineReader,
    deadline: Instant,
) -> Result<Heard> {
    let reserved = reserved(world, domain.uid())?;
    let mut heard = Heard::Nothing;
    let mut last = None;
    while let Line::Text(text) = lines.next(deadline) {
        let Some(report) = parse_line(&text) else {
            continue;
        };
        heard = Heard::NotYet;
        let settled = of_report(&report, domain)
            .filter(|v| v.ready != ConditionStatus::True || addressed(reserved, &report));
        if let Some(verdict) = settled {
            // The port is given back before anything else is done.
            drop(lines);
            finish(world, key, domain, &verdict, Some(&report))?;
            return Ok(Heard::Settled);
        }
        last = Some(report);
        if Instant::now() >= deadline {
            break;
        }
    }
    match last {
        Some(report) if remember_stage(world, domain, &report)? => Ok(Heard::Stage),
        _ => Ok(heard),
    }
}

/// Looks at the console of a guest whose reporter does not speak. It counts only if it looked the same
/// a while ago, because a reporter may be about to start; when that was is kept in the index.
fn silent(world: &World, key: &ObjectKey, domain: &Domain) -> Result<bool> {
    let log = super::super::guest::serial_log(world, key, 256 << 10)?;
    let Some(verdict) = of_serial(&serial::read(&log), domain) else {
        return Ok(false);
    };
    let known = world.store()?.load_index().rows.remove(&domain.uid());
    let known = known
        .and_then(|row| row.verdict)
        .filter(|v| v.domain_id == domain.run_id());
    let spoke = known.as_ref().filter(|v| v.stage.is_some());
    if spoke.is_some_and(|v| age(v.since) < LIVELY) {
        // It will again.
        return Ok(false);
    }
    match known.map(|v| v.since) {
        Some(since) if age(since) >= SILENCE => finish(world, key, domain, &verdict, None),
        Some(_) => Ok(false),
        None => {
            let first_look = Verdict {
                ready: ConditionStatus::Unknown,
                status: None,
                reason: Some("Booting".to_owned()),
                message: None,
                ..verdict
            };
            remember(world, domain, &first_look)?;
            Ok(false)
        }
    }
}

fn age(since: Timestamp) -> Duration {
    let seconds = Timestamp::now().as_second() - since.as_second();
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn finish(
    world: &World,
    key: &ObjectKey,
    domain: &Domain,
    verdict: &Verdict,
    report: Option<&Report>,
) -> Result<bool> {
    settle(world, key, domain, verdict, report.map(|r| r.sealed))?;
    Ok(true)
}
