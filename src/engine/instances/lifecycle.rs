//! Start, stop, restart, pause, resume.

use std::time::Duration;

use super::metadata::{note, owned};
use super::worker::InstanceWorker;
use crate::api::{Kind, ObjectKey, Span};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::Domain;
use crate::observe::{World, not_found};
use crate::plan::instance::{Step, from_stages};
use crate::plan::{ObjectPlan, Outcome};
use crate::store::STORE_WAIT;

use super::super::executor::execute;
use super::super::power;
use crate::api::Reporter;

/// How to stop.
#[derive(Debug, Clone, Copy)]
pub struct StopOptions {
    /// How long the guest gets.
    pub timeout: Duration,
    /// Cut the power after that.
    pub force: bool,
}

/// A change of an instance's state.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// Start it, or resume it where it is paused.
    Start,
    /// Shut it down.
    Stop(StopOptions),
    /// Shut it down and start it.
    Restart(StopOptions),
    /// Suspend its CPUs.
    Pause,
    /// Let its CPUs run again.
    Resume,
}

/// Changes the state of an instance.
///
/// # Errors
/// `NotFound`, a conflict for a domain that is not ours or a state that does not fit, `Timeout`
/// when the guest does not shut down.
pub fn lifecycle(
    world: &World,
    key: &ObjectKey,
    change: &Change,
    reporter: &dyn Reporter,
) -> Result<Outcome> {
    if key.kind != Kind::Instance {
        return Err(Error::usage(format!(
            "{key} has no state to change: only instances have"
        )));
    }
    let _object = world
        .store()?
        .lock_object(Kind::Instance, key.name.as_str(), STORE_WAIT)?;
    let domain = find(world, key)?;
    owned(&domain, key)?;
    let state = domain.state()?;
    let (active, paused) = (state.is_active(), state.is_paused());
    let outcome = perform(world, key, change, &domain, (active, paused), reporter);
    if matches!(change, Change::Start | Change::Restart(_)) {
        crate::engine::tidy(world, reporter);
    }
    outcome
}

fn perform(
    world: &World,
    key: &ObjectKey,
    change: &Change,
    domain: &Domain,
    (active, paused): (bool, bool),
    reporter: &dyn Reporter,
) -> Result<Outcome> {
    match change {
        Change::Start if active && !paused => Ok(Outcome::AlreadyRunning),
        Change::Start if paused => {
            run(world, key, domain, Outcome::Resumed, Step::Resume, reporter)
        }
        Change::Start => run(world, key, domain, Outcome::Started, Step::Start, reporter),
        Change::Stop(_) if !active => Ok(Outcome::AlreadyStopped),
        Change::Stop(options) => {
            stop(world, key, domain, options, reporter)?;
            Ok(Outcome::Stopped)
        }
        Change::Restart(options) => {
            if active {
                stop(world, key, domain, options, reporter)?;
            }
            run(
                world,
                key,
                domain,
                Outcome::Restarted,
                Step::Start,
                reporter,
            )
        }
        Change::Pause if paused => Ok(Outcome::AlreadyPaused),
        Change::Pause if active => {
            run(world, key, domain, Outcome::Paused, Step::Suspend, reporter)
        }
        Change::Resume if active && !paused => Ok(Outcome::AlreadyRunning),
        Change::Resume if paused => {
            run(world, key, domain, Outcome::Resumed, Step::Resume, reporter)
        }
        Change::Pause | Change::Resume => Err(Error::conflict(format!("{key} is not running"))
            .hint(format!("kvmctl instances start {}", key.name))),
    }
}

/// Finds the domain of an instance.
///
/// # Errors
/// `NotFound` with a suggestion.
pub(in crate::engine) fn find(world: &World, key: &ObjectKey) -> Result<Domain> {
    match world.host()?.domain(key.name.as_str()) {
        Ok(domain) => Ok(domain),
        Err(e) if e.is_not_found() => {
            let begun = world.intents()?;
            let known = world.lost_record(&key.name)?;
            if known.is_some_and(|record| !begun.contains_key(&record.uid)) {
                return Err(domain_removed(key));
            }
            let briefs = world.host()?.domain_briefs()?;
            Err(not_found(
                Kind::Instance,
                &key.name,
                briefs.iter().map(|b| b.name.as_str()),
            ))
        }
        Err(e) => Err(e.into()),
    }
}

/// Words that the domain of an instance was undefined by somebody else.
pub(super) fn domain_removed(key: &ObjectKey) -> Error {
    Error::conflict(format!(
        "the domain of {key} was removed by hand, its disks may still be there"
    ))
    .hint(format!("kvmctl delete {key}"))
}

fn run(
    world: &World,
    key: &ObjectKey,
    domain: &Domain,
    outcome: Outcome,
    step: Step,
    reporter: &dyn Reporter,
) -> Result<Outcome> {
    let uid = domain.uid();
    let worker = InstanceWorker::new(world, key.name.clone(), uid);
    let plan: ObjectPlan = from_stages(key.clone(), outcome, vec![vec![step]]);
    execute(&plan, &worker, reporter)?;
    let reason = capitalised(&outcome.to_string());
    note(
        world,
        key,
        Some(uid),
        &reason,
        &format!("instance {outcome}"),
    );
    Ok(outcome)
}

fn stop(
    world: &World,
    key: &ObjectKey,
    domain: &Domain,
    options: &StopOptions,
    reporter: &dyn Reporter,
) -> Result<()> {
    let uid = domain.uid();
    let grace = Span::seconds(options.timeout.as_secs());
    reporter.phase(key, &format!("shutting down (up to {grace})"));
    let off = power::shutdown(world, domain, options.timeout)?;
    match (off, options.force) {
        (true, _) => note(world, key, Some(uid), "Stopped", "the guest powered off"),
        (false, true) => {
            match domain.destroy() {
                Err(e) if !e.is_not_now() => return Err(e.into()),
                _ => {}
            }
            note(
                world,
                key,
                Some(uid),
                "Stopped",
                "the guest did not power off in time, its power was cut",
            );
        }
        (false, false) => {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("{key} did not shut down within {grace}; it is still running"),
            )
            .hint(format!("kvmctl instances stop {} --force", key.name)));
        }
    }
    Ok(())
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}
