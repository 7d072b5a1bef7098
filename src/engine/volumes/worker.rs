//! What the steps of a volume do to the world. Every step is idempotent and finds its files by names
//! that carry the identity.

mod create;

use std::sync::Mutex;

use super::content::Content;
use crate::api::{DiskFormat, ObjectKey, Quantity, Reporter};
use crate::engine::disk_files::{self, Folder};
use crate::engine::executor::Worker;
use crate::error::{Error, Result};
use crate::libvirt::xml::volume::VolumeXml;
use crate::libvirt::{Pool, Volume};
use crate::observe::World;
use crate::plan::Step as AnyStep;
use crate::plan::instance::VolumeRef;
use crate::plan::volume::{NewVolume, Step};
use crate::store::{FileRecord, Intent, IntentOp, STORE_WAIT, VolumeRecord};

/// Does the steps of one volume.
pub(super) struct VolumeWorker<'w> {
    world: &'w World,
    record: VolumeRecord,
    key: ObjectKey,
    reporter: &'w dyn Reporter,
    content: Mutex<Option<Content>>,
}

impl<'w> VolumeWorker<'w> {
    /// Makes a worker.
    pub(super) fn new(
        world: &'w World,
        record: VolumeRecord,
        key: &ObjectKey,
        reporter: &'w dyn Reporter,
    ) -> Self {
        Self {
            world,
            record,
            key: key.clone(),
            reporter,
            content: Mutex::default(),
        }
    }

    /// Gives what the volume is to hold.
    pub(super) fn with_content(self, content: Option<Content>) -> Self {
        let content = Mutex::new(content);
        Self { content, ..self }
    }

    /// Returns what the volume is to be.
    pub(super) const fn record_of(&self) -> &VolumeRecord {
        &self.record
    }

