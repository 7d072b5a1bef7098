//! Targets that a watch took out and nobody takes in again: it was ended, or the balancer has no health
//! check any more.

use super::{note, set_out, watch};
use crate::api::{Kind, Name, ObjectKey, PortNumber, TargetHealth, Uid};
use crate::engine::reconcile::Finding;
use crate::error::Result;
use crate::host::probe::probe_all;
use crate::observe::{WantedBalancer, World};
use crate::store::BalancerRecord;

/// A target that is out and well.
struct Stranded {
    uid: Uid,
    key: ObjectKey,
    instance: Name,
    port: PortNumber,
}

/// Finds them; changes nothing.
///
/// # Errors
/// What the daemon or the store refuses.
pub(super) fn check(world: &World) -> Result<Vec<Finding>> {
    let found = find(world)?.into_iter();
    Ok(found
        .map(|target| target.finding(false, "kvmctl reconcile takes it in".to_owned()))
        .collect())
}

/// Takes them in.
///
/// # Errors
/// What the daemon or the store refuses; what nginx refuses is in the finding.
pub(super) fn take_in(world: &World) -> Result<Vec<Finding>> {
    let found = find(world)?.into_iter();
    Ok(found
        .map(|target| {
            let flip = (target.instance.clone(), target.port, false);
            match set_out(world, target.uid, &[flip]) {
                Ok(_) => {
                    let text = format!("{}:{} is taken in again", target.instance, target.port);
                    note(world, &target.key, target.uid, "TargetHealth", &text);
                    target.finding(true, "taken in again".to_owned())
                }
                Err(error) => target.finding(false, error.to_string()),
            }
        })
        .collect())
}

impl Stranded {
    fn finding(&self, mended: bool, action: String) -> Finding {
        let Self { instance, port, .. } = self;
        Finding {
            object: self.key.to_string(),
            problem: format!("has {instance}:{port} out, which is well, and nobody watches"),
            mended,
            action,
        }
    }
}

fn find(world: &World) -> Result<Vec<Stranded>> {
    let store = world.store_for_reading()?;
    let is_watched = store.is_watched();
    let left = |r: &BalancerRecord| {
        let looked_after = is_watched && r.spec.health_check.is_some();
        !r.out.is_empty() && r.begun.is_none() && !looked_after
    };
    let records: Vec<BalancerRecord> = store.all()?;
    if !records.iter().any(left) {
        return Ok(Vec::new());
    }
    let wanted = world.wanted_balancers()?;
    let wanted = wanted.iter().filter(|w| left(&w.record));
    Ok(wanted.flat_map(well).collect())
}

/// Returns the targets of a balancer that are out and well.
fn well(wanted: &WantedBalancer) -> Vec<Stranded> {
    let record = &wanted.record;
    let out = wanted.resolved.targets.iter().filter(|t| t.out);
    let reached: Vec<_> = out
        .filter_map(|t| Some((&t.target, *t.address.as_ref().ok()?)))
        .collect();
    let probes: Vec<_> = reached
        .iter()
        .map(|(_, at)| watch::probe(wanted, *at))
        .collect();
    let answers = probe_all(&probes).into_iter();
    let well = reached.into_iter().zip(answers).filter(|(_, answer)| {
        record.spec.health_check.is_none() || answer.health != TargetHealth::Unhealthy
    });
    well.map(|((target, _), _)| Stranded {
        uid: record.uid,
        key: ObjectKey::new(Kind::LoadBalancer, record.name.clone()),
        instance: target.instance.clone(),
        port: target.port,
    })
    .collect()
}
