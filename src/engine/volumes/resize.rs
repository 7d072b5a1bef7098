//! Resizing: online through QEMU, so that the guest sees it at once, offline through the pool.

use super::super::executor::execute;
use super::worker::VolumeWorker;
use super::{OBJECT_WAIT, begin, note, record_of, volume_ref};
use crate::api::{Kind, ObjectKey, Quantity, Reporter};
use crate::error::{Error, Result};
use crate::libvirt::PoolSort;
use crate::observe::World;
use crate::plan::volume::{self as plan_volume, Step};
use crate::plan::{ObjectPlan, Outcome};
use crate::store::{IntentOp, VolumeRecord};

/// Gives a volume another size.
///
/// # Errors
/// A conflict for a smaller size unless `shrink` allows it, and for one that runs even then.
pub fn resize(
    world: &World,
    key: &ObjectKey,
    size: Quantity,
    shrink: bool,
    reporter: &dyn Reporter,
) -> Result<Outcome> {
    if !size.bytes().is_multiple_of(512) {
        let message = format!("{size} is not a multiple of 512 bytes, which disks are made of");
        return Err(Error::usage(message));
    }
    let _object = world
        .store()?
        .lock_object(Kind::Volume, key.name.as_str(), OBJECT_WAIT)?;
    finish_locked(world, key, reporter)?;
    let record = ours(world, key)?;
    let Some(step) = step(world, key, &record, size, shrink)? else {
        return Ok(Outcome::Unchanged);
    };
    let mut new = record;
    new.spec.size = Some(size);
    let plan = plan_volume::change(key.clone(), Some(step));
    run(world, key, new, &plan, reporter)?;
    Ok(Outcome::Configured)
}

pub(super) fn ours(world: &World, key: &ObjectKey) -> Result<VolumeRecord> {
    if let Some(record) = record_of(world, &key.name)? {
        return Ok(record);
    }
    // Says that it is not found, or whose it is.
    world.volume(&key.name)?;
    Err(Error::conflict(format!("{key} is not managed by kvmctl")))
}

/// Plans a change of size; nothing where it has it.
///
/// # Errors
/// As [`resize`].
pub(super) fn step(
    world: &World,
    key: &ObjectKey,
    record: &VolumeRecord,
    size: Quantity,
    shrink: bool,
) -> Result<Option<Step>> {
    let status = world.volume(&key.name)?.status.unwrap_or_default();
    let Some(has) = status.capacity else {
        return Err(Error::failed(format!(
            "{key} is not there: {}",
            status.message.unwrap_or_default()
        )));
    };
    if size == has {
        return Ok(None);
    }
    let file = &record.file;
    if world.host()?.pool(&file.pool)?.sort()? == PoolSort::Logical {
        let volume = status.path.unwrap_or_default();
        return Err(Error::conflict(format!(
            "{key} is a logical volume: libvirt does not resize it, LVM does"
        ))
        .hint(format!("lvextend -L {}b {volume}", size.bytes()))
        .hint(format!("virsh pool-refresh {}", file.pool)));
    }
    if size < has {
        let smaller =
            format!("{key} has {has}, and {size} is less: what lies beyond would be lost");
        if !shrink {
            return Err(Error::conflict(smaller).hint(format!(
                "kvmctl volumes resize {} --size {size} --allow-shrink",
                key.name
            )));
        }
        if let Some(busy) = status.attached_to.iter().find(|u| u.running) {
            return Err(Error::conflict(format!(
                "{key} is attached to {:?}, which runs: a disk does not shrink under a guest",
                busy.domain
            ))
            .hint(format!("kvmctl instances stop {}", busy.domain)));
        }
    }
    Ok(Some(Step::Resize {
        volume: volume_ref(&record.file),
        capacity: size,
        shrink: size < has,
    }))
}

/// Carries a change out, written down before.
///
/// # Errors
/// What libvirt refuses; the intent then stays.
pub(super) fn run(
    world: &World,
    key: &ObjectKey,
    mut record: VolumeRecord,
    plan: &ObjectPlan,
    reporter: &dyn Reporter,
) -> Result<()> {
    let before = ours(world, key)?;
    if record.spec != before.spec {
        record.generation += 1;
    }
    begin(world, &record, IntentOp::Update)?;
    let worker = VolumeWorker::new(world, record.clone(), key, reporter);
    if let Err(failed) = execute(plan, &worker, reporter) {
        // A change that was refused is no change.
        let back = VolumeWorker::new(world, before, key, reporter).record();
        return Err(match back {
            Ok(()) => failed.error,
            Err(left) => failed
                .error
                .caused_by(format!("could not take it back: {left}")),
        });
    }
    note(world, &record, "Configured", "the volume was changed");
    Ok(())
}

/// Finishes a change that was cut off: the record says what is wanted. What would lose data is left to
/// who asks for it again.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn finish(world: &World, key: &ObjectKey, reporter: &dyn Reporter) -> Result<()> {
    let _object = world
        .store()?
        .lock_object(Kind::Volume, key.name.as_str(), OBJECT_WAIT)?;
    finish_locked(world, key, reporter)
}

/// As [`finish`], for a caller that has locked the volume already.
pub(super) fn finish_locked(world: &World, key: &ObjectKey, reporter: &dyn Reporter) -> Result<()> {
    let begun = super::intent_of(world, &key.name)?;
    if begun.as_ref().is_none_or(|i| i.op != IntentOp::Update) {
        return Ok(());
    }
    let mut record = ours(world, key)?;
    let files = begun.map(|i| i.files).unwrap_or_default();
    VolumeWorker::new(world, record.clone(), key, reporter).delete_others(&files)?;
    let has = world.volume(&key.name)?.status.and_then(|s| s.capacity);
    let step = match (record.spec.size, has) {
        (Some(wanted), Some(has)) if wanted > has => Some(Step::Resize {
            volume: volume_ref(&record.file),
            capacity: wanted,
            shrink: false,
        }),
        (Some(wanted), Some(has)) if wanted < has => {
            record.spec.size = Some(has);
            None
        }
        _ => None,
    };
    let plan = plan_volume::change(key.clone(), step);
    let worker = VolumeWorker::new(world, record, key, reporter);
    Ok(execute(&plan, &worker, reporter)?)
}

/// Lets the record of a volume say the size that it was given by a restore.
///
/// # Errors
/// What libvirt or the store refuses.
pub(in crate::engine) fn settle_size(
    world: &World,
    record: &VolumeRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    let key = ObjectKey::new(Kind::Volume, record.name.clone());
    let has = world.volume(&record.name)?.status.and_then(|s| s.capacity);
    if record.spec.size.is_none() || has.is_none() || record.spec.size == has {
        return Ok(());
    }
    let mut record = record.clone();
    record.spec.size = has;
    VolumeWorker::new(world, record, &key, reporter).record()
}
