//! What is off with the balancers of the context, and putting it right: what a killed run left, an
//! nginx that a restart of the host took away, targets that have moved.

use std::collections::{BTreeMap, BTreeSet};

use super::worker::BalancerWorker;
use super::{OBJECT_WAIT, delete, reach, serve, stranded};
use crate::api::{Kind, Name, ObjectKey, Reporter, Uid};
use crate::engine::reconcile::Finding;
use crate::engine::together::in_order;
use crate::error::{Error, Result};
use crate::host::nginx::{Nginx, NginxError, Seen};
use crate::observe::{WantedBalancer, World};
use crate::store::{BalancerRecord, IntentOp, ObjectLock};

/// What is off.
#[derive(Debug, Default)]
pub(super) struct Off {
    /// What kvmctl can mend.
    pub(super) ours: Vec<Finding>,
    /// What it cannot.
    others: Vec<Finding>,
}

const MENDS: &str = "kvmctl reconcile puts it right";

/// Finds what is off; changes nothing.
///
/// # Errors
/// What the daemon or the store refuses.
pub(in crate::engine) fn check(world: &World) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = begun(world)?
        .iter()
        .map(|record| {
            let object = object(&record.name);
            told(&object, problem(record), "kvmctl reconcile finishes it")
        })
        .collect();
    findings.extend(stranded::check(world)?);
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
    let records = begun(world)?;
    let finding = |record: &BalancerRecord| told(&object(&record.name), problem(record), "");
    let done = in_order(
        &records,
        |r| r.name.clone(),
        |some| finish(world, some, reporter),
    );
    let done = records.iter().zip(done);
    let mut findings: Vec<Finding> = done.map(|(r, done)| came_of(finding(r), done)).collect();
    findings.extend(stranded::take_in(world)?);
    let off = off(world)?;
    if !off.ours.is_empty() {
        let refused = put_right(world, reporter);
        let each = off.ours.into_iter();
        findings.extend(each.map(|f| {
            let done = match &refused {
                Ok(refused) => refused.get(&f.object).map_or_else(
                    || Ok("put right".to_owned()),
                    |why| Err(Error::failed(why.clone())),
                ),
                Err(e) => Err(e.clone()),
            };
            came_of(f, done)
        }));
    }
    findings.extend(off.others);
    Ok(findings)
}

/// Makes everything be as it is wanted now; returns what nginx refuses, by object.
///
/// # Errors
/// What nginx, the daemon or the store refuses.
pub(super) fn put_right(
    world: &World,
    reporter: &dyn Reporter,
) -> Result<BTreeMap<String, String>> {
    let records: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
    let whereabouts = world.whereabouts()?;
    if whereabouts.is_loopback() {
        for record in records.iter().filter(|r| !r.is_going()) {
            if let Some(record) = reach::allot_new(world, record.uid, &whereabouts)? {
                reach::open(world, &record)?;
            }
        }
    }
    let changed = serve::serve_all(world)?;
    reach::release(world)?;
    let name = |uid: Uid| {
        records
            .iter()
            .find(|r| r.uid == uid)
            .map(|r| object(&r.name))
    };
    let refused: BTreeMap<String, String> = changed
        .refused
        .into_iter()
        .filter_map(|(uid, why)| Some((name(uid)?, why)))
        .collect();
    for (object, why) in &refused {
        reporter.warn(&format!("{object} cannot be served: {why}"));
    }
    Ok(refused)
}

fn object(name: &Name) -> String {
    format!("{}/{name}", Kind::LoadBalancer)
}

fn told(object: &str, problem: &str, action: &str) -> Finding {
    Finding {
        object: object.to_owned(),
        problem: problem.to_owned(),
        mended: false,
        action: action.to_owned(),
    }
}

fn came_of(finding: Finding, done: Result<String>) -> Finding {
    Finding {
        mended: done.is_ok(),
        action: done.unwrap_or_else(|error| error.to_string()),
        ..finding
    }
}

const fn problem(record: &BalancerRecord) -> &'static str {
    match record.begun {
        Some(IntentOp::Create) => "was being created",
        Some(IntentOp::Delete) => "was being deleted",
        _ => "was being changed",
    }
}

/// Collects what was begun and nobody is at any more.
fn begun(world: &World) -> Result<Vec<BalancerRecord>> {
    let store = world.store_for_reading()?;
    let records: Vec<BalancerRecord> = store.all()?;
    let left = |r: &BalancerRecord| {
        r.begun.is_some() && !store.is_locked(Kind::LoadBalancer, r.name.as_str())
    };
    Ok(records.into_iter().filter(left).collect())
}

