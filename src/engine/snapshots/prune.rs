//! Prunes: of each source, the snapshots that no rule keeps.

use crate::api::{Kind, Name, ObjectKey, SnapshotSource, Timestamp};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::retention::{self, Rules};
use crate::store::SnapshotRecord;

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
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let of = |source: &SnapshotSource| {
        let wanted = request.source.as_ref();
        wanted.is_none_or(|key| key.kind == source.kind && key.name == source.name)
    };
    let mut whole: Vec<(&SnapshotRecord, Timestamp)> = all
        .iter()
        .filter(|r| of(&r.source) && chosen(r))
        .filter_map(|r| Some((r, r.taken?)))
        .collect();
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

fn key_of(name: &Name) -> ObjectKey {
    ObjectKey::new(Kind::Snapshot, name.clone())
}
