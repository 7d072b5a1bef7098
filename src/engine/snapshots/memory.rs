//! The whole state of a guest that runs, its memory with it, kept within its own disks.
//!
//! QEMU keeps it in the qcow2 files themselves: there is no file of its own, and no overlay.

use std::collections::BTreeSet;
use std::time::Instant;

use super::running::{Taken, forget_checkpoint};
use crate::api::{Consistency, Name, ObjectKey, Reporter, Timestamp, Uid};
use crate::error::{Error, Kind, Result};
use crate::host::{ImagePath, QemuImg};
use crate::libvirt::Domain;
use crate::libvirt::xml::disk::DiskXml;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::xml::snapshot::SnapshotXml;
use crate::observe::World;
use crate::store::{IN_LIBVIRT, Intent, STORE_WAIT, SnapshotRecord};

/// Keeps memory and disks as they are now. The guest stands still while its memory is written.
///
/// # Errors
/// A conflict where it does not run or has a disk that cannot keep a snapshot; what libvirt refuses.
pub(super) fn take(
    world: &World,
    key: &ObjectKey,
    domain: Uid,
    snapshot: &str,
    reporter: &dyn Reporter,
) -> Result<Taken> {
    let domain = world.host()?.domain_by_uid(domain)?;
    let live = domain.live()?;
    check(key, &domain, &live)?;
    reporter.phase(key, "writing the memory");
    let (at, begun) = (Timestamp::now(), Instant::now());
    domain.take_snapshot(&within_disks(snapshot, &live))?;
    let stood = begun.elapsed().as_millis();
    Ok(Taken {
        at,
        consistency: Consistency::Crash,
        frozen_ms: None,
        checkpoint: None,
        incremental: Vec::new(),
        notes: vec![format!(
            "the guest stood still for at most {stood} ms while its memory was written"
        )],
    })
}

/// Refuses what cannot be done, before anything is.
///
/// # Errors
/// A conflict with the reason.
pub(super) fn check(key: &ObjectKey, domain: &Domain, live: &DomainXml) -> Result<()> {
    let name = domain.name();
    let refused = |why: String| Error::conflict(format!("cannot take {key} with memory: {why}"));
    if !domain.state()?.is_active() {
        return Err(refused(format!("{name:?} does not run"))
            .hint(format!("kvmctl instances start {name}"))
            .hint("without --memory it is taken of a stopped instance"));
    }
    if let Some(job) = domain.running_job()? {
        let what = job.operation.as_str();
        return Err(refused(format!("a {what} of somebody else's runs on it"))
            .hint(format!("virsh domjobinfo {name}")));
    }
    if live.is_uefi() {
        return Err(refused(format!(
            "{name:?} has UEFI firmware, whose variables QEMU cannot keep with it"
        ))
        .hint("without --memory all its disks are kept"));
    }
    let unfit = |d: &&DiskXml| is_written(d) && format_of(d) != Some("qcow2");
    if let Some(disk) = live.devices.disks.iter().find(unfit) {
        return Err(refused(format!(
            "disk {} of {name:?} is {}, and only qcow2 can keep it",
            disk.target.dev,
            format_of(disk).unwrap_or("of unknown format")
        ))
        .hint("without --memory all its disks are kept"));
    }
    Ok(())
}

fn within_disks(snapshot: &str, domain: &DomainXml) -> SnapshotXml {
    let all = domain.devices.disks.iter();
    let keeps = |d: &DiskXml| is_written(d) && format_of(d) == Some("qcow2");
    SnapshotXml::internal(snapshot, all.map(|d| (d.target.dev.as_str(), keeps(d))))
}

fn is_written(disk: &DiskXml) -> bool {
    disk.device == "disk" && disk.readonly.is_none()
}

fn format_of(disk: &DiskXml) -> Option<&str> {
    disk.driver.as_ref()?.format.as_deref()
}

