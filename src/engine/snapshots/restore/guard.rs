//! Who uses the disks of a snapshot, and whether they can be put in the place of what they have.

use super::RestoreRequest;
use super::targets::Target;
use crate::api::{Kind, Name, ObjectKey};
use crate::engine::snapshots::memory;
use crate::engine::volumes;
use crate::error::{Error, Result};
use crate::observe::{DiskUse, World};
use crate::store::SnapshotRecord;

/// Checks that nobody uses the disks, and returns the instances that have to be stopped for it.
pub(super) fn guard(
    world: &World,
    key: &ObjectKey,
    record: &SnapshotRecord,
    targets: &[Target],
    request: &RestoreRequest,
) -> Result<Vec<Name>> {
    let mut running: Vec<Name> = Vec::new();
    let uses = world.disk_uses()?;
    for used in uses
        .iter()
        .filter(|u| targets.iter().any(|t| t.path == u.path))
    {
        let domain = world.host()?.domain_by_uid(used.domain_uid)?;
        if domain.snapshot_count()? > 0 {
            return Err(has_snapshots(world, key, used)?);
        }
        if domain.has_saved_memory()? {
            let name = &used.at.domain;
            return Err(Error::conflict(format!(
                "the memory of {name:?} was saved: it would go on with disks that are not its own"
            ))
            .hint(format!("virsh managedsave-remove {name}")));
        }
        if !used.at.running {
            continue;
        }
        let name = Name::new(used.at.domain.as_str()).ok();
        match name.filter(|_| used.at.managed && request.stop.is_some()) {
            Some(name) if !running.contains(&name) => running.push(name),
            Some(_) => {}
            None => return Err(in_use(key, record, used, request)),
        }
    }
    for target in targets {
        let who = match &target.volume {
            Some(name) => ObjectKey::new(Kind::Volume, name.clone()),
            None => key.clone(),
        };
        volumes::refuse_base(world, &who, &target.path)?;
        refuse_kept(world, &who, &target.path)?;
    }
    Ok(running)
}

/// Refuses to lose a part of a guest's memory, also in a disk that was detached since.
fn refuse_kept(world: &World, who: &ObjectKey, path: &str) -> Result<()> {
    let kept = memory::kept_in(world, path)?;
    if kept.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = kept.iter().map(Name::as_str).collect();
    Err(Error::conflict(format!(
        "{who} keeps a part of snapshot/{}, with memory, which a restore would lose",
        names.join(", snapshot/")
    ))
    .hint(format!("kvmctl snapshots delete {}", names.join(" "))))
}

fn in_use(
    key: &ObjectKey,
    record: &SnapshotRecord,
    used: &DiskUse,
    request: &RestoreRequest,
) -> Error {
    let domain = &used.at.domain;
    let error = Error::conflict(format!(
        "cannot restore {}: it is in use by {domain:?}, which runs",
        record.source
    ));
    let name = &key.name;
    match (used.at.managed, request.stop.is_some()) {
        (true, false) => error
            .hint(format!("kvmctl snapshots restore {name} --stop"))
            .hint(format!("kvmctl snapshots restore {name} --to NEW")),
        (true, true) => error.hint(format!("kvmctl instances stop {domain}")),
        (false, _) => error.hint(format!("virsh shutdown {domain}")),
    }
}

fn has_snapshots(world: &World, key: &ObjectKey, used: &DiskUse) -> Result<Error> {
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let with_memory =
        |r: &&SnapshotRecord| r.spec.memory == Some(true) && r.source.uid == used.domain_uid;
    let ours: Vec<String> = all
        .iter()
        .filter(with_memory)
        .map(|r| r.name.to_string())
        .collect();
    let domain = &used.at.domain;
    let error = Error::conflict(format!(
        "{domain:?} has snapshots within its disks, which restoring {key} would lose"
    ));
    Ok(match ours.is_empty() {
        true => error.hint(format!("virsh snapshot-list {domain}")),
        false => error.hint(format!("kvmctl snapshots delete {}", ours.join(" "))),
    })
}
