//! The second half of a restore: new files take the place of disks. Nothing is copied, and each step
//! can be done again; what is begun here goes forward, whoever finds it.

mod finish;

use super::super::disk_files::{self, Folder};
use super::super::executor::{Worker, execute};
use super::volume_ref;
use crate::api::{Kind, ObjectKey, Quantity, Reporter, Uid};
use crate::error::{Error, Result};
use crate::host::{Copy, ImagePath, Packing, QemuImg};
use crate::observe::World;
use crate::plan::Step as AnyStep;
use crate::plan::instance::VolumeRef;
use crate::plan::snapshot::{self as plan_snapshot, Step, Swap, Unpack};
use crate::store::{
    Event, EventType, InstanceRecord, Intent, STORE_WAIT, SwapRecord, VolumeRecord,
};

pub(in crate::engine) use finish::finish_swaps;
pub(super) use finish::{abandon, finish, restart};

/// How the name of a disk ends as it was before a restore.
const KEPT: &str = ".pre-restore";
/// Name of the step from which on a restore goes forward.
const SWAPPING: &str = "swap";
/// Name of the step in which only guests are to be started again.
const STARTING: &str = "start";

/// Returns the name that a disk is kept under.
pub(in crate::engine) fn kept_name(disk: &str) -> String {
    format!("{disk}{KEPT}")
}

/// How far a restore has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The new files are being written; the disks are as they were.
    Unpacking,
    /// The new files take the place of the disks.
    Swapping,
    /// The disks are what they shall be; the guests that were stopped for it are started again.
    Starting,
}

impl Stage {
    /// Returns how far the restore of an intent has come; nothing for any other change.
    pub(super) fn of(intent: &Intent) -> Option<Self> {
        match (intent.swaps.is_empty(), intent.step.as_deref()) {
            (true, _) => None,
            (false, Some(SWAPPING)) => Some(Self::Swapping),
            (false, Some(STARTING)) => Some(Self::Starting),
            (false, _) => Some(Self::Unpacking),
        }
    }
}

/// Does the steps of a restore.
pub(super) struct RestoreWorker<'w> {
    pub(super) world: &'w World,
    pub(super) key: &'w ObjectKey,
    pub(super) reporter: &'w dyn Reporter,
    pub(super) uid: Uid,
}

impl RestoreWorker<'_> {
    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Unpack(disk) => self.unpack(disk),
            Step::Commit => self.commit(),
            Step::Swap(swap) => self.swap(swap),
            Step::Settle => self.settle(),
            other => Err(Error::failed(format!(
                "not a step of a restore: {}",
                other.describe()
            ))),
        }
    }

    fn unpack(&self, disk: &Unpack) -> Result<()> {
        let stored = Folder::open(self.world, &disk.from.pool)?;
        let folder = Folder::open(self.world, &disk.to.pool)?;
        let label = format!("restoring {}", disk.name);
        let told = disk_files::Told {
            key: self.key,
            label: &label,
            reporter: self.reporter,
        };
        let from = stored.at(&disk.from.name)?;
        unpack(&folder, &from, disk, &told)
    }

    fn commit(&self) -> Result<()> {
        let store = self.world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        let intent = store.get::<Intent>(&self.uid)?;
        let mut intent = intent.ok_or_else(|| Error::failed("the restore's intent is gone"))?;
        intent.step = Some(SWAPPING.to_owned());
        Ok(store.put(&intent)?)
    }

    /// Where the new file is no more, it has its place already.
    fn swap(&self, swap: &Swap) -> Result<()> {
        let folder = Folder::open(self.world, &swap.disk.pool)?;
        let (new, disk) = (swap.new.name.as_str(), swap.disk.name.as_str());
        if !folder.has(new) {
            return Ok(());
        }
        if let Some(kept) = swap.kept.as_ref().map(|k| k.name.as_str())
            && folder.has(disk)
            && folder.identity(kept) != folder.identity(disk)
        {
            // That of an earlier restore.
            folder.remove(kept)?;
            folder.link(disk, kept)?;
            folder.sync()?;
        }
        folder.publish(new, disk)
    }

    /// Lets libvirt and the records know, and ends the intent where nobody is to be started again.
    fn settle(&self) -> Result<()> {
        let store = self.world.store()?;
        let Some(intent) = store.get::<Intent>(&self.uid)? else {
            return Ok(());
        };
        let volumes: Vec<VolumeRecord> = store.all()?;
        let instances: Vec<InstanceRecord> = store.all()?;
        for swap in &intent.swaps {
            let pool = self.world.host()?.pool(&swap.disk.pool)?;
            pool.refresh()?;
            if let Some(record) = volumes.iter().find(|v| v.file == swap.disk) {
                super::super::volumes::settle_size(self.world, record, self.reporter)?;
                self.note(Kind::Volume, record.name.as_str(), record.uid);
            }
            let owner = instances.iter().find(|i| i.files.contains(&swap.disk));
            if let Some(record) = owner {
                self.note(Kind::Instance, record.name.as_str(), record.uid);
            }
        }
        finish::disks_done(self.world, &self.uid)
    }

    fn note(&self, kind: Kind, name: &str, uid: Uid) {
        let message = format!("restored from {}", self.key);
        let event = Event::new(
            EventType::Normal,
            kind,
            name,
            Some(uid),
            "Restored",
            &message,
        );
        let written = self.world.store().and_then(|s| Ok(s.record_event(&event)?));
        if let Err(error) = written {
            tracing::warn!(target: "store", "cannot write the event: {error}");
        }
    }
}

