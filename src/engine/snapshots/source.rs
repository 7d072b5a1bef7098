//! What a snapshot is taken of: which disks there are, who has them, whether a guest writes to them.

use std::path::Path;

use super::OBJECT_WAIT;
use crate::api::{
    DiskFormat, Kind, Name, ObjectKey, Quantity, SnapshotSource, SnapshotSpec, Uid, VolumeUse,
};
use crate::error::{Error, Result};
use crate::libvirt::{Domain, Host};
use crate::observe::{DiskUse, World, not_found};
use crate::store::{FileRecord, InstanceRecord, ObjectLock, VolumeRecord};

/// What a snapshot is taken of.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) source: SnapshotSource,
    /// The domain that has the disks.
    pub(super) user: Option<User>,
    pub(super) disks: Vec<SourceDisk>,
    /// Disks that kvmctl did not make.
    pub(super) left_out: Vec<String>,
}

/// A domain that has disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: Uid,
    pub(super) name: String,
    pub(super) managed: bool,
    pub(super) running: bool,
    /// Whether its guest powered off by itself.
    pub(super) shut_down: bool,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceDisk {
    pub(super) name: String,
    pub(super) volume: Option<Name>,
    pub(super) uid: Option<Uid>,
    pub(super) target: Option<String>,
    pub(super) file: FileRecord,
    pub(super) path: String,
    pub(super) format: DiskFormat,
    pub(super) virtual_size: u64,
    /// What it takes on the host, with what stands behind it.
    pub(super) allocated: u64,
}

impl Source {
    /// Keeps others from changing the disks, or from starting the guest that has them.
    ///
    /// # Errors
    /// Busy, naming who works on them.
    pub(super) fn lock<'w>(&self, world: &'w World) -> Result<Vec<ObjectLock<'w>>> {
        let store = world.store()?;
        let mut locks = Vec::new();
        if let Some(user) = self.user.as_ref().filter(|u| u.managed && !u.running) {
            locks.push(store.lock_object(Kind::Instance, &user.name, OBJECT_WAIT)?);
        }
        let mut volumes: Vec<&Name> = self
            .disks
            .iter()
            .filter_map(|d| d.volume.as_ref())
            .collect();
        volumes.sort();
        for name in volumes {
            locks.push(store.lock_object(Kind::Volume, name.as_str(), OBJECT_WAIT)?);
        }
        Ok(locks)
    }
}

/// Looks up what a snapshot is taken of.
///
/// # Errors
/// `NotFound`; a conflict for what is not ours or cannot be told apart.
pub(super) fn find(world: &World, spec: &SnapshotSpec) -> Result<Source> {
    match spec.source() {
        Some((Kind::Volume, name)) => of_volume(world, name),
        Some((_, name)) => of_instance(world, name),
        None => Err(Error::usage("spec names one of volume and instance")),
    }
}

fn of_volume(world: &World, name: &Name) -> Result<Source> {
    let Some(record) = world.store_for_reading()?.get::<VolumeRecord>(name)? else {
        // Says that it is not found, or whose it is.
        world.volume(name)?;
        let key = ObjectKey::new(Kind::Volume, name.clone());
        return Err(Error::conflict(format!("{key} is not managed by kvmctl")));
    };
    let mut disk = of_record(world, &record)?;
    let uses: Vec<DiskUse> = world.disk_uses()?;
    let uses: Vec<&DiskUse> = uses.iter().filter(|u| u.path == disk.path).collect();
    let running: Vec<&&DiskUse> = uses.iter().filter(|u| u.at.running).collect();
    if let [first, second, ..] = running.as_slice()
        && first.domain_uid != second.domain_uid
    {
        return Err(Error::conflict(format!(
            "volume/{name} is written to by several guests: {}, {}",
            first.at.domain, second.at.domain
        ))
        .hint(format!("kvmctl instances stop {}", first.at.domain)));
    }
    let used = running
        .first()
        .map_or_else(|| uses.first().copied(), |u| Some(**u));
    disk.target = used.map(|u| u.at.target.clone());
    let user = match used {
        Some(used) => {
            let domain = world.host()?.domain_by_uid(used.domain_uid)?;
            Some(user(&domain, &used.at)?)
        }
        None => None,
    };
    Ok(Source {
        source: SnapshotSource {
            kind: Kind::Volume,
            name: name.clone(),
            uid: record.uid,
        },
        user,
        disks: vec![disk],
        left_out: Vec::new(),
    })
}

fn user(domain: &Domain, at: &VolumeUse) -> Result<User> {
    Ok(User {
        uid: domain.uid(),
        name: at.domain.clone(),
        managed: at.managed,
        running: at.running,
        shut_down: domain.was_shut_down()?,
    })
}

