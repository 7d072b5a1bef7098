//! Labels and annotations of objects whose spec is not merged: what a manifest asked for and asks for no
//! more goes, what others set stays.

use std::collections::BTreeMap;

use super::options::ApplyMode;
use crate::api::{Kind, ObjectKey, ObjectMeta};
use crate::error::Result;
use crate::observe::{StoredImage, World};
use crate::store::{
    Annotations, AppliedMeta, Labels, SecretRecord, SnapshotRecord, TypeRecord, VolumeRecord,
};

/// What an object gets.
pub(super) struct Governed {
    pub(super) labels: Labels,
    pub(super) annotations: Annotations,
    /// What is to be remembered of the manifest.
    pub(super) applied: AppliedMeta,
}

/// Merges what is wanted into what is there, three ways.
pub(super) fn governed(
    mode: ApplyMode,
    wanted: &ObjectMeta,
    live: (&Labels, &Annotations),
    last: &AppliedMeta,
) -> Governed {
    if mode == ApplyMode::Replace {
        // What no manifest says is not for a later one to take away.
        return Governed {
            labels: wanted.labels.clone(),
            annotations: wanted.annotations.clone(),
            applied: last.clone(),
        };
    }
    Governed {
        labels: merged(&last.labels, &wanted.labels, live.0),
        annotations: merged(&last.annotations, &wanted.annotations, live.1),
        applied: AppliedMeta::of(wanted),
    }
}

/// Returns what a manifest asked of an object last; nothing of kinds that remember it by themselves.
///
/// # Errors
/// If the store cannot be read.
pub(super) fn last_applied(world: &World, key: &ObjectKey) -> Result<AppliedMeta> {
    let (store, name) = (world.store_for_reading()?, &key.name);
    let found = match key.kind {
        Kind::Secret => store.get::<SecretRecord>(name)?.map(|r| r.applied),
        Kind::InstanceType => store.get::<TypeRecord>(name)?.map(|r| r.applied),
        Kind::Image => store.get::<StoredImage>(name)?.map(|r| r.applied),
        Kind::Volume => store.get::<VolumeRecord>(name)?.map(|r| r.applied),
        Kind::Snapshot => store.get::<SnapshotRecord>(name)?.map(|r| r.applied),
        _ => None,
    };
    Ok(found.unwrap_or_default())
}

fn merged<K: Ord + Clone, V: Clone>(
    last: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    live: &BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    let others = live.iter().filter(|(key, _)| !last.contains_key(key));
    let all = others.chain(wanted);
    all.map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_set_stays_and_what_is_asked_for_no_more_goes() {
        let map = |pairs: &[(&'static str, u8)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
        let last = map(&[("ours", 1), ("old", 1)]);
        let live = map(&[("ours", 9), ("old", 1), ("theirs", 1)]);
        let wanted = map(&[("ours", 2), ("new", 1)]);
        let expected = map(&[("ours", 2), ("new", 1), ("theirs", 1)]);
        assert_eq!(merged(&last, &wanted, &live), expected);
    }
}
