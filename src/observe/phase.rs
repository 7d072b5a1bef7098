//! Where an instance stands in its life, from what libvirt says, what was begun, and what the guest
//! said of itself. Pure.

use crate::api::{Condition, ConditionStatus, Phase};
use crate::libvirt::DomainState;
use crate::store::{Intent, IntentOp, Verdict};

/// Reason of an instance that is half made and that nobody is at.
pub(crate) const CREATE_INTERRUPTED: &str = "CreateInterrupted";

/// What was begun on an instance and has not ended.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    /// What it is.
    pub(crate) intent: Intent,
    /// Whether somebody is at it right now.
    pub(crate) working: bool,
}

impl Begun {
    /// Returns why it stands still and what to do, for a person; nothing while somebody is at it.
    pub(crate) fn message(&self) -> Option<String> {
        let Intent {
            pid,
            kind,
            name,
            message,
            ..
        } = &self.intent;
        if self.working {
            return None;
        }
        message.clone().or_else(|| {
            Some(format!(
                "process {pid} ended before it was done; repeat the command, or: kvmctl delete \
                 {kind} {name}, or: kvmctl reconcile"
            ))
        })
    }
}

/// Returns phase and reason. What was begun and has not ended outranks what libvirt says.
pub(crate) fn phase_of(
    state: DomainState,
    begun: Option<&Begun>,
    verdict: Option<&Verdict>,
) -> (Phase, Option<String>) {
    let because = |phase, reason: &str| (phase, Some(reason.to_owned()));
    let op = begun.map(|b| (b.intent.op, b.working));
    let interrupted = match op {
        Some((IntentOp::Create, false)) => return because(Phase::Pending, CREATE_INTERRUPTED),
        Some((IntentOp::Create, true)) => return because(Phase::Pending, "Creating"),
        Some((IntentOp::Delete, false)) => return because(Phase::Terminating, "DeleteInterrupted"),
        Some((IntentOp::Delete, true)) => return because(Phase::Terminating, "Deleting"),
        // The guest is what it was; only its description is on the way.
        Some((IntentOp::Update | IntentOp::Adopt, working)) => !working,
        None => false,
    };
    let (phase, reason) = of_state(state, verdict);
    match (reason, interrupted) {
        (None, true) => because(phase, "ChangeInterrupted"),
        (reason, _) => (phase, reason),
    }
}

fn of_state(state: DomainState, verdict: Option<&Verdict>) -> (Phase, Option<String>) {
    let because = |phase, reason: &str| (phase, Some(reason.to_owned()));
    match state {
        DomainState::Running if verdict.is_some_and(has_failed) => {
            let reason = verdict.and_then(|v| v.reason.clone());
            (
                Phase::Failed,
                reason.or_else(|| Some("NotReady".to_owned())),
            )
        }
        DomainState::Running => (Phase::Running, None),
        DomainState::Paused { io_error: true } => because(Phase::Paused, "IOError"),
        DomainState::Paused { io_error: false } => (Phase::Paused, None),
        DomainState::ShuttingDown => (Phase::Stopping, None),
        DomainState::Off => (Phase::Stopped, None),
        DomainState::Crashed => because(Phase::Crashed, "GuestCrashed"),
        DomainState::Suspended => because(Phase::Paused, "GuestSuspended"),
        DomainState::Unknown => because(Phase::Pending, "StateUnknown"),
    }
}

/// Tells a boot that went wrong from a guest that runs well and has nobody to report for it: an image
/// without cloud-init is not Ready, and nothing of it has failed.
fn has_failed(verdict: &Verdict) -> bool {
    let nobody = ["NoCloudInit", "CloudInitDisabled"];
    verdict.ready == ConditionStatus::False
        && !verdict
            .reason
            .as_deref()
            .is_some_and(|r| nobody.contains(&r))
}

/// Returns the `Ready` condition.
pub(crate) fn ready_condition(
    phase: Phase,
    reason: Option<&str>,
    verdict: Option<&Verdict>,
) -> Condition {
    match (phase, verdict) {
        (Phase::Running | Phase::Failed, Some(verdict)) => {
            let reason = verdict.reason.as_deref().unwrap_or(match verdict.ready {
                ConditionStatus::True => "CloudInitDone",
                _ => "NotReady",
            });
            let mut condition = Condition::new("Ready", verdict.ready, reason);
            condition.message.clone_from(&verdict.message);
            condition.last_transition_time = Some(verdict.since);
            condition
        }
        (Phase::Running, None) => Condition::new("Ready", ConditionStatus::Unknown, "Booting"),
        (phase, _) => {
            let reason = reason.map_or_else(|| phase.to_string(), str::to_owned);
            Condition::new("Ready", ConditionStatus::False, &reason)
        }
    }
}
