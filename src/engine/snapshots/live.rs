//! Snapshots of guests that run: what is checked before, and what their steps do.

use std::path::Path;

use super::running::{self, Backup, BackupDisk, Taken};
use super::source::{Source, User};
use super::worker::SnapshotWorker;
use super::{OBJECT_WAIT, memory};
use crate::api::{Consistency, DiskFormat, Kind, Name, ObjectKey};
use crate::engine::disk_files::{self, Folder};
use crate::error::{Error, Result};
use crate::host::{Copy, ImagePath, Packing, QemuImg};
use crate::observe::World;
use crate::plan::snapshot::DiskCopy;
use crate::store::{ObjectLock, SnapshotDiskRecord, SnapshotRecord};

/// What a new snapshot may stand on.
pub(super) struct Ground<'w> {
    /// The earlier snapshot.
    pub(super) parent: Option<SnapshotRecord>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
    /// It stays while the new one is made.
    _lock: Option<ObjectLock<'w>>,
}

/// Writes into a record whose guest it is of, and looks for what it can stand on.
///
/// # Errors
/// `NotFound` for a base that does not exist, usage for one of something else.
pub(super) fn prepare<'w>(
    world: &'w World,
    source: &Source,
    record: &mut SnapshotRecord,
    dry: bool,
) -> Result<Ground<'w>> {
    let mut ground = Ground {
        parent: None,
        notes: Vec::new(),
        _lock: None,
    };
    let with_memory = record.spec.memory == Some(true);
    let Some(base) = base(world, record)?.filter(|_| !with_memory) else {
        mark(source, record, with_memory);
        return Ok(ground);
    };
    let key = ObjectKey::new(Kind::Snapshot, base);
    if !dry {
        let lock = world
            .store()?
            .lock_object(key.kind, key.name.as_str(), OBJECT_WAIT)?;
        ground._lock = Some(lock);
    }
    let parent = super::whole(world, &key)?;
    if parent.source.uid != record.source.uid {
        return Err(Error::usage(format!(
            "{key} was taken of {}, not of {}",
            parent.source, record.source
        )));
    }
    mark(source, record, with_memory);
    match (&parent.checkpoint, record.running) {
        (Some(_), true) => {
            // While it is being made, the other one is known to be needed.
            record.parent = Some(parent.uid);
            ground.parent = Some(parent);
        }
        (None, true) => ground.notes.push(format!(
            "everything is stored: QEMU has no note of what changed since {key}"
        )),
        (_, false) => ground.notes.push(
            "everything is stored: only QEMU, while the guest runs, can tell what has changed"
                .to_owned(),
        ),
    }
    Ok(ground)
}

fn mark(source: &Source, record: &mut SnapshotRecord, with_memory: bool) {
    let Some(user) = running_user(source) else {
        return;
    };
    record.running = true;
    record.domain = Some(user.uid);
    record.consistency = None;
    if with_memory {
        // Its state lies in the disks themselves.
        record.disks.clear();
    }
}

/// Returns the domain that writes to the disks.
pub(super) fn running_user(source: &Source) -> Option<&User> {
    source.user.as_ref().filter(|u| u.running)
}

/// Returns the snapshot to stand on: the one that was asked for, or the newest of a row.
fn base(world: &World, record: &SnapshotRecord) -> Result<Option<Name>> {
    if let Some(base) = &record.spec.base {
        return Ok(Some(base.clone()));
    }
    if record.spec.retain.is_none_or(|keep| keep < 2) {
        return Ok(None);
    }
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let row = all.into_iter().filter(|r| {
        let same = r.source.uid == record.source.uid && r.spec.retain.is_some();
        same && r.is_taken() && r.checkpoint.is_some()
    });
    let newest = row.max_by_key(|r| r.taken);
    Ok(newest
        .filter(|r| super::intent_of(world, &r.name).is_ok_and(|i| i.is_none()))
        .map(|r| r.name))
}

/// Checks that what QEMU writes before it is compressed has room, beside what is stored.
///
/// # Errors
/// A failure that says how much is missing.
pub(super) fn room(world: &World, source: &Source, ground: &Ground<'_>) -> Result<()> {
    if ground.parent.is_some() {
        // What has changed is not known before; a pool that gets full ends the job, and nothing else.
        return Ok(());
    }
    for disk in &source.disks {
        let pool = disk.file.pool.as_str();
        let needed: u64 = source
            .disks
            .iter()
            .filter(|d| d.file.pool == pool)
            .map(|d| d.allocated)
            .sum();
        disk_files::has_room(&Folder::open(world, pool)?.pool, needed)
            .map_err(|e| e.caused_by("QEMU writes all of it before it is compressed"))?;
    }
    Ok(())
}

/// Ends and frees what the domain has of a snapshot: a job that runs, a checkpoint, its memory.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn release(world: &World, record: &SnapshotRecord) -> Result<()> {
    let Some(domain) = record.domain else {
        return Ok(());
    };
    if record.spec.memory == Some(true) {
        return memory::delete(world, domain, &record.name_in_libvirt());
    }
    if record.is_taken() {
        return match &record.checkpoint {
            Some(name) => running::forget_checkpoint(world, domain, name),
            None => Ok(()),
        };
    }
    let staged = record.disks.iter().map(|d| d.staged().volume);
    let froze = record.spec.consistency != Some(Consistency::Crash);
    running::abandon(
        world,
        domain,
        &staged.collect::<Vec<_>>(),
        Some(&record.name_in_libvirt()),
        froze,
    )
}