    fn pool(&self, name: &str) -> Result<Pool> {
        Ok(self.world.host()?.pool(name)?)
    }

    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Create(new) => self.create(new),
            Step::Record => self.record(),
            Step::Resize {
                volume,
                capacity,
                shrink,
            } => self.resize(volume, *capacity, *shrink),
            Step::Swap { old } => self.swap(old),
            Step::Delete(volume) => self.delete(volume),
            Step::Forget => self.forget(),
        }
    }

    fn resize(&self, volume: &VolumeRef, capacity: Quantity, shrink: bool) -> Result<()> {
        let found = self.pool(&volume.pool)?.volume(&volume.name)?;
        let path = found.path()?;
        let running: Vec<_> = self
            .world
            .disk_uses()?
            .into_iter()
            .filter(|u| u.at.running && u.path == path)
            .collect();
        for at in &running {
            let domain = self.world.host()?.domain_by_uid(at.domain_uid)?;
            domain.block_resize(&at.at.target, capacity.bytes())?;
        }
        if !running.is_empty() {
            return Ok(());
        }
        match shrink {
            true => self.shrink(&found, capacity.bytes()),
            false => self.grow(&found, self.record.format, capacity.bytes()),
        }
    }

    /// The daemon resizes what it takes a file for; a raw one is written to instead, at its new end.
    fn grow(&self, volume: &Volume, format: DiskFormat, bytes: u64) -> Result<()> {
        match format {
            DiskFormat::Raw => Ok(volume.extend_raw(bytes)?),
            DiskFormat::Qcow2 => Ok(volume.resize(bytes)?),
        }
    }

    fn shrink(&self, volume: &Volume, bytes: u64) -> Result<()> {
        let definition = volume.definition()?;
        if definition.format() != Some(self.record.format.as_str()) {
            return Err(Error::conflict(format!(
                "{} was made as {}, and what is in it looks like {}",
                volume.name,
                self.record.format,
                definition.format().unwrap_or("something else")
            ))
            .caused_by("a guest may have written that header; it is not followed"));
        }
        Ok(volume.shrink(bytes)?)
    }

    /// Deletes a file; one that was cut off may be unknown to libvirt.
    fn delete(&self, volume: &VolumeRef) -> Result<()> {
        if volume.name.ends_with(".json") {
            let part = disk_files::part_name(&volume.name);
            let pool = volume.pool.clone();
            disk_files::delete(self.world, &VolumeRef { pool, name: part })?;
        }
        disk_files::delete(self.world, volume)
    }

    /// From the record on the new file is the volume; what is left of the old one is nobody's.
    fn swap(&self, old: &[VolumeRef]) -> Result<()> {
        self.write_sidecar()?;
        let store = self.world.store()?;
        {
            let _lock = store.lock(STORE_WAIT)?;
            store.put(&self.record)?;
        }
        old.iter().try_for_each(|file| self.delete(file))?;
        let _lock = store.lock(STORE_WAIT)?;
        store.remove::<Intent>(&self.record.uid)?;
        Ok(())
    }

    /// Returns whether a new file has taken the place of an old one already.
    fn is_the_volume(&self, new: &NewVolume) -> Result<bool> {
        let name = &self.record.name;
        let changing =
            super::intent_of(self.world, name)?.is_some_and(|i| i.op == IntentOp::Update);
        let record = super::record_of(self.world, name)?;
        Ok(changing && record.is_some_and(|r| r.file.volume == new.volume.name))
    }

    /// Deletes what a change that was cut off made or was to replace.
    ///
    /// # Errors
    /// What libvirt refuses.
    pub(super) fn delete_others(&self, files: &[FileRecord]) -> Result<()> {
        let (file, sidecar) = (&self.record.file.volume, self.record.sidecar());
        let others = files
            .iter()
            .filter(|f| f.volume != *file && f.volume != sidecar);
        others
            .map(super::volume_ref)
            .try_for_each(|other| self.delete(&other))
    }

    /// Writes the sidecar and the record, then ends the intent.
    ///
    /// # Errors
    /// What libvirt or the store refuses.
    pub(super) fn record(&self) -> Result<()> {
        self.write_sidecar()?;
        let store = self.world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        store.put(&self.record)?;
        store.remove::<Intent>(&self.record.uid)?;
        Ok(())
    }

    fn write_sidecar(&self) -> Result<()> {
        if !self.record.has_sidecar() {
            return Ok(());
        }
        let name = self.record.sidecar();
        let text = serde_json::to_vec_pretty(&self.record)
            .map_err(|e| Error::failed("cannot write the volume's record").caused_by(e))?;
        if let Ok(folder) = Folder::open(self.world, &self.record.file.pool) {
            return folder.write(&name, &text);
        }
        let pool = self.pool(&self.record.file.pool)?;
        if let Some(old) = pool.find_volume(&name)? {
            old.delete()?;
        }
        let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let volume = pool.create_volume(&VolumeXml::reserved(&name, "raw", size))?;
        Ok(volume.upload(&mut text.as_slice(), size, &mut |_| true)?)
    }

    /// Removes the record and ends the intent.
    ///
    /// # Errors
    /// What the store refuses.
    pub(super) fn forget(&self) -> Result<()> {
        let store = self.world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        let record = store.get::<VolumeRecord>(&self.record.name)?;
        if record.is_some_and(|r| r.uid == self.record.uid) {
            store.remove::<VolumeRecord>(&self.record.name)?;
        }
        store.remove::<Intent>(&self.record.uid)?;
        Ok(())
    }
}

impl Worker for VolumeWorker<'_> {
    fn run(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Volume(step) => self.step(step),
            other => Err(Error::failed(format!(
                "not a step of a volume: {}",
                other.describe()
            ))),
        }
    }

    fn undo(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Volume(Step::Create(new)) if self.is_the_volume(new)? => Ok(()),
            AnyStep::Volume(Step::Create(new)) => self.delete(&new.volume),
            AnyStep::Volume(Step::Record) => self.delete(&super::sidecar_ref(&self.record)),
            _ => Ok(()),
        }
    }
}
