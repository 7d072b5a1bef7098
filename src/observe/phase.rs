//! Where an instance stands in its life, from what libvirt says, what was begun, and what the guest
//! said of itself. Pure.

use crate::api::{Condition, ConditionStatus, Phase};
use crate::libvirt::DomainState;
use crate::store::{Intent, IntentOp, Verdict};

/// Returns phase and reason. What was begun and has not ended outranks what libvirt says.
pub(crate) fn phase_of(
    state: DomainState,
    intent: Option<&Intent>,
    verdict: Option<&Verdict>,
) -> (Phase, Option<String>) {
    let because = |phase, reason: &str| (phase, Some(reason.to_owned()));
    match intent.map(|i| i.op) {
        Some(IntentOp::Create) => return because(Phase::Pending, "CreateInterrupted"),
        Some(IntentOp::Delete) => return because(Phase::Terminating, "DeleteInterrupted"),
        Some(IntentOp::Update | IntentOp::Adopt) | None => {}
    }
    match state {
        DomainState::Running if verdict.is_some_and(|v| v.ready == ConditionStatus::False) => {
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

/// Returns the `Ready` condition.
pub(crate) fn ready_condition(phase: Phase, verdict: Option<&Verdict>) -> Condition {
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
        (phase, _) => Condition::new("Ready", ConditionStatus::False, &phase.to_string()),
    }
}
