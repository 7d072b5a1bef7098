//! One load balancer: its plan, and what is told of it.

use crate::api::{BalancerTarget, LoadBalancerSpec, ObjectKey};
use crate::engine::options::Applied;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::{ObjectPlan, Outcome, balancer};
use crate::store::{AppliedBalancer, BalancerRecord};

pub(super) fn already_exists(key: &ObjectKey) -> Error {
    Error::conflict(format!(
        "{} {:?} already exists (AlreadyExists)",
        key.kind,
        key.name.as_str()
    ))
    .hint(format!("kvmctl get {key} -o yaml"))
}

pub(super) fn told(plan: &ObjectPlan) -> Applied {
    let steps = plan.steps();
    Applied {
        key: plan.key.clone(),
        outcome: plan.outcome,
        notes: plan.notes.clone(),
        explanation: steps
            .flat_map(|step| crate::engine::explain(step, &plan.key.name))
            .collect(),
    }
}

pub(super) fn applied_of(record: &BalancerRecord) -> AppliedBalancer {
    AppliedBalancer {
        labels: record.labels.clone(),
        annotations: record.annotations.clone(),
        spec: record.spec.clone(),
    }
}

/// A health check is nothing that nginx does.
pub(super) fn unwatched(world: &World, record: &BalancerRecord) -> Result<Option<String>> {
    let unwatched = record.spec.health_check.is_some() && !world.store()?.is_watched();
    Ok(unwatched.then(|| {
        "nobody watches its targets: kvmctl reconcile --watch does it, and kvmctl setup --persist lets \
         systemd do it"
            .to_owned()
    }))
}

pub(super) fn plan_of(key: &ObjectKey, outcome: Outcome, record: &BalancerRecord) -> ObjectPlan {
    let (listen, targets) = words(&record.spec);
    balancer::serve(key.clone(), outcome, listen, targets)
}

fn words(spec: &LoadBalancerSpec) -> (Vec<String>, Vec<String>) {
    let listen = spec.sockets().iter().map(ToString::to_string).collect();
    let mut targets: Vec<String> = spec.targets.iter().map(in_words).collect();
    if let Some(selector) = &spec.selector {
        let labels: Vec<String> = selector
            .match_labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        targets.push(format!("every instance with {}", labels.join(",")));
    }
    (listen, targets)
}

/// A target, and what is particular about it.
fn in_words(target: &BalancerTarget) -> String {
    let weight = Some(target.weight()).filter(|weight| *weight != 1);
    let more = [
        weight.map(|weight| format!("weight {weight}")),
        target.is_backup().then(|| "backup".to_owned()),
        target.is_draining().then(|| "drained".to_owned()),
    ];
    let more: Vec<String> = more.into_iter().flatten().collect();
    match more.is_empty() {
        true => target.to_string(),
        false => format!("{target} ({})", more.join(", ")),
    }
}

pub(super) fn line(record: &BalancerRecord) -> String {
    let (listen, targets) = words(&record.spec);
    let (listen, targets) = (listen.join(" and "), targets.join(", "));
    match targets.is_empty() {
        true => format!("{listen} leads nowhere yet"),
        false => format!("{listen} leads to {targets}"),
    }
}