impl Worker for RestoreWorker<'_> {
    fn run(&self, step: &AnyStep) -> Result<()> {
        match step {
            AnyStep::Snapshot(step) => self.step(step),
            other => Err(Error::failed(format!(
                "not a step of a restore: {}",
                other.describe()
            ))),
        }
    }

    fn undo(&self, _: &AnyStep) -> Result<()> {
        Ok(())
    }
}

/// Unpacks a stored disk to a new file, at least as large as is said, and checks it.
///
/// # Errors
/// A full pool; a result that is not sound.
pub(in crate::engine) fn unpack(
    folder: &Folder,
    from: &ImagePath,
    disk: &Unpack,
    told: &disk_files::Told<'_>,
) -> Result<()> {
    let to = folder.fresh(&disk.to.name)?;
    let copy = Copy {
        from,
        from_format: crate::api::DiskFormat::Qcow2,
        to: &to,
        to_format: disk.format,
        packing: Packing::Plain,
    };
    let qemu = QemuImg::find()?;
    let size = qemu.info(from, crate::api::DiskFormat::Qcow2)?.virtual_size;
    folder.copy(&copy, told, size)?;
    let wanted = disk.least.map_or(size, |least| least.bytes().max(size));
    if let Some(larger) = Quantity::from_bytes(wanted).filter(|_| wanted > size) {
        qemu.grow(&to, disk.format, larger)?;
    }
    let unsound = |why: String| {
        Error::failed(format!("{} is not sound after it was unpacked", disk.name)).caused_by(why)
    };
    let got = qemu.info(&to, disk.format)?.virtual_size;
    if got != wanted {
        return Err(unsound(format!("it has {got} bytes instead of {wanted}")));
    }
    if disk.format == crate::api::DiskFormat::Qcow2 {
        let report = qemu.check(&to)?;
        if !report.is_sound() {
            return Err(unsound(format!("qemu-img check: {report:?}")));
        }
    }
    folder.settle(&disk.to.name)
}

fn swaps(intent: &Intent) -> Vec<Swap> {
    let of = |swap: &SwapRecord| {
        let beside = |name: &String| VolumeRef {
            pool: swap.disk.pool.clone(),
            name: name.clone(),
        };
        Swap {
            new: beside(&swap.new),
            disk: volume_ref(&swap.disk),
            kept: swap.kept.as_ref().map(beside),
        }
    };
    intent.swaps.iter().map(of).collect()
}

/// Puts all new files of an intent into their places, for a caller that keeps guests from them.
///
/// # Errors
/// What the system refuses; the intent then stays, and goes forward at the next run.
pub(super) fn run(worker: &RestoreWorker<'_>, intent: &Intent) -> Result<()> {
    let plan = plan_snapshot::swap(worker.key.clone(), swaps(intent));
    Ok(execute(&plan, worker, worker.reporter)?)
}

/// Drops what is kept of the disks as they were before a restore: the guest has started with the new
/// ones.
///
/// # Errors
/// What libvirt or the system refuses.
pub(in crate::engine) fn drop_kept(world: &World, domain: &crate::libvirt::Domain) -> Result<()> {
    let host = world.host()?;
    if !host.is_local() {
        return Ok(());
    }
    let definition = domain.definition()?;
    for path in definition.hard_disks().filter_map(|d| d.path()) {
        let kept = format!("{path}{KEPT}");
        if std::fs::symlink_metadata(&kept).is_err() {
            continue;
        }
        match host.volume_by_path(&kept) {
            Ok(volume) => volume.delete()?,
            Err(e) if e.is_not_found() => {
                let removed = std::fs::remove_file(&kept);
                removed.map_err(|e| Error::failed(format!("cannot remove {kept}")).caused_by(e))?;
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
