//! `add-target` and `remove-target`: the list of a balancer, entry by entry.

use super::OBJECT_WAIT;
use super::apply::update;
use super::desired::with_spec;
use crate::api::{
    BalancerTarget, Kind, LoadBalancerSpec, Name, Object, ObjectKey, PortNumber, Reporter,
};
use crate::engine::options::{Applied, DryRun};
use crate::engine::references;
use crate::error::{Error, Result};
use crate::manifest::{self, Located, Purpose};
use crate::observe::{World, not_found};
use crate::store::BalancerRecord;

/// Adds targets; one that is there already becomes what is given, and is not drained any more.
///
/// # Errors
/// `NotFound`; usage for what no manifest could say; what nginx refuses.
pub fn add_targets(
    world: &World,
    key: &ObjectKey,
    targets: &[BalancerTarget],
    dry_run: DryRun,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    change(world, key, dry_run, reporter, |_, spec| {
        for target in targets {
            let mut list = spec.targets.iter_mut();
            match list.find(|t| t.instance == target.instance && t.port == target.port) {
                Some(there) => target.clone_into(there),
                None => spec.targets.push(target.clone()),
            }
        }
        Ok(())
    })
}

/// Removes targets, each named by its instance, or by instance and port.
///
/// # Errors
/// `NotFound` for a target that is none; a conflict for one that the selector finds; what nginx
/// refuses.
pub fn remove_targets(
    world: &World,
    key: &ObjectKey,
    targets: &[(Name, Option<PortNumber>)],
    dry_run: DryRun,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    change(world, key, dry_run, reporter, |record, spec| {
        for (instance, port) in targets {
            let named = |t: &BalancerTarget| {
                t.instance == *instance && port.is_none_or(|port| t.port == port)
            };
            if !spec.targets.iter().any(named) {
                return Err(no_target(world, record, instance, *port)?);
            }
            spec.targets.retain(|t| !named(t));
        }
        Ok(())
    })
}

/// Words that an instance is no target, or is one by its labels only.
///
/// # Errors
/// What the daemon or the store refuses.
pub(super) fn no_target(
    world: &World,
    record: &BalancerRecord,
    instance: &Name,
    port: Option<PortNumber>,
) -> Result<Error> {
    let name = match port {
        Some(port) => format!("{instance}:{port}"),
        None => instance.to_string(),
    };
    let targets = world.whereabouts()?.targets(&record.spec);
    let named =
        |t: &BalancerTarget| t.instance == *instance && port.is_none_or(|port| t.port == port);
    if targets.iter().any(|(t, _)| named(t)) {
        let message = format!("{name} is a target of {} by its labels", lb(record));
        return Ok(Error::conflict(message)
            .hint(format!("kvmctl label instance {instance} KEY-"))
            .hint(format!("kvmctl lb drain {} {name}", record.name)));
    }
    let known: Vec<String> = targets.iter().map(|(t, _)| t.to_string()).collect();
    let known = match known.is_empty() {
        true => "none".to_owned(),
        false => known.join(", "),
    };
    let message = format!("{name} is no target of {}", lb(record));
    Ok(Error::not_found(message).caused_by(format!("its targets: {known}")))
}

fn lb(record: &BalancerRecord) -> String {
    format!("loadbalancer/{}", record.name)
}

/// Changes the spec of a balancer under its lock, held to the same rules as a manifest.
///
/// # Errors
/// `NotFound`; what `change` or the rules refuse; what nginx refuses.
pub(super) fn change(
    world: &World,
    key: &ObjectKey,
    dry_run: DryRun,
    reporter: &dyn Reporter,
    change: impl FnOnce(&BalancerRecord, &mut LoadBalancerSpec) -> Result<()>,
) -> Result<Applied> {
    let dry = dry_run != DryRun::None;
    let _object = match dry {
        true => None,
        false => {
            let store = world.store()?;
            Some(store.lock_object(Kind::LoadBalancer, key.name.as_str(), OBJECT_WAIT)?)
        }
    };
    let before = find(world, key)?;
    let mut spec = before.spec.clone();
    change(&before, &mut spec)?;
    let after = with_spec(&before, spec);
    let object = Object::from(after.object());
    let located = Located::elsewhere(object.clone(), "the command line");
    manifest::validate(&[located], Purpose::Apply).map_err(|found| manifest::into_error(&found))?;
    references::check(world, &[object])?;
    update(world, key, before, after, dry, reporter)
}

/// Finds a balancer that is not being deleted.
///
/// # Errors
/// `NotFound`; a conflict where its deletion has begun.
pub(super) fn find(world: &World, key: &ObjectKey) -> Result<BalancerRecord> {
    let all: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
    match all.iter().find(|r| r.name == key.name) {
        Some(record) if record.is_going() => {
            Err(Error::conflict(format!("{key} is being deleted"))
                .hint(format!("kvmctl delete {key}")))
        }
        Some(record) => Ok(record.clone()),
        None => {
            let names = all.iter().map(|r| r.name.as_str());
            Err(not_found(Kind::LoadBalancer, &key.name, names))
        }
    }
}
