//! What is the same for all small objects: compare, write, tell.

use crate::api::{Kind, ObjectKey, ObjectMeta};
use crate::engine::governed::governed;
use crate::engine::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::{Outcome, Step};
use crate::store::{Annotations, AppliedMeta, Event, EventType, Labels};

/// What a small object is compared by and how it is written.
pub(super) fn settle(
    world: &World,
    key: ObjectKey,
    exists: bool,
    same: bool,
    step: Step,
    options: &ApplyOptions,
    write: impl FnOnce() -> Result<()>,
) -> Result<Applied> {
    if exists && options.mode == ApplyMode::Create {
        return Err(Error::conflict(format!(
            "{} {:?} already exists (AlreadyExists)",
            key.kind,
            key.name.as_str()
        ))
        .hint(format!("kvmctl get {key} -o yaml")));
    }
    let outcome = match (exists, same) {
        (false, _) => Outcome::Created,
        (true, false) => Outcome::Configured,
        (true, true) => Outcome::Unchanged,
    };
    if outcome != Outcome::Unchanged && options.dry_run == DryRun::None {
        write()?;
        event(world, &key, outcome);
    }
    Ok(Applied {
        explanation: crate::engine::explain(&step, &key.name),
        key,
        outcome,
        notes: Vec::new(),
    })
}

pub(super) fn event(world: &World, key: &ObjectKey, outcome: Outcome) {
    let reason = match outcome {
        Outcome::Created => "Created",
        Outcome::Deleted => "Deleted",
        _ => "Configured",
    };
    let event = Event::new(
        EventType::Normal,
        key.kind,
        key.name.as_str(),
        None,
        reason,
        outcome.to_string(),
    );
    // The journal is for people; the work is done.
    let _ = world.store().and_then(|s| Ok(s.record_event(&event)?));
}

pub(super) fn key_of(kind: Kind, meta: &ObjectMeta) -> Result<ObjectKey> {
    let name = meta
        .name
        .clone()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    Ok(ObjectKey::new(kind, name))
}

/// Identity and birth stay; labels and annotations are merged.
pub(super) fn kept_meta(
    mode: ApplyMode,
    wanted: &ObjectMeta,
    old: Option<&ObjectMeta>,
    last: &AppliedMeta,
) -> (ObjectMeta, AppliedMeta) {
    let (labels, annotations) = (Labels::new(), Annotations::new());
    let live = old.map_or((&labels, &annotations), |o| (&o.labels, &o.annotations));
    let governed = governed(mode, wanted, live, last);
    let mut meta = ObjectMeta {
        name: wanted.name.clone(),
        labels: governed.labels,
        annotations: governed.annotations,
        ..ObjectMeta::default()
    };
    meta.uid = old
        .and_then(|o| o.uid)
        .or_else(|| Some(crate::api::Uid::random()));
    meta.creation_timestamp = old
        .and_then(|o| o.creation_timestamp)
        .or_else(|| Some(crate::api::Timestamp::now()));
    (meta, governed.applied)
}
