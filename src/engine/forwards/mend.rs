//! What is off with the forwards of the context, and putting it right: what a killed run left, ports
//! that were never taken, rules that somebody flushed or that libvirt's went in front of.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::labels;
use super::rules;
use super::worker::ForwardWorker;
use super::{OBJECT_WAIT, delete, listed, user_space};
use crate::api::{Kind, ObjectKey, PortMapping, Reporter, Uid};
use crate::engine::reconcile::Finding;
use crate::error::{Error, Result};
use crate::host::firewall::{Firewall, FirewallError, Health, Observation, restart_command};
use crate::observe::{Astray, Carrier, WantedForward, World};
use crate::store::{ForwardRecord, InstanceRecord, Intent, IntentOp, STORE_WAIT};

/// What is off with the rules.
#[derive(Debug, Default)]
struct Off {
    /// What kvmctl can mend.
    ours: Vec<Finding>,
    /// What it cannot.
    others: Vec<Finding>,
}

/// Finds what is off; changes nothing.
///
/// # Errors
/// What the daemon, the store or the firewall refuses.
pub(in crate::engine) fn check(world: &World) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = begun(world)?
        .iter()
        .map(|record| {
            let problem = problem(record);
            finding(&key_of(record), problem, "kvmctl reconcile finishes it")
        })
        .collect();
    let without = without_ports(world)?;
    findings.extend(without.iter().map(|record| {
        let object = format!("instance/{}", record.name);
        told(&object, NO_PORTS, "kvmctl reconcile takes them")
    }));
    let off = off(world)?;
    findings.extend(off.ours);
    findings.extend(off.others);
    Ok(findings)
}

/// Puts right what is off.
///
/// # Errors
/// What the daemon or the store refuses; what goes wrong with one thing is in its finding.
pub(in crate::engine) fn mend(world: &World, reporter: &dyn Reporter) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for record in begun(world)? {
        let (key, problem) = (key_of(&record), problem(&record));
        let done = finish(world, &key, record, reporter);
        reporter.finished(&key);
        findings.push(came_of(finding(&key, problem, ""), done));
    }
    for record in without_ports(world)? {
        let object = format!("instance/{}", record.name);
        let taken = take_ports(world, &record.uid);
        findings.push(came_of(told(&object, NO_PORTS, ""), taken));
    }
    findings.extend(put_right(world, reporter)?.findings);
    Ok(findings)
}

/// Puts the rules right at the end of a command that touched a network or a guest. It says what it
/// did, and fails nothing: `reconcile` tells what could not be mended.
pub(in crate::engine) fn tidy(world: &World, reporter: &dyn Reporter) {
    let failed = match put_right(world, reporter) {
        Ok(righted) => {
            for finding in righted.findings.iter().filter(|f| f.mended) {
                reporter.warn(&format!(
                    "{} {}: put right",
                    finding.object, finding.problem
                ));
            }
            righted.failed
        }
        Err(error) => Some(error),
    };
    if let Some(error) = failed {
        reporter.warn(&format!("the rules of forwards were not checked: {error}"));
    }
}

/// How the firewall words a switch of a guest's port that is to be turned on.
const SWITCH: &str = "on: ";

const PUT_RIGHT: &str = "put right";

const NO_PORTS: &str = "lists ports of the host that were never taken";

fn told(object: &str, problem: &str, action: &str) -> Finding {
    Finding {
        object: object.to_owned(),
        problem: problem.to_owned(),
        mended: false,
        action: action.to_owned(),
    }
}

fn finding(key: &ObjectKey, problem: &str, action: &str) -> Finding {
    told(&key.to_string(), problem, action)
}

fn came_of(finding: Finding, done: Result<String>) -> Finding {
    Finding {
        mended: done.is_ok(),
        action: done.unwrap_or_else(|error| error.to_string()),
        ..finding
    }
}

fn key_of(record: &ForwardRecord) -> ObjectKey {
    ObjectKey::new(Kind::PortForward, record.name.clone())
}

const fn problem(record: &ForwardRecord) -> &'static str {
    match record.begun {
        Some(IntentOp::Create) => "was being created",
        Some(IntentOp::Delete) => "was being deleted",
        _ => "was being changed",
    }
}