impl SnapshotWorker<'_> {
    /// Returns the record as of something that never was whole.
    pub(super) fn half_made(&self) -> SnapshotRecord {
        SnapshotRecord {
            taken: None,
            ..self.record_of()
        }
    }

    /// Frees what the domain has of it, also what libvirt has forgotten of.
    pub(super) fn release(&self) -> Result<()> {
        let record = self.record_of();
        if let (Some(true), Some(domain)) = (record.spec.memory, record.domain) {
            self.tell(memory::recall(
                self.world,
                domain,
                &record.name_in_libvirt(),
            )?);
        }
        release(self.world, &record)
    }

    /// Lets QEMU copy the disks.
    pub(super) fn back_up(&self, parent: Option<&SnapshotRecord>) -> Result<()> {
        let record = self.record_of();
        let mut files = Vec::new();
        for disk in &record.disks {
            let folder = Folder::open(self.world, &disk.file.pool)?;
            folder.remove(&disk.staged().volume)?;
            files.push(folder.at(&disk.staged().volume)?);
        }
        let disks: Vec<BackupDisk<'_>> = record
            .disks
            .iter()
            .zip(&files)
            .map(|(disk, file)| BackupDisk {
                target: disk.target.as_deref().unwrap_or_default(),
                file: file.as_path(),
                format: disk.format,
                name: &disk.name,
                known: parent.is_some_and(|p| same_disk(p, disk).is_some()),
            })
            .collect();
        let backup = Backup {
            key: &self.key,
            domain: domain_of(&record)?,
            disks: &disks,
            consistency: record.spec.consistency.unwrap_or(Consistency::Auto),
            checkpoint: Some(record.name_in_libvirt()),
            since: parent.and_then(|p| p.checkpoint.clone()),
        };
        let taken = running::back_up(self.world, &backup, self.reporter)?;
        self.note_taken(taken, parent);
        Ok(())
    }

    fn note_taken(&self, taken: Taken, parent: Option<&SnapshotRecord>) {
        let mut record = self.locked();
        record.taken = Some(taken.at);
        record.consistency = Some(taken.consistency);
        record.frozen_ms = taken.frozen_ms;
        record.checkpoint = taken.checkpoint;
        record.parent = parent.map(|p| p.uid);
        record.parent = record.parent.filter(|_| !taken.incremental.is_empty());
        for disk in &mut record.disks {
            disk.incremental = taken.incremental.contains(&disk.name);
        }
        drop(record);
        self.tell(taken.notes);
    }

    /// Keeps the memory.
    pub(super) fn keep_memory(&self) -> Result<()> {
        let record = self.record_of();
        let domain = domain_of(&record)?;
        let name = record.name_in_libvirt();
        let taken = memory::take(self.world, &self.key, domain, &name, self.reporter)?;
        self.note_taken(taken, None);
        Ok(())
    }

    /// Compresses what QEMU has written, and removes it.
    pub(super) fn compress(&self, copy: &DiskCopy, parent: Option<&SnapshotRecord>) -> Result<()> {
        let folder = Folder::open(self.world, &copy.to.pool)?;
        let disk = self.disk(&copy.name)?;
        let (staged, part) = (disk.staged().volume, disk.part().volume);
        let from = folder.at(&staged)?;
        let base: Option<ImagePath> = match (disk.incremental, parent) {
            (true, Some(parent)) => {
                let stored = same_disk(parent, &disk).ok_or_else(|| {
                    Error::failed(format!("{} has no disk {:?}", parent.name, disk.name))
                })?;
                let base = folder.at(&stored.file.volume)?;
                // Until now it names the disk that the guest writes to.
                QemuImg::find()?.set_base(&from, &base)?;
                Some(base)
            }
            _ => None,
        };
        let total = folder.length(&staged)?;
        let job = Copy {
            from: &from,
            from_format: DiskFormat::Qcow2,
            to: &folder.fresh(&part)?,
            to_format: DiskFormat::Qcow2,
            packing: match &base {
                Some(base) => Packing::Onto(base),
                None => Packing::Archive(total),
            },
        };
        let label = format!("storing {}", disk.name);
        folder.copy(&job, &self.told(&label), total)?;
        folder.publish(&part, &copy.to.name)?;
        disk_files::delete(self.world, &super::volume_ref(&disk.staged()))?;
        self.stored(&folder, copy)
    }
}

fn domain_of(record: &SnapshotRecord) -> Result<crate::api::Uid> {
    let none = || Error::failed(format!("nobody noted which guest {} is of", record.name));
    record.domain.ok_or_else(none)
}

/// Returns the same disk in an earlier snapshot, if it lies where the new one will: a chain does not
/// cross pools.
pub(super) fn same_disk<'p>(
    parent: &'p SnapshotRecord,
    disk: &SnapshotDiskRecord,
) -> Option<&'p SnapshotDiskRecord> {
    let same = |d: &&SnapshotDiskRecord| {
        d.name == disk.name && d.uid == disk.uid && d.source == disk.source
    };
    let found = parent.disks.iter().find(same)?;
    (found.file.pool == disk.file.pool && !Path::new(&found.file.volume).has_root())
        .then_some(found)
}
