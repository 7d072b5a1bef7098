//! What the steps of a volume do to the world. Every step is idempotent and finds its files by names
//! that carry the identity.

use std::sync::Mutex;

use super::blank::{blank, filling, has_room};
use super::content::Content;
use crate::api::{DiskFormat, Kind, Name, ObjectKey, Preallocation, Quantity, Reporter};
use crate::engine::Interrupt;
use crate::engine::disk_files::{self, Folder, Told};
use crate::engine::executor::Worker;
use crate::engine::snapshots;
use crate::error::{Error, Result};
use crate::libvirt::xml::volume::VolumeXml;
use crate::libvirt::{Filling, Pool, Volume};
use crate::observe::World;
use crate::plan::Step as AnyStep;
use crate::plan::instance::VolumeRef;
use crate::plan::snapshot::Unpack;
use crate::plan::volume::{NewVolume, Source, Step};
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

    /// Makes the file; one of its name was made by an earlier run, and nobody has had it yet.
    fn create(&self, new: &NewVolume) -> Result<()> {
        self.delete(&new.volume)?;
        let pool = self.pool(&new.volume.pool)?;
        let name = new.volume.name.as_str();
        let capacity = new.capacity.map_or(0, Quantity::bytes);
        match &new.source {
            Source::Empty => self.create_empty(&pool, new, capacity),
            Source::Overlay { base, format } => {
                let base = std::path::Path::new(base);
                pool.create_volume(&VolumeXml::overlay(name, capacity, base, format.as_str()))?;
                Ok(())
            }
            Source::File { bytes } => {
                let made = self.blank_for_content(&pool, new, *bytes)?;
                self.upload(&made, filling(new), *bytes)?;
                // libvirt knows the volume as raw, as it was made; the content says what it is.
                pool.refresh()?;
                self.grow_to(&made, new.format, capacity)
            }
            Source::Stored {
                snapshot,
                disk,
                file,
            } => self.unpack(&pool, new, snapshot, disk, file),
            Source::Copy { volume, format } => {
                let made = self.copy(&pool, new, volume, *format)?;
                self.grow_to(&made, new.format, capacity)
            }
        }
    }

    /// Makes the file for content that is ready. Room that will be filled is taken now.
    fn blank_for_content(&self, pool: &Pool, new: &NewVolume, bytes: u64) -> Result<Volume> {
        let content = self.content.lock().unwrap_or_else(|e| e.into_inner());
        let dense = content.as_ref().map_or(bytes, Content::dense_bytes);
        has_room(pool, dense)?;
        let nearly_all = dense >= bytes / 10 * 9;
        let xml = blank(new, "raw", bytes);
        Ok(pool.create_volume(&match nearly_all {
            true => VolumeXml::reserved(
                &xml.name,
                "raw",
                xml.capacity.in_bytes("bytes").unwrap_or(bytes),
            ),
            false => xml,
        })?)
    }

    fn upload(&self, volume: &Volume, filling: Filling, bytes: u64) -> Result<()> {
        let mut content = self.content.lock().unwrap_or_else(|e| e.into_inner());
        let content = content
            .as_mut()
            .ok_or_else(|| Error::failed("there is no file to upload"))?;
        let reader = content
            .reader()
            .map_err(|e| Error::failed("cannot read the checked copy").caused_by(e))?;
        self.fill(volume, filling, reader, bytes, "storing")
    }

    fn grow_to(&self, made: &Volume, format: DiskFormat, capacity: u64) -> Result<()> {
        let has = match format {
            DiskFormat::Raw => made.length()?,
            DiskFormat::Qcow2 => made.info()?.capacity,
        };
        match has < capacity {
            true => self.grow(made, format, capacity),
            false => Ok(()),
        }
    }

    fn create_empty(&self, pool: &Pool, new: &NewVolume, capacity: u64) -> Result<()> {
        let mut xml = VolumeXml::empty(&new.volume.name, new.format.as_str(), capacity);
        match new.preallocation {
            Preallocation::Off => pool.create_volume(&xml)?,
            Preallocation::Metadata => pool.create_preallocated(&xml)?,
            Preallocation::Falloc => {
                xml = xml.with_allocation(capacity);
                match new.format {
                    DiskFormat::Qcow2 => pool.create_preallocated(&xml)?,
                    DiskFormat::Raw => pool.create_volume(&xml)?,
                }
            }
            Preallocation::Full => {
                let made = pool.create_volume(&xml.with_allocation(capacity))?;
                let mut zeroes = std::io::repeat(0);
                self.fill(
                    &made,
                    Filling::Dense,
                    &mut zeroes,
                    capacity,
                    "writing zeroes",
                )?;
                made
            }
        };
        Ok(())
    }

    /// Copies through the daemon, which knows holes; but only where it takes the original for what it
    /// was made as. A guest can write any header on a raw disk.
    fn copy(
        &self,
        pool: &Pool,
        new: &NewVolume,
        original: &VolumeRef,
        format: DiskFormat,
    ) -> Result<Volume> {
        let source_pool = self.pool(&original.pool)?;
        source_pool.refresh()?;
        let source = source_pool.volume(&original.name)?;
        let definition = source.definition()?;
        if definition.format() == Some(format.as_str()) {
            let xml = blank(new, new.format.as_str(), size_of(&definition));
            self.reporter
                .phase(&self.key, &format!("copying {}", original.name));
            return Ok(pool.copy_volume(&xml, &source)?);
        }
        if (format, new.format) != (DiskFormat::Raw, DiskFormat::Raw) {
            return Err(Error::conflict(format!(
                "{} was made as {format}, and what is in it looks like {}",
                original.name,
                definition.format().unwrap_or("something else")
            ))
            .caused_by("a guest may have written that header; it is not followed")
            .hint("copy it to a volume of format raw"));
        }
        self.copy_bytes(pool, new, &source)
    }

    /// Copies byte by byte, looking at none of them.
    fn copy_bytes(&self, pool: &Pool, new: &NewVolume, source: &Volume) -> Result<Volume> {
        let size = source.length()?;
        has_room(pool, source.info()?.allocation)?;
        let made = pool.create_volume(&blank(new, "raw", size))?;
        let (mut reader, mut writer) =
            std::io::pipe().map_err(|e| Error::failed("cannot open a pipe").caused_by(e))?;
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || source.download(&mut writer, 0, 0));
            let written = self.fill(&made, filling(new), &mut reader, size, "copying");
            // The other side ends when nobody listens any more.
            drop(reader);
            let read = reading.join().unwrap_or(Ok(0));
            written?;
            read?;
            Ok(made)
        })
    }

    fn fill(
        &self,
        volume: &Volume,
        filling: Filling,
        source: &mut dyn std::io::Read,
        size: u64,
        label: &str,
    ) -> Result<()> {
        let flag = Interrupt::flag();
        let filled = volume.fill(filling, source, size, &mut |done| {
            self.reporter.progress(&self.key, label, done, Some(size));
            !flag.load(std::sync::atomic::Ordering::Relaxed)
        });
        if filled.is_err() {
            crate::engine::interrupted()?;
        }
        Ok(filled?)
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

    /// Unpacks what a snapshot stored, after it was found to be what was stored.
    fn unpack(
        &self,
        pool: &Pool,
        new: &NewVolume,
        snapshot: &Name,
        disk: &str,
        file: &VolumeRef,
    ) -> Result<()> {
        let key = ObjectKey::new(Kind::Snapshot, snapshot.clone());
        let record = snapshots::whole(self.world, &key)?;
        snapshots::stored_disk(self.world, &self.key, &record, disk, self.reporter)?;
        let folder = Folder::open(self.world, &new.volume.pool)?;
        let from = Folder::open(self.world, &file.pool)?.at(&file.name)?;
        let unpack = Unpack {
            name: disk.to_owned(),
            from: file.clone(),
            to: new.volume.clone(),
            format: new.format,
            least: new.capacity,
        };
        let label = format!("restoring {disk}");
        let told = Told {
            key: &self.key,
            label: &label,
            reporter: self.reporter,
        };
        snapshots::unpack(&folder, &from, &unpack, &told)?;
        Ok(pool.refresh()?)
    }

    /// Deletes a file; one that was cut off may be unknown to libvirt.
    fn delete(&self, volume: &VolumeRef) -> Result<()> {
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

fn size_of(definition: &VolumeXml) -> u64 {
    definition.capacity.in_bytes("bytes").unwrap_or(0)
}