/// Makes the instance what it was, and lets it run. What kvmctl keeps with it (labels, what was asked
/// for) stays as it is now. Returns what a person should know.
///
/// # Errors
/// A conflict for what would end the guest instead; what libvirt refuses.
pub(super) fn revert(
    world: &World,
    key: &ObjectKey,
    domain: Uid,
    snapshot: &str,
    reporter: &dyn Reporter,
) -> Result<Vec<String>> {
    let found = world.host()?.domain_by_uid(domain)?;
    let name = found.name();
    let Some(then) = found.as_of(snapshot)? else {
        return Err(Error::new(
            Kind::NotFound,
            format!("libvirt knows no memory of {key} for {name:?} any more"),
        )
        .hint(format!("kvmctl delete {key}")));
    };
    refuse_changed(key, &found, &then)?;
    if let Some(job) = found.running_job()? {
        let what = job.operation.as_str();
        return Err(
            Error::conflict(format!("cannot revert {name:?}: a {what} runs on it"))
                .hint(format!("virsh domjobinfo {name}")),
        );
    }
    let notes = drop_checkpoints(world, &found)?;
    let metadata = found.metadata_config()?;
    reporter.phase(key, "loading the memory");
    found.revert_to(snapshot)?;
    if let Some(metadata) = metadata {
        // With the rest of the definition libvirt has put back ours, too.
        found.set_metadata_config(&metadata)?;
        found.set_metadata_live(&metadata)?;
    }
    Ok(notes)
}

/// A disk that came later would be lost from the definition, and one that went cannot come back.
fn refuse_changed(key: &ObjectKey, domain: &Domain, then: &DomainXml) -> Result<()> {
    let disks = |xml: &DomainXml| -> BTreeSet<(String, String)> {
        let written = xml.devices.disks.iter().filter(|d| is_written(d));
        written
            .map(|d| {
                (
                    d.target.dev.clone(),
                    d.path().unwrap_or_default().to_owned(),
                )
            })
            .collect()
    };
    let (now, then) = (disks(&domain.live()?), disks(then));
    let Some((target, path)) = now.symmetric_difference(&then).next() else {
        return Ok(());
    };
    let name = domain.name();
    let what = match now.contains(&(target.clone(), path.clone())) {
        true => format!("disk {target} ({path}) has come since"),
        false => format!("disk {target} ({path}) has gone since"),
    };
    Err(
        Error::conflict(format!("cannot revert {name:?} to {key}: {what}"))
            .hint(format!("kvmctl describe instance {name}")),
    )
}

/// Frees the disks of a domain that is going of all that kvmctl keeps in them, for volumes outlive it,
/// and forgets the snapshots whose state lies nowhere else.
///
/// # Errors
/// What libvirt or the store refuses.
pub(in crate::engine) fn release(world: &World, domain: &Domain) -> Result<()> {
    let lost = |r: &SnapshotRecord| r.spec.memory == Some(true) && r.domain == Some(domain.uid());
    let kept: Vec<SnapshotRecord> = world.store()?.all()?;
    for record in kept.iter().filter(|r| lost(r)) {
        for note in recall(world, domain.uid(), &record.name_in_libvirt())? {
            tracing::warn!(target: "libvirt", "{note}");
        }
    }
    let ours = |name: &String| name.starts_with(IN_LIBVIRT);
    for snapshot in domain.snapshots()?.iter().filter(|name| ours(name)) {
        domain.delete_snapshot(snapshot)?;
    }
    for checkpoint in domain.checkpoints()?.iter().filter(|name| ours(name)) {
        forget_checkpoint(world, domain.uid(), checkpoint)?;
    }
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    let all: Vec<SnapshotRecord> = store.all()?;
    for record in all.into_iter().filter(lost) {
        store.remove::<SnapshotRecord>(&record.name)?;
        store.remove::<Intent>(&record.uid)?;
    }
    Ok(())
}

/// Returns the names of the snapshots that go with a domain, because their state lies in it.
///
/// # Errors
/// What the store refuses.
pub(in crate::engine) fn within(world: &World, domain: Uid) -> Result<Vec<String>> {
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let in_it = |r: &SnapshotRecord| r.spec.memory == Some(true) && r.domain == Some(domain);
    Ok(all
        .into_iter()
        .filter(in_it)
        .map(|r| format!("snapshot/{}", r.name))
        .collect())
}

/// Returns the snapshots with memory that are kept in a disk, also in one that was detached since.
///
/// # Errors
/// What libvirt or the store refuses.
pub(in crate::engine) fn kept_in(world: &World, path: &str) -> Result<Vec<Name>> {
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let mut kept = Vec::new();
    for record in all {
        let Some(uid) = record.domain.filter(|_| record.spec.memory == Some(true)) else {
            continue;
        };
        let domain = match world.host()?.domain_by_uid(uid) {
            Err(e) if e.is_not_found() => continue,
            other => other?,
        };
        let then = domain.as_of(&record.name_in_libvirt())?;
        let written = then.iter().flat_map(|xml| &xml.devices.disks);
        if written
            .filter(|d| is_written(d))
            .any(|d| d.path() == Some(path))
        {
            kept.push(record.name);
        }
    }
    Ok(kept)
}