/// Finishes what was begun with some balancers: nginx hears of all of them at once.
fn finish(
    world: &World,
    records: &[&BalancerRecord],
    reporter: &dyn Reporter,
) -> Vec<Result<String>> {
    let held: Vec<Result<Held<'_>>> = records.iter().map(|r| hold(world, r)).collect();
    let found = held.iter().flatten().filter_map(|h| h.record.as_ref());
    let staying: Vec<&BalancerRecord> = found.filter(|r| !r.is_going()).collect();
    let served = serve::serve_together(world, &staying);
    let one = |held: Result<Held<'_>>| {
        let Some(record) = held?.record else {
            return Ok("it is gone".to_owned());
        };
        let key = ObjectKey::new(Kind::LoadBalancer, record.name.clone());
        let done = end(world, &key, record, &served, reporter);
        reporter.finished(&key);
        done
    };
    held.into_iter().map(one).collect()
}

/// A balancer that nobody else works on; `None` where another run was faster.
struct Held<'w> {
    _object: ObjectLock<'w>,
    record: Option<BalancerRecord>,
}

fn hold<'w>(world: &'w World, record: &BalancerRecord) -> Result<Held<'w>> {
    let store = world.store()?;
    let object = store.lock_object(Kind::LoadBalancer, record.name.as_str(), OBJECT_WAIT)?;
    Ok(Held {
        _object: object,
        record: store.get(&record.uid)?,
    })
}

fn end(
    world: &World,
    key: &ObjectKey,
    record: BalancerRecord,
    served: &BTreeSet<Uid>,
    reporter: &dyn Reporter,
) -> Result<String> {
    let begun = record.begun;
    let worker = BalancerWorker::new(world, record.uid);
    if record.is_going() {
        delete::finish(world, key, record, reporter)?;
        return Ok("deleted".to_owned());
    }
    match served.contains(&record.uid) {
        true => worker.finish()?,
        false => worker.again()?,
    }
    Ok(match begun {
        Some(IntentOp::Create) => "created".to_owned(),
        _ => "configured".to_owned(),
    })
}

/// Compares what is wanted with one look at nginx.
///
/// # Errors
/// What the daemon or the store refuses.
pub(super) fn off(world: &World) -> Result<Off> {
    let Ok(nginx) = world.nginx() else {
        return Ok(Off::default());
    };
    let wanted = world.wanted_balancers()?;
    let mut off = Off::default();
    // What another user runs is that user's to look after.
    if matches!(nginx.may_change(), Err(NginxError::OtherUser)) {
        return Ok(Off::default());
    }
    let recorded = match nginx.recorded() {
        Ok(recorded) => recorded,
        Err(e) if wanted.is_empty() => {
            tracing::warn!(target: "nginx", "cannot look at what it was told: {e}");
            return Ok(off);
        }
        Err(e) => {
            off.others
                .push(told("nginx", &e.to_string(), "kvmctl doctor"));
            return Ok(off);
        }
    };
    let known: BTreeSet<Uid> = wanted.iter().map(|w| w.record.uid).collect();
    for lost in recorded {
        let meta = &lost.object.metadata;
        if let (Some(uid), Some(name)) = (meta.uid, &meta.name)
            && !known.contains(&uid)
        {
            let problem = "is served, and the store knows nothing of it";
            let action = "kvmctl store rebuild";
            off.others.push(told(&object(name), problem, action));
        }
    }
    if wanted.is_empty() {
        return Ok(off);
    }
    let seen = nginx.seen()?;
    // Where that cannot be told, it is no news either.
    let renewed = nginx.with_other_certificates().unwrap_or_default();
    let settled = wanted.iter().filter(|w| w.record.begun.is_none());
    for wanted in settled {
        let problem = wrong(&nginx, &seen, wanted);
        let renewed = renewed.contains(&wanted.record.uid);
        let other = || renewed.then(|| "is served with what its certificate was before".to_owned());
        if let Some(problem) = problem.or_else(other) {
            off.ours
                .push(told(&object(&wanted.record.name), &problem, MENDS));
        }
    }
    Ok(off)
}

fn wrong(nginx: &Nginx, seen: &Seen, wanted: &WantedBalancer) -> Option<String> {
    let transport = wanted.record.spec.protocol().transport();
    let resolved = &wanted.resolved;
    if seen.running.is_none() {
        return Some("is not served: nginx does not run".to_owned());
    }
    let mut sockets = resolved.listen.iter().chain(&resolved.redirect);
    if let Some(at) = sockets.find(|at| !seen.listens(transport, **at)) {
        return Some(format!("is not served: nginx does not listen on {at}"));
    }
    if !nginx.is_current(resolved).unwrap_or(false) {
        return Some("is served as it was once, and not as it is wanted now".to_owned());
    }
    (!seen.in_force).then(|| "is not what nginx runs with".to_owned())
}
