//! Deletes a stand-alone forward, from any half-made state.

use super::rules::require_firewall;
use super::worker::ForwardWorker;
use super::{OBJECT_WAIT, note};
use crate::api::{Kind, Name, ObjectKey, PortForward, Reporter};
use crate::engine::executor::execute;
use crate::engine::options::{Applied, DeleteOptions, DryRun};
use crate::error::{Error, Result};
use crate::observe::{World, not_found};
use crate::plan::forward;
use crate::store::{ForwardRecord, IntentOp, STORE_WAIT};

/// Deletes a forward.
///
/// # Errors
/// `NotFound`; a conflict for one in the list of an instance; what the firewall refuses. What is
/// interrupted shows as Terminating, and the same command goes on.
pub(in crate::engine) fn delete(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    // A store that is not there yet need not be made for what is not in it.
    let Some(record) = world.store_for_reading()?.forward_named(&key.name)? else {
        return Err(missing(world, &key.name)?);
    };
    let plan = forward::delete(key.clone());
    let steps = plan.steps();
    let applied = Applied {
        key: key.clone(),
        outcome: plan.outcome,
        notes: Vec::new(),
        explanation: steps
            .flat_map(|step| crate::engine::explain(step, &key.name))
            .collect(),
    };
    if options.dry_run != DryRun::None {
        return Ok(applied);
    }
    require_firewall(world)?;
    let store = world.store()?;
    let _object = store.lock_object(Kind::PortForward, key.name.as_str(), OBJECT_WAIT)?;
    // Another run may have been at it while we waited.
    let Some(record) = store.get::<ForwardRecord>(&record.uid)? else {
        return Ok(applied);
    };
    finish(world, key, record, reporter)?;
    Ok(applied)
}

/// Deletes what there is of a forward that is locked already.
///
/// # Errors
/// What the firewall or the store refuses.
pub(super) fn finish(
    world: &World,
    key: &ObjectKey,
    record: ForwardRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    let uid = record.uid;
    begin(world, record)?;
    let plan = forward::delete(key.clone());
    execute(&plan, &ForwardWorker::new(world, uid), reporter)?;
    note(
        world,
        key,
        uid,
        "Deleted",
        "the forward and its rules are gone",
    );
    Ok(())
}

/// Writes down that the forward is to go, before any rule goes.
fn begin(world: &World, mut record: ForwardRecord) -> Result<()> {
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    record.begin(IntentOp::Delete);
    Ok(store.put(&record)?)
}

fn missing(world: &World, name: &Name) -> Result<Error> {
    let known = world.wanted_forwards()?;
    if let Some(listed) = known.iter().find(|w| w.name == *name) {
        return Ok(in_a_list(&listed.object(None)));
    }
    let names = known.iter().map(|w| w.name.as_str());
    Ok(not_found(Kind::PortForward, name, names))
}

/// Words that a forward belongs to an instance's own list.
pub(super) fn in_a_list(forward: &PortForward) -> Error {
    let name = forward.metadata.name.as_ref().map_or("", Name::as_str);
    let instance = &forward.spec.instance;
    Error::conflict(format!(
        "forward {name:?} is in spec.ports of instance/{instance} and changes with it only"
    ))
    .hint(format!("kvmctl edit instance {instance}"))
}