fn of_instance(world: &World, name: &Name) -> Result<Source> {
    let host = world.host()?;
    let domain = match host.domain(name.as_str()) {
        Ok(domain) => domain,
        Err(e) if e.is_not_found() => {
            let briefs = host.domain_briefs()?;
            let names = briefs.iter().map(|b| b.name.as_str());
            return Err(not_found(Kind::Instance, name, names));
        }
        Err(e) => return Err(e.into()),
    };
    let key = ObjectKey::new(Kind::Instance, name.clone());
    let store = world.store_for_reading()?;
    let Some(record) = store.get::<InstanceRecord>(&domain.uid())? else {
        return Err(Error::conflict(format!("{key} is not managed by kvmctl"))
            .hint(format!("kvmctl adopt {key}")));
    };
    let running = domain.state()?.is_active();
    let xml = if running {
        domain.live()?
    } else {
        domain.definition()?
    };
    let volumes: Vec<VolumeRecord> = store.all()?;
    let (mut disks, mut left_out) = (Vec::new(), Vec::new());
    for disk in xml.hard_disks() {
        let (target, Some(path)) = (&disk.target.dev, disk.path()) else {
            continue;
        };
        let own = own_file(&record, path).map(|file| (file, disk.format()));
        let found = match own {
            Some((file, format)) => Some(root(host, file, path, format)?),
            None => volume_at(world, &volumes, path)?,
        };
        match found {
            Some(disk) => disks.push(SourceDisk {
                target: Some(target.clone()),
                ..disk
            }),
            None => left_out.push(format!("{path} (disk {target})")),
        }
    }
    if disks.is_empty() {
        return Err(
            Error::conflict(format!("{key} has no disk that kvmctl made"))
                .caused_by(left_out.join(", ")),
        );
    }
    let at = VolumeUse {
        domain: name.to_string(),
        managed: true,
        running,
        target: String::new(),
    };
    Ok(Source {
        source: SnapshotSource {
            kind: Kind::Instance,
            name: name.clone(),
            uid: domain.uid(),
        },
        user: Some(user(&domain, &at)?),
        disks,
        left_out,
    })
}

fn own_file(record: &InstanceRecord, path: &str) -> Option<FileRecord> {
    let name = Path::new(path).file_name()?.to_str()?;
    record.files.iter().find(|f| f.volume == name).cloned()
}

fn volume_at(world: &World, volumes: &[VolumeRecord], path: &str) -> Result<Option<SourceDisk>> {
    let name = Path::new(path).file_name().and_then(|n| n.to_str());
    let named = volumes
        .iter()
        .filter(|v| Some(v.file.volume.as_str()) == name);
    for record in named {
        let disk = of_record(world, record)?;
        if disk.path == path {
            return Ok(Some(disk));
        }
    }
    Ok(None)
}

fn root(host: &Host, file: FileRecord, path: &str, format: Option<&str>) -> Result<SourceDisk> {
    let format = match format {
        Some("raw") => DiskFormat::Raw,
        _ => DiskFormat::Qcow2,
    };
    measured(host, "root".to_owned(), file, path.to_owned(), format)
}

fn of_record(world: &World, record: &VolumeRecord) -> Result<SourceDisk> {
    let host = world.host()?;
    let pool = super::super::volumes::pool(world, &record.file.pool)?;
    let path = format!("{}/{}", pool.path()?, record.file.volume);
    let name = format!("vol-{}", record.name);
    let disk = measured(host, name, record.file.clone(), path, record.format)?;
    Ok(SourceDisk {
        volume: Some(record.name.clone()),
        uid: Some(record.uid),
        ..disk
    })
}

fn measured(
    host: &Host,
    name: String,
    file: FileRecord,
    path: String,
    format: DiskFormat,
) -> Result<SourceDisk> {
    let volume = host.pool(&file.pool)?.volume(&file.volume)?;
    let info = volume.info()?;
    // What libvirt finds in a raw file may be what a guest wrote there.
    let (virtual_size, behind) = match format {
        DiskFormat::Raw => (volume.length()?, Vec::new()),
        DiskFormat::Qcow2 => (info.capacity, crate::observe::chain(host, &path)),
    };
    let size = |path: &String| {
        let volume = host.volume_by_path(path).ok();
        volume
            .and_then(|v| v.info().ok())
            .map_or(0, |i| i.allocation)
    };
    let allocated = info.allocation + behind.iter().map(size).sum::<u64>();
    Ok(SourceDisk {
        name,
        volume: None,
        uid: None,
        target: None,
        file,
        path,
        format,
        virtual_size,
        allocated,
    })
}

/// Returns a size as an object shows it.
pub(super) fn quantity(bytes: u64) -> Option<Quantity> {
    Quantity::from_bytes(bytes)
}
