//! What the file of a new volume is made of: nothing, a base, a checked copy, another volume, a snapshot.

use super::VolumeWorker;
use crate::api::{DiskFormat, Kind, Name, ObjectKey, Preallocation, Quantity};
use crate::engine::Interrupt;
use crate::engine::disk_files::{Folder, Told, has_room};
use crate::engine::snapshots;
use crate::engine::volumes::blank::{blank, filling};
use crate::engine::volumes::content::Content;
use crate::engine::volumes::copy;
use crate::error::{Error, Result};
use crate::host::{Copy, ImagePath, Packing};
use crate::libvirt::xml::volume::VolumeXml;
use crate::libvirt::{Filling, Pool, Volume};
use crate::plan::instance::VolumeRef;
use crate::plan::snapshot::Unpack;
use crate::plan::volume::{NewVolume, Source};

impl VolumeWorker<'_> {
    /// Makes the file; one of its name was made by an earlier run, and nobody has had it yet.
    pub(super) fn create(&self, new: &NewVolume) -> Result<()> {
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

    /// Copies by qemu-img, which is told what the original was made as; or through the daemon, but only
    /// where it takes it for that. A guest can write any header on a raw disk.
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
        let (from, into) = (
            copy::readable(self.world, &source, format)?,
            Folder::open(self.world, &new.volume.pool),
        );
        if let (Some(from), Ok(folder)) = (from, into) {
            let total = copy::allocated_with_base(self.world, &source, format)?;
            return self.copy_file(&folder, new, &from, format, total);
        }
        let definition = source.definition()?;
        if definition.format() == Some(format.as_str()) {
            let xml = blank(new, new.format.as_str(), size_of(&definition));
            let told = Told {
                key: &self.key,
                label: "copying",
                reporter: self.reporter,
            };
            return copy::by_daemon(self.world, pool, &xml, &source, &told);
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

    fn copy_file(
        &self,
        folder: &Folder,
        new: &NewVolume,
        from: &ImagePath,
        format: DiskFormat,
        total: u64,
    ) -> Result<Volume> {
        has_room(&folder.pool, total)?;
        let copy = Copy {
            from,
            from_format: format,
            to: &folder.fresh(&new.volume.name)?,
            to_format: new.format,
            packing: Packing::Plain,
        };
        let told = Told {
            key: &self.key,
            label: "copying",
            reporter: self.reporter,
        };
        folder.copy(&copy, &told, total)?;
        folder.settle(&new.volume.name)?;
        folder.pool.refresh()?;
        Ok(folder.pool.volume(&new.volume.name)?)
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
}

fn size_of(definition: &VolumeXml) -> u64 {
    definition.capacity.in_bytes("bytes").unwrap_or(0)
}
