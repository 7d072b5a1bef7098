//! Labels and annotations of stand-alone forwards: they stand in no rule, so the domain that a forward
//! leads to carries them as well, for a store that is lost.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{Name, Uid};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::store::{ForwardRecord, InstanceRecord, STORE_WAIT};

/// Returns the instances whose notes speak of some forwards: of those that have what no rule tells.
pub(super) fn noted_at<'r>(records: impl Iterator<Item = &'r ForwardRecord>) -> BTreeSet<Name> {
    let labelled = records.filter(|r| has_any(r));
    labelled.map(|r| r.spec.instance.clone()).collect()
}

fn has_any(record: &ForwardRecord) -> bool {
    !record.labels.is_empty() || !record.annotations.is_empty()
}

/// Brings the notes of instances up to date. What cannot be written is told in the log: the store has
/// it, too.
pub(super) fn keep(world: &World, instances: &BTreeSet<Name>) {
    if instances.is_empty() {
        return;
    }
    if let Err(error) = write_all(world, instances) {
        tracing::warn!(target: "libvirt", "no copy of labels: {error}");
    }
}

fn write_all(world: &World, instances: &BTreeSet<Name>) -> Result<()> {
    let store = world.store()?;
    // Two runs would write what each of them knows.
    let _lock = store.lock(STORE_WAIT)?;
    let mut of: BTreeMap<Name, Vec<ForwardRecord>> = BTreeMap::new();
    for mut record in store.all::<ForwardRecord>()? {
        if record.deletion_timestamp.is_none() && has_any(&record) {
            record.end();
            of.entry(record.spec.instance.clone())
                .or_default()
                .push(record);
        }
    }
    for instance in instances {
        if let Err(error) = write(world, instance, of.remove(instance).unwrap_or_default()) {
            tracing::warn!(target: "libvirt", "instance/{instance} has no copy of labels: {error}");
        }
    }
    Ok(())
}

fn write(world: &World, instance: &Name, mut records: Vec<ForwardRecord>) -> Result<()> {
    let domain = match world.host()?.domain(instance.as_str()) {
        Ok(domain) => domain,
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    if domain.metadata_config()?.is_none() {
        return Ok(());
    }
    records.sort_by_key(|r| r.uid);
    let note =
        match records.is_empty() {
            true => None,
            false => Some(serde_json::to_string(&records).map_err(|e| {
                Error::failed("cannot write down the labels of forwards").caused_by(e)
            })?),
        };
    if domain.forwards_note()? != note {
        domain.set_forwards_note(note.as_deref())?;
    }
    Ok(())
}

/// Reads the notes of instances, by the identity of the forward; one that cannot be read is none.
pub(super) fn kept(world: &World, instances: &[InstanceRecord]) -> BTreeMap<Uid, ForwardRecord> {
    let read = |instance: &InstanceRecord| -> Option<Vec<ForwardRecord>> {
        let domain = world.host().ok()?.domain_by_uid(instance.uid).ok()?;
        serde_json::from_str(&domain.forwards_note().ok()??).ok()
    };
    let all = instances.iter().filter_map(read).flatten();
    all.map(|record| (record.uid, record)).collect()
}
