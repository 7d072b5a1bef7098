//! Taking a link out of a chain of snapshots: those that stood on it stand on what it stood on, and
//! hold what they held. Every new file is compared with the old one before it takes its place.

use super::live::same_disk;
use super::worker::{self, SnapshotWorker};
use super::{OBJECT_WAIT, intent_of, record_of};
use crate::api::{DiskFormat, Kind, Name, ObjectKey, Quantity};
use crate::engine::disk_files::Folder;
use crate::engine::{Interrupt, interrupted};
use crate::error::Result;
use crate::host::{ImagePath, QemuImg};
use crate::observe::World;
use crate::store::{IntentOp, SnapshotDiskRecord, SnapshotRecord};

/// Returns the names of the snapshots that stand on another.
///
/// # Errors
/// What the store refuses.
pub(super) fn children(world: &World, record: &SnapshotRecord) -> Result<Vec<Name>> {
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let on_it = all.into_iter().filter(|r| r.parent == Some(record.uid));
    Ok(on_it.map(|r| r.name).collect())
}

impl SnapshotWorker<'_> {
    /// Lets a snapshot stand without this one. What is done already is not done again.
    pub(super) fn lift(&self, child: &Name) -> Result<()> {
        let store = self.world.store()?;
        let _child = store.lock_object(Kind::Snapshot, child.as_str(), OBJECT_WAIT)?;
        let going = self.record_of();
        let Some(mut record) = record_of(self.world, child)? else {
            return Ok(());
        };
        if record.parent != Some(going.uid) {
            return Ok(());
        }
        let begun = intent_of(self.world, child)?.filter(|i| i.uid == record.uid);
        if begun.is_some_and(|i| i.op != IntentOp::Update) {
            // It was going itself, or never was whole: what stands on it comes to stand on this one.
            let key = ObjectKey::new(Kind::Snapshot, child.clone());
            super::delete::delete_locked(self.world, &key, self.reporter)?;
            self.tell(vec![format!("{key} was cut off, and went, too")]);
            return Ok(());
        }
        for disk in record.disks.iter_mut().filter(|d| d.incremental) {
            let Some(under) = same_disk(&going, disk) else {
                continue;
            };
            self.lift_disk(disk, under)?;
            disk.incremental = under.incremental;
        }
        let deltas = record.disks.iter().any(|d| d.incremental);
        record.parent = going.parent.filter(|_| deltas);
        worker::write(self.world, &record)?;
        self.tell(vec![format!(
            "snapshot/{child} stood on it, and was written anew"
        )]);
        Ok(())
    }

    fn lift_disk(&self, disk: &mut SnapshotDiskRecord, under: &SnapshotDiskRecord) -> Result<()> {
        let folder = Folder::open(self.world, &disk.file.pool)?;
        let qemu = QemuImg::find()?;
        let image = folder.at(&disk.file.volume)?;
        let below = folder.at(&under.file.volume)?;
        let stands_on = |image: &ImagePath| -> Result<Option<String>> {
            let info = qemu.info(image, DiskFormat::Qcow2)?;
            let name = |b: String| b.rsplit('/').next().unwrap_or_default().to_owned();
            Ok(info.backing_filename.map(name))
        };
        if stands_on(&image)?.as_ref() == Some(&under.file.volume) {
            let base = match under.incremental {
                true => stands_on(&below)?
                    .map(|name| folder.at(&name))
                    .transpose()?,
                false => None,
            };
            let (part, scratch) = (disk.part().volume, disk.staged().volume);
            let label = format!("writing {} anew", disk.file.volume);
            self.reporter.phase(&self.key, &label);
            let (to, on_the_way) = (folder.fresh(&part)?, folder.fresh(&scratch)?);
            let stop = Interrupt::flag();
            let bytes = disk.allocated.map_or(0, Quantity::bytes);
            let moved = qemu.move_onto(&image, base.as_ref(), &on_the_way, &to, bytes, &stop);
            folder.remove(&scratch)?;
            interrupted()?;
            moved?;
            folder.publish(&part, &disk.file.volume)?;
        }
        let label = format!("summing {}", disk.name);
        let sha256 = folder.sha256_of_new(&disk.file.volume, &self.told(&label))?;
        disk.sha256 = Some(sha256.to_string());
        disk.stored_size = Quantity::from_bytes(folder.length(&disk.file.volume)?);
        Ok(())
    }
}
