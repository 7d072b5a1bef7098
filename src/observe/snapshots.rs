//! Snapshots: those that kvmctl took, and whether each is whole.

use std::collections::BTreeMap;

use super::phase::Begun;
use super::volumes::{Pools, if_there};
use super::world::{Scope, World, not_found};
use crate::api::{
    API_VERSION, Condition, ConditionStatus, Kind, Name, ObjectMeta, Quantity, Snapshot,
    SnapshotDisk, SnapshotPhase, SnapshotStatus, Uid,
};
use crate::error::Result;
use crate::store::{FileRecord, IntentOp, SnapshotDiskRecord, SnapshotRecord};

impl World {
    /// Lists the snapshots. Nothing but kvmctl's own is one, whatever the scope.
    ///
    /// # Errors
    /// What libvirt or the store refuses.
    pub fn snapshots(&self, _: Scope) -> Result<Vec<Snapshot>> {
        let records: Vec<SnapshotRecord> = self.store_for_reading()?.all()?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let begun = self.begun(Kind::Snapshot)?;
        let mut places = Places::new(self);
        let observe = |record| observed(&mut places, record, begun.get(&record.uid), &records);
        records.iter().map(observe).collect()
    }

    /// Looks a snapshot up.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn snapshot(&self, name: &Name) -> Result<Snapshot> {
        let records: Vec<SnapshotRecord> = self.store_for_reading()?.all()?;
        let Some(record) = records.iter().find(|r| r.name == *name) else {
            let names = records.iter().map(|r| r.name.as_str());
            return Err(not_found(Kind::Snapshot, name, names));
        };
        let begun = self.begun(Kind::Snapshot)?;
        observed(
            &mut Places::new(self),
            record,
            begun.get(&record.uid),
            &records,
        )
    }
}

/// Where snapshots lie, looked up once: in pools, or in the disks of domains.
struct Places<'w> {
    world: &'w World,
    pools: Pools<'w>,
    domains: BTreeMap<Uid, Vec<String>>,
}

impl<'w> Places<'w> {
    const fn new(world: &'w World) -> Self {
        Self {
            world,
            pools: Pools::new(world),
            domains: BTreeMap::new(),
        }
    }

    /// Returns whether libvirt still has the memory and the disks that a snapshot with memory shows.
    fn has_memory(&mut self, record: &SnapshotRecord) -> Result<bool> {
        let Some(uid) = record.domain else {
            return Ok(false);
        };
        if !self.domains.contains_key(&uid) {
            let names = match self.world.host()?.domain_by_uid(uid) {
                Ok(domain) => domain.snapshots()?,
                Err(e) if e.is_not_found() => Vec::new(),
                Err(e) => return Err(e.into()),
            };
            self.domains.insert(uid, names);
        }
        let names = self.domains.get(&uid);
        Ok(names.is_some_and(|all| all.contains(&record.name_in_libvirt())))
    }
}

/// What of a snapshot is not there.
enum Lost<'r> {
    File(&'r SnapshotDiskRecord),
    Pool(&'r SnapshotDiskRecord),
    Memory,
}

impl Lost<'_> {
    const fn reason(&self) -> &'static str {
        match self {
            Self::File(_) => "FileMissing",
            Self::Pool(_) => "PoolInactive",
            Self::Memory => "MemoryMissing",
        }
    }

    fn message(&self, record: &SnapshotRecord) -> String {
        let forget = format!("to forget it: kvmctl delete snapshot/{}", record.name);
        match self {
            Self::File(disk) => {
                let FileRecord { pool, volume } = &disk.file;
                format!("{volume} is not in pool {pool:?}; {forget}")
            }
            Self::Pool(disk) => {
                let pool = &disk.file.pool;
                format!("pool {pool:?} is not active, or gone: kvmctl pools list")
            }
            Self::Memory => {
                let source = &record.source;
                format!("libvirt does not have it in the disks of {source} any more; {forget}")
            }
        }
    }
}