/// Collects what was begun and nobody is at any more.
fn begun(world: &World) -> Result<Vec<ForwardRecord>> {
    let store = world.store_for_reading()?;
    let records: Vec<ForwardRecord> = store.all()?;
    let left = |r: &ForwardRecord| {
        r.begun.is_some() && !store.is_locked(Kind::PortForward, r.name.as_str())
    };
    Ok(records.into_iter().filter(left).collect())
}

fn finish(
    world: &World,
    key: &ObjectKey,
    record: ForwardRecord,
    reporter: &dyn Reporter,
) -> Result<String> {
    world.firewall_to_change()?;
    let store = world.store()?;
    let _object = store.lock_object(Kind::PortForward, key.name.as_str(), OBJECT_WAIT)?;
    // Another run may have been at it until now.
    let record = match store.get::<ForwardRecord>(&record.uid)? {
        Some(record) if record.begun.is_some() => record,
        Some(_) => return Ok("configured".to_owned()),
        None => return Ok("deleted".to_owned()),
    };
    if record.begun == Some(IntentOp::Delete) {
        delete::finish(world, key, record, reporter)?;
        return Ok("deleted".to_owned());
    }
    labels::keep(world, &labels::noted_at(std::iter::once(&record)));
    ForwardWorker::new(world, record.uid).again()?;
    Ok(match record.begun {
        Some(IntentOp::Create) => "created".to_owned(),
        _ => "configured".to_owned(),
    })
}

/// Instances whose list was only recorded: an older kvmctl made them.
fn without_ports(world: &World) -> Result<Vec<InstanceRecord>> {
    if !rules::apply_here(world)? {
        return Ok(Vec::new());
    }
    let store = world.store_for_reading()?;
    let pending: BTreeSet<Uid> = store.all::<Intent>()?.iter().map(|i| i.uid).collect();
    let records: Vec<InstanceRecord> = store.all()?;
    let lacking =
        |r: &InstanceRecord| r.ports.len() != r.spec.ports.len() && !pending.contains(&r.uid);
    Ok(records.into_iter().filter(lacking).collect())
}

fn take_ports(world: &World, uid: &Uid) -> Result<String> {
    let store = world.store()?;
    let lock = store.lock(STORE_WAIT)?;
    let Some(mut record) = store.get::<InstanceRecord>(uid)? else {
        return Ok("it is gone".to_owned());
    };
    let before = record.clone();
    record.ports = listed::take_ports(
        world,
        &lock,
        Some(&before),
        record.uid,
        &record.name,
        &record.spec,
    )?;
    let ports = record.ports.clone();
    store.update_index_locked(&lock, |index| {
        if let Some(row) = index.rows.get_mut(uid) {
            row.ports.clone_from(&ports);
        }
    })?;
    store.put(&record)?;
    let list: Vec<String> = ports.iter().map(PortMapping::to_string).collect();
    Ok(format!("taken: {}", list.join(", ")))
}

/// What came of putting things right.
#[derive(Debug, Default)]
struct Righted {
    findings: Vec<Finding>,
    /// Why the rules could not be written, though the caller may.
    failed: Option<Error>,
}

impl Righted {
    fn of(off: Off, done: Result<String>) -> Self {
        let ours = off.ours.into_iter().map(|f| came_of(f, done.clone()));
        Self {
            findings: ours.chain(off.others).collect(),
            failed: done.err(),
        }
    }
}

/// Mends what is off, and tells what was.
fn put_right(world: &World, reporter: &dyn Reporter) -> Result<Righted> {
    match (world.carrier()?, world.firewall_to_change()) {
        (Carrier::Firewall(_), Ok(firewall)) => mend_rules(world, &firewall, reporter),
        (Carrier::Firewall(firewall), Err(denied)) => Ok(Righted {
            failed: None,
            ..Righted::of(off_with(world, &firewall)?, Err(denied))
        }),
        (Carrier::UserSpace, _) => {
            let off = off(world)?;
            let done = match off.ours.is_empty() {
                true => Ok(()),
                false => user_space::settle_all(world),
            };
            Ok(Righted::of(off, done.map(|()| PUT_RIGHT.to_owned())))
        }
        (Carrier::Nothing(_), _) => Ok(Righted::default()),
    }
}