/// QEMU ends a guest that goes back while changes of its disks are noted: what is noted would be wrong.
fn drop_checkpoints(world: &World, domain: &Domain) -> Result<Vec<String>> {
    let name = domain.name();
    let all = domain.checkpoints()?;
    if let Some(foreign) = all.iter().find(|c| !c.starts_with(IN_LIBVIRT)) {
        return Err(Error::conflict(format!(
            "cannot revert {name:?}: it has checkpoint {foreign:?}, which kvmctl did not make and \
             which would be lost"
        ))
        .hint(format!("virsh checkpoint-delete {name} {foreign}")));
    }
    let can = domain.state()?.is_active() || world.host()?.is_local();
    if !all.is_empty() && !can {
        return Err(Error::conflict(format!(
            "cannot revert {name:?} while it is off: QEMU has notes of changes in its disks, which only \
             it can remove from here"
        ))
        .hint(format!("kvmctl instances start {name}")));
    }
    for checkpoint in &all {
        forget_checkpoint(world, domain.uid(), checkpoint)?;
    }
    Ok(match all.is_empty() {
        true => Vec::new(),
        false => {
            vec!["the next snapshot stores everything: what changes was noted up to now".to_owned()]
        }
    })
}

/// Sees to it that libvirt can delete what is kept in the disks even if it has forgotten of it, or if a
/// disk was detached since. Returns what a person has to do where that cannot be.
///
/// # Errors
/// When the connection is broken.
pub(super) fn recall(world: &World, domain: Uid, snapshot: &str) -> Result<Vec<String>> {
    let domain = match world.host()?.domain_by_uid(domain) {
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        other => other?,
    };
    let definition = domain.definition()?;
    let mut notes = Vec::new();
    if let Some(then) = domain.as_of(snapshot)? {
        let now = paths(&definition);
        let detached: Vec<String> = paths(&then).difference(&now).cloned().collect();
        // With the guest off, libvirt frees every disk that it had then; else it refuses.
        if detached.is_empty() || !domain.state()?.is_active() {
            return Ok(notes);
        }
        for path in &detached {
            if let Err(why) = free(world, snapshot, path) {
                notes.push(left(snapshot, path, &why.to_string()));
            }
        }
        domain.forget_snapshot(snapshot)?;
    }
    if let Err(why) = domain.know_snapshot(&within_disks(snapshot, &definition)) {
        let why = format!("{why}, and {:?} has to be off", domain.name());
        let all = paths(&definition);
        notes.extend(all.iter().map(|path| left(snapshot, path, &why)));
    }
    Ok(notes)
}

fn paths(domain: &DomainXml) -> BTreeSet<String> {
    let keeps = |d: &&DiskXml| is_written(d) && format_of(d) == Some("qcow2");
    let written = domain.hard_disks().filter(keeps);
    written
        .filter_map(DiskXml::path)
        .map(str::to_owned)
        .collect()
}

/// Frees a disk that no guest has any more.
fn free(world: &World, snapshot: &str, path: &str) -> Result<()> {
    if !world.host()?.is_local() {
        return Err(Error::conflict("it lies on another machine"));
    }
    let disk = ImagePath::new(path).map_err(|e| Error::usage(e.to_string()))?;
    match disk.as_path().exists() {
        true => Ok(QemuImg::find()?.delete_snapshot(&disk, snapshot)?),
        false => Ok(()),
    }
}

fn left(snapshot: &str, path: &str, why: &str) -> String {
    let words = ["qemu-img", "snapshot", "-d", snapshot, path];
    let command = crate::shell::shell_words(&words);
    format!("a part of it may lie in {path} still ({why}); this frees it: {command}")
}

/// Deletes what is kept in the disks; what is gone is deleted.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn delete(world: &World, domain: Uid, snapshot: &str) -> Result<()> {
    match world.host()?.domain_by_uid(domain) {
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e.into()),
        Ok(found) => Ok(found.delete_snapshot(snapshot)?),
    }
}
