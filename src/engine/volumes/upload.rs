//! Uploading: a volume gets the content of a file. It goes to a new file in the pool, which takes the
//! place of the old one when it is whole: a run that is killed leaves the one or the other.

use super::super::executor::execute;
use super::content::Content;
use super::import::{open, stage};
use super::make::pool;
use super::worker::VolumeWorker;
use super::{ImportRequest, OBJECT_WAIT, begin_with, note, resize, volume_ref};
use crate::api::{Kind, ObjectKey, Preallocation, Quantity, Reporter};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::volume::{self as plan_volume, NewVolume, Source};
use crate::store::{FileRecord, IntentOp, VolumeRecord};

/// Gives a volume the content of a file, which may be smaller than the volume.
///
/// # Errors
/// A conflict while somebody has it or something stands on it; usage for a file that is not taken, is
/// of another format or larger.
pub fn upload(
    world: &World,
    key: &ObjectKey,
    request: &ImportRequest,
    reporter: &dyn Reporter,
) -> Result<()> {
    let _object = world
        .store()?
        .lock_object(Kind::Volume, key.name.as_str(), OBJECT_WAIT)?;
    resize::finish_locked(world, key, reporter)?;
    let before = resize::ours(world, key)?;
    super::delete::refuse_used(world, key, &before)?;
    let status = world.volume(&key.name)?.status.unwrap_or_default();
    let Some(capacity) = status.capacity else {
        return Err(Error::failed(format!(
            "{key} is not there: {}",
            status.message.unwrap_or_default()
        )));
    };
    let limits = super::super::images::limits(&pool(world, &before.file.pool)?, request.sparse)?;
    let (mut file, fetched) = open(world, request, key, reporter)?;
    let staged = stage(world, request, &mut file, &limits, key, reporter);
    if let Some(path) = fetched {
        let _ = std::fs::remove_file(path);
    }
    let staged = staged?;
    let inspected = *staged.inspected();
    refuse_unfit(
        key,
        &before,
        capacity,
        inspected.format,
        inspected.virtual_size,
    )?;
    let mut record = before.clone();
    record.generation += 1;
    record.file.volume = successor(&record);
    let new = NewVolume {
        volume: volume_ref(&record.file),
        format: record.format,
        capacity: Some(capacity),
        preallocation: Preallocation::Off,
        source: Source::File {
            bytes: staged.size(),
        },
    };
    let sidecar = |of: &VolumeRecord| FileRecord {
        pool: of.file.pool.clone(),
        volume: of.sidecar(),
    };
    let files = [record.file.clone(), sidecar(&record)];
    let old = [volume_ref(&before.file), volume_ref(&sidecar(&before))];
    let plan = plan_volume::replace(key.clone(), new, old);
    begin_with(world, &before, IntentOp::Update, &files)?;
    let content = Some(Content::from(staged));
    let worker = VolumeWorker::new(world, record.clone(), key, reporter).with_content(content);
    if let Err(failed) = execute(&plan, &worker, reporter) {
        // What was begun is taken back, or finished where the new file is the volume already.
        let error = failed.error.context(format!("cannot upload to {key}"));
        return Err(match resize::finish_locked(world, key, reporter) {
            Ok(()) => error,
            Err(left) => error.caused_by(format!("could not take it back: {left}")),
        });
    }
    note(world, &record, "Uploaded", "the volume has other content");
    Ok(())
}

fn refuse_unfit(
    key: &ObjectKey,
    volume: &VolumeRecord,
    capacity: Quantity,
    format: crate::api::DiskFormat,
    size: Quantity,
) -> Result<()> {
    if format != volume.format {
        return Err(Error::usage(format!(
            "the file is {format}, and {key} is {}",
            volume.format
        ))
        .hint(format!(
            "qemu-img convert -f {format} -O {} FILE COPY",
            volume.format
        )));
    }
    if size > capacity {
        return Err(Error::usage(format!(
            "the file's disk has {size}, and {key} has {capacity}"
        ))
        .hint(format!("kvmctl volumes resize {} --size {size}", key.name)));
    }
    Ok(())
}

/// Returns the name of the next file of a volume: `NAME.UID8.gN.FORMAT`.
fn successor(record: &VolumeRecord) -> String {
    let VolumeRecord {
        name,
        uid,
        generation,
        format,
        ..
    } = record;
    format!("{name}.{}.g{generation}.{format}", uid.short())
}
