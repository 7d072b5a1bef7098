//! What the steps of a snapshot do to the world. Every step is idempotent and finds its files by
//! names that carry the identity.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::{DiskFormat, ObjectKey, Quantity, Reporter};
use crate::engine::disk_files::{self, Folder, Told};
use crate::engine::executor::Worker;
use crate::error::{Error, Result};
use crate::host::{Copy, Packing};
use crate::observe::World;
use crate::plan::Step as AnyStep;
use crate::plan::snapshot::{DiskCopy, Step};
use crate::store::{Intent, STORE_WAIT, SnapshotDiskRecord, SnapshotRecord};

/// Does the steps of one snapshot.
pub(super) struct SnapshotWorker<'w> {
    pub(super) world: &'w World,
    pub(super) key: ObjectKey,
    pub(super) reporter: &'w dyn Reporter,
    record: Mutex<SnapshotRecord>,
    parent: Option<SnapshotRecord>,
    notes: Mutex<Vec<String>>,
}

impl<'w> SnapshotWorker<'w> {
    /// Makes a worker.
    pub(super) fn new(
        world: &'w World,
        record: SnapshotRecord,
        key: &ObjectKey,
        reporter: &'w dyn Reporter,
    ) -> Self {
        Self {
            world,
            key: key.clone(),
            reporter,
            record: Mutex::new(record),
            parent: None,
            notes: Mutex::default(),
        }
    }

    /// Stores only what has changed since another snapshot, where that can be told.
    pub(super) fn since(mut self, parent: Option<SnapshotRecord>) -> Self {
        self.parent = parent;
        self
    }

    /// Takes what a person should know of the steps that were done.
    pub(super) fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps what a person should know.
    pub(super) fn tell(&self, notes: Vec<String>) {
        let mut all = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(notes);
    }

    /// Returns the record as it has become.
    pub(super) fn record_of(&self) -> SnapshotRecord {
        self.locked().clone()
    }

    pub(super) fn locked(&self) -> MutexGuard<'_, SnapshotRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Copy(copy) => self.store(copy),
            Step::BackUp { .. } => self.back_up(self.parent.as_ref()),
            Step::Compress(copy) => self.compress(copy, self.parent.as_ref()),
            Step::KeepMemory { .. } => self.keep_memory(),
            Step::Lift { child } => self.lift(child),
            Step::Release { .. } => self.release(),
            Step::Record => self.record(),
            Step::Delete(file) => disk_files::delete(self.world, file),
            Step::Forget => self.forget(),
            other => Err(Error::failed(format!(
                "not a step of a snapshot: {}",
                other.describe()
            ))),
        }
    }

    pub(super) fn told<'t>(&'t self, label: &'t str) -> Told<'t> {
        Told {
            key: &self.key,
            label,
            reporter: self.reporter,
        }
    }

    /// Reads a disk that nobody writes to; the locks of qemu-img see to it that nobody begins to.
    fn store(&self, disk: &DiskCopy) -> Result<()> {
        let folder = Folder::open(self.world, &disk.to.pool)?;
        let from =
            crate::host::ImagePath::new(&disk.from).map_err(|e| Error::usage(e.to_string()))?;
        let found = self.disk(&disk.name)?;
        let part = found.part().volume;
        let total = found.allocated.map_or(0, Quantity::bytes);
        let copy = Copy {
            from: &from,
            from_format: disk.format,
            to: &folder.fresh(&part)?,
            to_format: DiskFormat::Qcow2,
            packing: Packing::Archive(total),
        };
        let label = format!("storing {}", disk.name);
        folder.copy(&copy, &self.told(&label), total)?;
        folder.publish(&part, &disk.to.name)?;
        self.stored(&folder, disk)
    }

    /// Notes what a stored file is, so that it can be told from any other one.
    pub(super) fn stored(&self, folder: &Folder, disk: &DiskCopy) -> Result<()> {
        let label = format!("summing {}", disk.name);
        let sha256 = folder.sha256_of_new(&disk.to.name, &self.told(&label))?;
        let length = folder.length(&disk.to.name)?;
        let mut record = self.locked();
        if let Some(entry) = record.disks.iter_mut().find(|d| d.name == disk.name) {
            entry.sha256 = Some(sha256.to_string());
            entry.stored_size = Quantity::from_bytes(length);
        }
        Ok(())
    }

    pub(super) fn disk(&self, name: &str) -> Result<SnapshotDiskRecord> {
        let record = self.locked();
        let found = record.disks.iter().find(|d| d.name == name).cloned();
        found.ok_or_else(|| Error::failed(format!("there is no disk {name:?}")))
    }

    /// Writes the sidecar and the record, then ends the intent.
    ///
    /// # Errors
    /// What libvirt or the store refuses.
    pub(super) fn record(&self) -> Result<()> {
        let record = self.record_of();
        write(self.world, &record)?;
        let store = self.world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        store.remove::<Intent>(&record.uid)?;
        Ok(())
    }

    /// Removes the record and ends the intent.
    ///
    /// # Errors
    /// What the store refuses.
    pub(super) fn forget(&self) -> Result<()> {
        let (name, uid) = {
            let record = self.locked();
            (record.name.clone(), record.uid)
        };
        let store = self.world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        let record = store.get::<SnapshotRecord>(&name)?;
        if record.is_some_and(|r| r.uid == uid) {
            store.remove::<SnapshotRecord>(&name)?;
        }
        store.remove::<Intent>(&uid)?;
        Ok(())
    }
}

/// Writes sidecar and record of a snapshot.
///
/// # Errors
/// What libvirt or the store refuses.
pub(super) fn write(world: &World, record: &SnapshotRecord) -> Result<()> {
    if let Some(sidecar) = record.sidecar() {
        let text = serde_json::to_vec_pretty(record)
            .map_err(|e| Error::failed("cannot write the snapshot's record").caused_by(e))?;
        let folder = Folder::open(world, &sidecar.pool)?;
        folder.write(&sidecar.volume, &text)?;
        refresh(world, record)?;
    }
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    Ok(store.put(record)?)
}

/// Makes libvirt see what was written into the pools.
fn refresh(world: &World, record: &SnapshotRecord) -> Result<()> {
    let mut pools: Vec<&str> = record.disks.iter().map(|d| d.file.pool.as_str()).collect();
    pools.sort_unstable();
    pools.dedup();
    for pool in pools {
        world.host()?.pool(pool)?.refresh()?;
    }
    Ok(())
}

impl Worker for SnapshotWorker<'_> {
    fn run(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Snapshot(step) => self.step(step),
            other => Err(Error::failed(format!(
                "not a step of a snapshot: {}",
                other.describe()
            ))),
        }
    }

    fn undo(&self, step: &AnyStep) -> Result<()> {
        let AnyStep::Snapshot(step) = step else {
            return Ok(());
        };
        let files = match step {
            Step::BackUp { .. } | Step::KeepMemory { .. } => {
                super::live::release(self.world, &self.half_made())?;
                let disks = self.record_of().disks;
                disks.iter().map(SnapshotDiskRecord::staged).collect()
            }
            Step::Copy(copy) | Step::Compress(copy) => {
                let disk = self.disk(&copy.name)?;
                vec![disk.staged(), disk.part(), disk.file]
            }
            Step::Record => self.record_of().sidecar().into_iter().collect(),
            _ => Vec::new(),
        };
        let mut files = files.iter().map(super::volume_ref);
        files.try_for_each(|file| disk_files::delete(self.world, &file))
    }
}
