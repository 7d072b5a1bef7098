//! Start and stop.

use super::existing::{find, finish, intent_of};
use super::worker::NetworkWorker;
use super::{OBJECT_WAIT, note};
use crate::api::{Kind, ObjectKey, Reporter};
use crate::engine::executor::execute;
use crate::engine::replug;
use crate::error::Result;
use crate::observe::World;
use crate::plan::network::Step;
use crate::plan::{ObjectPlan, Outcome, Step as AnyStep};

/// Starts a network.
///
/// # Errors
/// `NotFound`, a conflict for a network that is not ours, what libvirt refuses.
pub fn start(world: &World, key: &ObjectKey, reporter: &dyn Reporter) -> Result<Outcome> {
    change(world, key, Step::Start, reporter)
}

/// Takes a network down. Running guests in it are cut off; the caller has told of them.
///
/// # Errors
/// As [`start`].
pub fn stop(world: &World, key: &ObjectKey, reporter: &dyn Reporter) -> Result<Outcome> {
    change(world, key, Step::Stop, reporter)
}

fn change(world: &World, key: &ObjectKey, step: Step, reporter: &dyn Reporter) -> Result<Outcome> {
    let _object = world
        .store()?
        .lock_object(Kind::Network, key.name.as_str(), OBJECT_WAIT)?;
    if let Some(begun) = intent_of(world, key)? {
        finish(world, &begun, reporter)?;
    }
    let found = find(world, key)?;
    let (outcome, told) = match (&step, found.seen.active) {
        (Step::Start, true) => return Ok(Outcome::AlreadyRunning),
        (Step::Start, false) => (Outcome::Started, "the network was started"),
        (_, false) => return Ok(Outcome::AlreadyStopped),
        (_, true) => (Outcome::Stopped, "the network was taken down"),
    };
    let plan = ObjectPlan::single(key.clone(), outcome, AnyStep::Network(step));
    execute(&plan, &NetworkWorker::new(world, found.uid()), reporter)?;
    let reason = match outcome {
        Outcome::Started => "Started",
        _ => "Stopped",
    };
    note(world, key, found.uid(), reason, told);
    if outcome == Outcome::Started {
        put_right(world, reporter);
    }
    Ok(outcome)
}

/// The bridge is a new one: guests that ran on are plugged in again, and what rules need of it is set.
fn put_right(world: &World, reporter: &dyn Reporter) {
    match replug::mend(world) {
        Ok(findings) => {
            for finding in findings.iter().filter(|f| !f.mended) {
                reporter.warn(&finding.to_string());
            }
        }
        Err(error) => reporter.warn(&format!("running guests were not looked at: {error}")),
    }
    crate::engine::tidy(world, reporter);
}