/// One reading tells what is off, and what must be written.
fn mend_rules(world: &World, firewall: &Firewall, reporter: &dyn Reporter) -> Result<Righted> {
    if !world.has_forwards()? {
        return Ok(Righted::default());
    }
    let forwards = RefCell::new(Vec::new());
    let wanted = || {
        forwards.replace(world.wanted_forwards()?);
        Ok(rules::all_of(&forwards.borrow()))
    };
    let mended = firewall.mend(world.store()?, &wanted)?;
    let off = judged(&forwards.into_inner(), &mended.before);
    if let Ok(changes) = &mended.done {
        // What libvirt lacks is a finding of its own.
        let news = |w: &&String| !changes.libvirt.iter().any(|l| w.starts_with(l.as_str()));
        for warning in changes.warnings.iter().filter(news) {
            reporter.warn(warning);
        }
    }
    let done = mended.done.map(|_| PUT_RIGHT.to_owned());
    Ok(Righted::of(off, done))
}

/// Compares what is wanted with one reading of the rules.
fn off(world: &World) -> Result<Off> {
    match world.carrier()? {
        Carrier::Firewall(firewall) => off_with(world, &firewall),
        Carrier::UserSpace => Ok(Off {
            ours: user_space::off(world)?,
            ..Off::default()
        }),
        Carrier::Nothing(_) => Ok(Off::default()),
    }
}

fn off_with(world: &World, firewall: &Firewall) -> Result<Off> {
    let forwards = world.wanted_forwards()?;
    if forwards.is_empty() {
        return Ok(Off::default());
    }
    match firewall.check(&rules::all_of(&forwards)) {
        Ok(seen) => Ok(judged(&forwards, &seen)),
        Err(e @ FirewallError::NotPermitted { .. }) => Ok(Off {
            others: vec![told(
                "firewall",
                &format!("cannot be looked at: {e}"),
                "sudo kvmctl reconcile",
            )],
            ..Off::default()
        }),
        Err(e) => Err(e.into()),
    }
}

fn judged(all: &[WantedForward], seen: &Observation) -> Off {
    let leads = |w: &&WantedForward| !w.is_going() && w.aim.is_ok();
    let led: Vec<&WantedForward> = all.iter().filter(leads).collect();
    let mut off = Off::default();
    let ours = "kvmctl reconcile puts it right";
    for (wanted, state) in led.iter().zip(&seen.forwards) {
        let object = format!("forward/{}", wanted.name);
        match &state.health {
            Health::Active => {}
            Health::Stale(why) => off
                .ours
                .push(told(&object, &format!("is stale: {why}"), ours)),
            Health::Missing(why) => {
                off.ours
                    .push(told(&object, &format!("is missing: {why}"), ours));
            }
        }
    }
    let with_rules: BTreeSet<Uid> = led.iter().map(|w| w.owner()).collect();
    let spared = |w: &WantedForward| w.aim.as_ref().err().is_some_and(Astray::spares_rules);
    let without = |w: &&WantedForward| !with_rules.contains(&w.owner()) && !spared(w);
    for wanted in all.iter().filter(without) {
        if seen.strangers.iter().any(|s| s.owner == wanted.owner()) {
            let object = format!("forward/{}", wanted.name);
            let why = wanted.aim.as_ref().err().map(|a| a.message.clone());
            let why = why.unwrap_or_else(|| "it is being deleted".to_owned());
            off.ours
                .push(told(&object, &format!("has rules although {why}"), ours));
        }
    }
    // Guests that have come up since: their ports of the bridge let packets back on demand, which is
    // no news.
    let mut drift = seen
        .drift
        .iter()
        .filter(|line| !line.starts_with(SWITCH))
        .peekable();
    if off.ours.is_empty() {
        let told =
            |line: &String| told("firewall", &format!("is not as it was left ({line})"), ours);
        off.ours.extend(drift.map(told));
    } else if drift.peek().is_none() {
        // What is stale and cannot be mended by rules: the network is down, the host forwards nothing.
        off.others.append(&mut off.ours);
        for finding in &mut off.others {
            finding.action = "kvmctl doctor".to_owned();
        }
    }
    off.others.extend(
        seen.libvirt_trouble()
            .iter()
            .map(|trouble| told("firewall", trouble, restart_command())),
    );
    off
}
