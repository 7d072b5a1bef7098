//! The volumes of an instance: what its list names, looked up, and what a changed list comes to.

use std::path::PathBuf;

use crate::api::{FileSystem, InstanceSpec, IoThread, Kind, Name, Uid, VolumeAttachment};
use crate::cloudinit::SeedMount;
use crate::error::{Error, Result};
use crate::libvirt::xml::instance::{DiskParams, VolumeParams};
use crate::observe::World;
use crate::plan::instance::Disk;
use crate::plan::instance_change::DiskSteps;
use crate::store::{InstanceRecord, Intent, IntentOp, StoreLock, VolumeRecord};

/// Looks the volumes of a list up.
///
/// # Errors
/// Usage for one that is not there.
pub(super) fn look_up(world: &World, wanted: &[VolumeAttachment]) -> Result<Vec<Disk>> {
    wanted.iter().map(|wish| disk(world, wish)).collect()
}

/// As [`look_up`], for a plan that is only shown: what is not there yet will be made before.
pub(super) fn look_up_or_name(world: &World, wanted: &[VolumeAttachment]) -> Result<Vec<Disk>> {
    let named = |wish: &VolumeAttachment| Disk {
        wish: wish.clone(),
        path: format!("/{}", wish.name),
        format: crate::api::DiskFormat::Qcow2,
        serial: String::new(),
    };
    let look = |wish| match known(world, wish)? {
        Some(record) => of_record(world, wish, &record),
        None => Ok(named(wish)),
    };
    wanted.iter().map(look).collect()
}

fn known(world: &World, wish: &VolumeAttachment) -> Result<Option<VolumeRecord>> {
    Ok(world.store_for_reading()?.get::<VolumeRecord>(&wish.name)?)
}

fn disk(world: &World, wish: &VolumeAttachment) -> Result<Disk> {
    match known(world, wish)? {
        Some(record) => of_record(world, wish, &record),
        None => Err(
            Error::usage(format!("there is no volume \"{}\"", wish.name))
                .hint(format!("kvmctl volumes create {} --size 10G", wish.name))
                .hint("kvmctl volumes list"),
        ),
    }
}

fn of_record(world: &World, wish: &VolumeAttachment, record: &VolumeRecord) -> Result<Disk> {
    let pool = world.host()?.pool(&record.file.pool)?;
    let path = match pool.find_volume(&record.file.volume)? {
        Some(volume) => volume.path()?,
        // One that is gone can still be taken away.
        None => format!("{}/{}", pool.path()?, record.file.volume),
    };
    Ok(Disk {
        wish: wish.clone(),
        path,
        format: record.format,
        serial: record.serial(),
    })
}

impl Disk {
    /// Returns what a domain is made of.
    pub(super) fn params(&self) -> VolumeParams {
        VolumeParams {
            disk: DiskParams {
                path: PathBuf::from(&self.path),
                format: self.format.to_string(),
                serial: Some(self.serial.clone()),
            },
            wish: self.wish.clone(),
        }
    }
}

impl Disk {
    /// Returns where the first boot mounts it, where it does.
    pub(super) fn mount(&self) -> Option<SeedMount> {
        let path = self.wish.mount_path.clone()?;
        Some(SeedMount {
            volume: self.wish.name.clone(),
            serial: self.serial.clone(),
            path,
            fs: self.wish.fs.unwrap_or(FileSystem::Ext4),
            read_only: self.wish.read_only.unwrap_or(false),
        })
    }
}

/// What only the first boot does is not done later, and that is said.
pub(super) fn not_mounted(old: &InstanceSpec, new: &InstanceSpec) -> Vec<String> {
    let was = |v: &VolumeAttachment| {
        let mut had = old.volumes.iter();
        had.any(|o| o.name == v.name && o.mount_path == v.mount_path)
    };
    let wanted = new.volumes.iter().filter(|v| !was(v));
    wanted
        .filter_map(|v| {
            let (name, path) = (&v.name, v.mount_path.as_ref()?);
            Some(format!(
                "volume/{name} is not mounted at {path}: cloud-init mounts volumes at the first boot only"
            ))
        })
        .collect()
}

/// Compares two lists.
///
/// # Errors
/// Usage for a volume that is not there.
pub(super) fn compare(world: &World, old: &InstanceSpec, new: &InstanceSpec) -> Result<DiskSteps> {
    let coming = new.volumes.iter().filter(|n| !has(&old.volumes, n));
    let going = old.volumes.iter().filter(|o| !has(&new.volumes, o));
    let attach = look_up(world, &coming.cloned().collect::<Vec<_>>())?;
    let detach = look_up_present(world, going)?;
    Ok(DiskSteps { detach, attach })
}