fn observed(
    places: &mut Places<'_>,
    record: &SnapshotRecord,
    begun: Option<&Begun>,
    all: &[SnapshotRecord],
) -> Result<Snapshot> {
    let named = |uid: Uid| all.iter().find(|r| r.uid == uid).map(|r| r.name.clone());
    let children = all.iter().filter(|r| r.parent == Some(record.uid));
    let mut status = SnapshotStatus {
        managed: true,
        message: begun.and_then(Begun::message),
        source: Some(record.source.clone()),
        taken_at: record.taken,
        consistency: record.consistency.filter(|_| record.is_taken()),
        running: record.running,
        frozen_ms: record.frozen_ms,
        parent: record.parent.and_then(named),
        children: children.map(|r| r.name.clone()).collect(),
        memory: record.spec.memory == Some(true),
        virtual_size: record.virtual_size(),
        qemu_version: record.qemu_version.clone(),
        ..SnapshotStatus::default()
    };
    let mut lost = None;
    let mut stored = 0;
    for disk in &record.disks {
        let seen = look(&mut places.pools, disk)?;
        if seen.path.is_none() {
            lost.get_or_insert(match seen.pool_active {
                true => Lost::File(disk),
                false => Lost::Pool(disk),
            });
        }
        stored += seen.allocation.unwrap_or(0);
        status.disks.push(shown(disk, seen));
    }
    status.stored_size = Quantity::from_bytes(stored).filter(|_| !record.disks.is_empty());
    if status.memory && record.is_taken() && !places.has_memory(record)? {
        lost = Some(Lost::Memory);
    }
    let (phase, reason) = phase(begun, record, lost.as_ref());
    (status.phase, status.reason) = (phase, reason.map(str::to_owned));
    if let (SnapshotPhase::Failed, Some(lost)) = (phase, lost) {
        status.message = Some(lost.message(record));
    }
    status.conditions = vec![ready(&status)];
    Ok(Snapshot {
        api_version: API_VERSION.to_owned(),
        kind: "Snapshot".to_owned(),
        metadata: ObjectMeta {
            name: Some(record.name.clone()),
            uid: Some(record.uid),
            labels: record.labels.clone(),
            annotations: record.annotations.clone(),
            creation_timestamp: Some(record.created),
            generation: Some(record.generation),
            deletion_timestamp: begun.and_then(|b| b.intent.deletion_timestamp),
            ..ObjectMeta::default()
        },
        spec: record.spec.clone(),
        status: Some(status),
    })
}

/// What is there of a stored disk.
#[derive(Default)]
struct Seen {
    pool_active: bool,
    path: Option<String>,
    allocation: Option<u64>,
}

fn look(pools: &mut Pools<'_>, disk: &SnapshotDiskRecord) -> Result<Seen> {
    let Some(pool) = pools.get(&disk.file.pool)? else {
        return Ok(Seen::default());
    };
    let pool_active = true;
    let Some(found) = pool.find_volume(&disk.file.volume)? else {
        return Ok(Seen {
            pool_active,
            ..Seen::default()
        });
    };
    let looked = found.path().and_then(|path| Ok((path, found.info()?)));
    let (path, info) = if_there(looked)?.unzip();
    Ok(Seen {
        pool_active,
        path,
        allocation: info.map(|i| i.allocation),
    })
}

fn shown(disk: &SnapshotDiskRecord, seen: Seen) -> SnapshotDisk {
    SnapshotDisk {
        name: disk.name.clone(),
        volume: disk.volume.clone(),
        target: disk.target.clone(),
        format: disk.format,
        virtual_size: disk.virtual_size,
        stored_size: seen.allocation.and_then(Quantity::from_bytes),
        sha256: disk.sha256.clone(),
        incremental: disk.incremental,
        pool: disk.file.pool.clone(),
        file: disk.file.volume.clone(),
        path: seen.path,
    }
}

/// Returns where a snapshot stands. What was begun and has not ended outranks what is there.
fn phase(
    begun: Option<&Begun>,
    record: &SnapshotRecord,
    lost: Option<&Lost<'_>>,
) -> (SnapshotPhase, Option<&'static str>) {
    let changing = match begun.map(|b| (b.intent.op, b.working)) {
        Some((IntentOp::Create | IntentOp::Adopt, true)) => {
            return (SnapshotPhase::Pending, Some("Taking"));
        }
        Some((IntentOp::Create | IntentOp::Adopt, false)) => {
            return (SnapshotPhase::Pending, Some("CreateInterrupted"));
        }
        Some((IntentOp::Delete, true)) => return (SnapshotPhase::Terminating, Some("Deleting")),
        Some((IntentOp::Delete, false)) => {
            return (SnapshotPhase::Terminating, Some("DeleteInterrupted"));
        }
        Some((IntentOp::Update, true)) => Some("Restoring"),
        Some((IntentOp::Update, false)) => Some("ChangeInterrupted"),
        None => None,
    };
    match (record.is_taken(), lost) {
        (false, _) => (SnapshotPhase::Failed, Some("Incomplete")),
        (true, Some(lost)) => (SnapshotPhase::Failed, Some(lost.reason())),
        (true, None) => (SnapshotPhase::Ready, changing),
    }
}

fn ready(status: &SnapshotStatus) -> Condition {
    let (holds, otherwise) = match status.phase {
        SnapshotPhase::Ready => (ConditionStatus::True, "Taken"),
        _ => (ConditionStatus::False, "NotWhole"),
    };
    let reason = status.reason.as_deref().unwrap_or(otherwise);
    let mut condition = Condition::new("Ready", holds, reason);
    condition.message.clone_from(&status.message);
    condition.last_transition_time = status.taken_at;
    condition
}
