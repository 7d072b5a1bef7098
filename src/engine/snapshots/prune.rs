//! Prunes: of each source, the snapshots that no rule keeps.

use std::collections::BTreeSet;

use super::super::disk_files;
use super::volume_ref;
use crate::api::{Kind, Name, ObjectKey, SnapshotSource, Timestamp, Uid};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::retention::{self, Rules};
use crate::store::{Intent, IntentOp, SnapshotRecord};

/// What to keep.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// How many, of which age.
    pub rules: Rules,
    /// Only those of this source.
    pub source: Option<ObjectKey>,
}

/// What the rules come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Those that go, the oldest first.
    pub going: Vec<ObjectKey>,
    /// Those that stay, each with the rule that keeps it.
    pub kept: Vec<(ObjectKey, &'static str)>,
}

/// Finds out which snapshots are to go; nothing is changed. What is not whole is neither counted nor
/// deleted.
///
/// # Errors
/// Usage without a rule, which would delete everything.
pub fn prune(
    world: &World,
    request: &PruneRequest,
    chosen: &dyn Fn(&SnapshotRecord) -> bool,
) -> Result<Pruned> {
    if request.rules.is_empty() {
        return Err(Error::usage("nothing says what to keep")
            .hint("kvmctl snapshots prune --keep-last 7")
            .hint("kvmctl snapshots prune --keep-daily 7 --keep-weekly 4"));
    }
    let of = |source: &SnapshotSource| {
        let wanted = request.source.as_ref();
        wanted.is_none_or(|key| key.kind == source.kind && key.name == source.name)
    };
    let all = that_stand(world, &|r| of(&r.source) && chosen(r))?;
    let mut whole: Vec<(&SnapshotRecord, Timestamp)> =
        all.iter().filter_map(|r| Some((r, r.taken?))).collect();
    whole.sort_by_key(|(r, taken)| (r.source.uid, *taken, r.name.clone()));
    let mut pruned = Pruned::default();
    for row in whole.chunk_by(|(a, _), (b, _)| a.source.uid == b.source.uid) {
        let times: Vec<Timestamp> = row.iter().map(|(_, taken)| *taken).collect();
        let reasons = retention::keep(&times, &request.rules);
        for ((record, _), reason) in row.iter().zip(reasons) {
            let key = key_of(&record.name);
            match reason {
                Some(rule) => pruned.kept.push((key, rule)),
                None => pruned.going.push(key),
            }
        }
    }
    Ok(pruned)
}

/// Returns those of the chosen that are whole and stay: taken, nobody is about to delete them, and no
/// file of theirs is seen to be missing.
///
/// # Errors
/// What the store refuses; when the connection is broken.
pub(super) fn that_stand(
    world: &World,
    chosen: &dyn Fn(&SnapshotRecord) -> bool,
) -> Result<Vec<SnapshotRecord>> {
    // The intents first: who is deleted meanwhile has no record then.
    let store = world.store_for_reading()?;
    let intents: Vec<Intent> = store.all()?;
    let going: BTreeSet<Uid> = intents
        .iter()
        .filter(|i| i.kind == Kind::Snapshot && i.op != IntentOp::Update)
        .map(|i| i.uid)
        .collect();
    let all: Vec<SnapshotRecord> = store.all()?;
    let mut standing = Vec::new();
    for record in all.into_iter().filter(|r| r.is_taken() && chosen(r)) {
        if !going.contains(&record.uid) && has_files(world, &record)? {
            standing.push(record);
        }
    }
    Ok(standing)
}

fn has_files(world: &World, record: &SnapshotRecord) -> Result<bool> {
    for disk in &record.disks {
        if !disk_files::is_there(world, &volume_ref(&disk.file))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn key_of(name: &Name) -> ObjectKey {
    ObjectKey::new(Kind::Snapshot, name.clone())
}