/// A changed wish for a disk that is there means to plug it in anew; what only the first boot reads
/// does not.
fn has(list: &[VolumeAttachment], wanted: &VolumeAttachment) -> bool {
    let treated_alike = |a: &VolumeAttachment, b: &VolumeAttachment| {
        let wish = |v: &VolumeAttachment| {
            let read_only = v.read_only.unwrap_or(false);
            let shared = v.is_shared();
            let thread = v.iothread.unwrap_or(IoThread::Main);
            (read_only, shared, v.cache, v.discard, v.io, thread)
        };
        wish(a) == wish(b)
    };
    list.iter()
        .any(|v| v.name == wanted.name && treated_alike(v, wanted))
}

/// A volume whose record is gone cannot be told among the disks any more.
fn look_up_present<'v>(
    world: &World,
    wanted: impl Iterator<Item = &'v VolumeAttachment>,
) -> Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for wish in wanted {
        if let Some(record) = known(world, wish)? {
            disks.push(of_record(world, wish, &record)?);
        }
    }
    Ok(disks)
}

/// Returns the steps that bring the volumes to what a record says, whatever was begun; `touched` are
/// those that it had, or was about to have.
///
/// # Errors
/// Usage for a volume that is not there.
pub(super) fn settle(
    world: &World,
    record: &InstanceRecord,
    touched: &[Name],
) -> Result<DiskSteps> {
    let wanted = &record.spec.volumes;
    let going = touched
        .iter()
        .filter(|n| wanted.iter().all(|w| w.name != **n));
    let going: Vec<_> = going.cloned().map(VolumeAttachment::named).collect();
    Ok(DiskSteps {
        detach: look_up_present(world, going.iter())?,
        attach: look_up(world, wanted)?,
    })
}

/// Checks that no other domain has, or is about to have, a volume of a list. Call it with the store
/// locked, and write down whose it is before the lock is given back.
///
/// # Errors
/// A conflict that names who has it.
pub(super) fn claim(
    world: &World,
    _lock: &StoreLock,
    uid: Uid,
    wanted: &[VolumeAttachment],
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let store = world.store()?;
    let records: Vec<InstanceRecord> = store.all()?;
    let going: Vec<Intent> = store.all()?;
    for wish in wanted {
        let Some(volume) = store.get::<VolumeRecord>(&wish.name)? else {
            return Err(Error::not_found(format!("volume/{} is gone", wish.name)));
        };
        let unfinished = |i: &&Intent| i.uid == volume.uid && i.op != IntentOp::Update;
        if let Some(intent) = going.iter().find(unfinished) {
            let what = match intent.op {
                IntentOp::Delete => "is being deleted",
                _ => "is not made yet",
            };
            return Err(
                Error::conflict(format!("volume/{} {what}", wish.name)).hint("kvmctl reconcile")
            );
        }
        let others = records.iter().filter(|r| r.uid != uid);
        for other in others {
            let theirs = other.spec.volumes.iter().find(|v| v.name == wish.name);
            if let Some(theirs) = theirs {
                share(&volume, wish, theirs, other)?;
            }
        }
    }
    Ok(())
}

fn share(
    volume: &VolumeRecord,
    ours: &VolumeAttachment,
    theirs: &VolumeAttachment,
    other: &InstanceRecord,
) -> Result<()> {
    let raw = volume.format == crate::api::DiskFormat::Raw;
    if ours.is_shared() && theirs.is_shared() && raw {
        return Ok(());
    }
    let (name, instance) = (&volume.name, &other.name);
    let error = Error::conflict(format!("volume/{name} is attached to instance/{instance}"));
    let error = match (ours.is_shared(), raw) {
        (false, _) => error,
        (true, false) => error.caused_by("only raw volumes can be shared; this one is qcow2"),
        (true, true) => error.caused_by("it is not shared there"),
    };
    Err(error.hint(format!("kvmctl volumes detach {name} {instance}")))
}

/// Checks that no domain outside kvmctl's records has a volume of a list.
///
/// # Errors
/// A conflict that names the domain; what libvirt refuses.
pub(super) fn refuse_foreign(world: &World, uid: Uid, wanted: &[Disk]) -> Result<()> {
    let alone: Vec<&Disk> = wanted.iter().filter(|d| !d.wish.is_shared()).collect();
    if alone.is_empty() {
        return Ok(());
    }
    let uses = world.disk_uses()?;
    for disk in alone {
        let taken = uses
            .iter()
            .find(|u| u.domain_uid != uid && u.path == disk.path);
        if let Some(taken) = taken {
            let (name, domain) = (&disk.wish.name, &taken.at.domain);
            let conflict =
                |who: String| Error::conflict(format!("{} is attached to {who}", volume(name)));
            return Err(match taken.at.managed {
                true => conflict(format!("{}/{domain}", Kind::Instance))
                    .hint(format!("kvmctl volumes detach {name} {domain}")),
                false => conflict(format!("domain {domain:?}")).hint(format!(
                    "virsh detach-disk {domain} {} --persistent",
                    taken.at.target
                )),
            });
        }
    }
    Ok(())
}

fn volume(name: &Name) -> String {
    format!("{}/{name}", Kind::Volume)
}
