//! What a new volume comes to: where it lies, what it begins as, whether there is room.

use super::content::Content;
use super::from_tar;
use crate::api::{
    DiskFormat, Kind, Name, ObjectKey, Preallocation, Quantity, Reporter, Uid, VolumeSource,
    VolumeSpec,
};
use crate::error::{Error, Result};
use crate::libvirt::{Pool, PoolSort};
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::plan::volume::{NewVolume, Source};
use crate::store::{FileRecord, VolumeRecord};

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// To look only, for a plan that is shown.
    Look,
    /// To make what the volume is to hold.
    Make,
}

/// A new volume, with everything it refers to looked up.
pub(super) struct Made {
    /// What is to be made.
    pub(super) new: NewVolume,
    /// Where.
    pub(super) file: FileRecord,
    /// What a person should know besides.
    pub(super) notes: Vec<String>,
    /// The content that was made for it, where it is none of the host's.
    pub(super) content: Option<Content>,
}

/// Looks everything up. Nothing is changed.
///
/// # Errors
/// Usage for what does not exist or does not fit; a conflict for a source that is being written to.
pub(super) fn prepare(
    world: &World,
    key: &ObjectKey,
    spec: &VolumeSpec,
    uid: Uid,
    depth: Depth,
    reporter: &dyn Reporter,
) -> Result<Made> {
    let pool_name = spec.pool.as_ref().unwrap_or(&world.settings().pool);
    let (pool, sort) = home(world, pool_name)?;
    let logical = sort == PoolSort::Logical;
    let usual = if logical {
        DiskFormat::Raw
    } else {
        DiskFormat::Qcow2
    };
    let mut format = spec.format.unwrap_or(usual);
    let mut content = None;
    let mut said = Vec::new();
    let (source, least) = match &spec.source {
        None => (Source::Empty, None),
        Some(VolumeSource {
            snapshot: Some(snapshot),
            disk,
            ..
        }) => {
            let stored = stored(world, snapshot, disk.as_deref())?;
            format = spec.format.unwrap_or(stored.format);
            stored.source
        }
        Some(VolumeSource { tar: Some(tar), .. }) => {
            let request = from_tar::Request {
                tar,
                size: spec.size,
                format,
                room: pool.info()?.available,
            };
            let found = from_tar::look(world, key, &request, depth, reporter)?;
            let (source, capacity) = (found.source(), found.capacity);
            said.extend(found.notes);
            content = found.content;
            (source, Some(capacity))
        }
        Some(from) => source(world, from, format)?,
    };
    if let (Some(least), Some(size)) = (least, spec.size)
        && size < least
    {
        return Err(Error::usage(format!(
            "spec.size: {size} is less than the {least} of its source"
        )));
    }
    if logical && format != DiskFormat::Raw {
        let message = format!("spec.format: a logical volume is raw, not {format}");
        return Err(Error::usage(message));
    }
    let file = FileRecord {
        pool: pool_name.clone(),
        volume: file_name(&sort, &key.name, uid, format),
    };
    let new = NewVolume {
        volume: VolumeRef {
            pool: file.pool.clone(),
            name: file.volume.clone(),
        },
        format,
        capacity: spec.size.or(least),
        preallocation: match logical {
            // LVM gives all of its room at once, or a snapshot that breaks when it is full.
            true => Preallocation::Falloc,
            false => spec.preallocation.unwrap_or(Preallocation::Off),
        },
        source,
    };
    said.extend(room(&pool, &new)?);
    Ok(Made {
        new,
        file,
        notes: said,
        content,
    })
}

/// Looks up a pool that volumes can be made in: one of files.
///
/// # Errors
/// Usage with the candidates; a conflict for one that is not active.
pub(in crate::engine) fn pool(world: &World, name: &str) -> Result<Pool> {
    match home(world, name)? {
        (pool, PoolSort::Files) => Ok(pool),
        (_, _) => Err(Error::usage(format!(
            "storage pool {name:?} is of type logical: this needs a pool of files"
        ))
        .caused_by("those are of type dir, fs and netfs")),
    }
}

fn active(world: &World, name: &str) -> Result<Pool> {
    let host = world.host()?;
    let pool = match host.pool(name) {
        Ok(pool) => pool,
        Err(e) if e.is_not_found() => {
            let known: Vec<String> = host.pools()?.into_iter().map(|p| p.name).collect();
            return Err(Error::usage(format!("there is no storage pool {name:?}"))
                .caused_by(format!("known: {}", known.join(", ")))
                .hint("kvmctl setup"));
        }
        Err(e) => return Err(e.into()),
    };
    if !pool.is_active()? {
        return Err(
            Error::conflict(format!("storage pool {name:?} is not active"))
                .hint(format!("virsh pool-start {name}")),
        );
    }
    Ok(pool)
}

/// Looks up a pool that volumes can be made in: one of files, or of LVM.
///
/// # Errors
/// As [`pool`].
pub(super) fn home(world: &World, name: &str) -> Result<(Pool, PoolSort)> {
    let pool = active(world, name)?;
    match pool.sort()? {
        PoolSort::Other(kind) => Err(Error::usage(format!(
            "storage pool {name:?} is of type {kind}: kvmctl makes no volumes there"
        ))
        .caused_by("it makes them in pools of type dir, fs, netfs and logical")),
        sort => Ok((pool, sort)),
    }
}

/// Names the file of a new volume. Where no sidecar can lie, the name alone has to tell whose it is.
pub(super) fn file_name(sort: &PoolSort, name: &Name, uid: Uid, format: DiskFormat) -> String {
    match sort {
        PoolSort::Logical => format!("{name}.{uid}.{format}"),
        _ => format!("{name}.{}.{format}", uid.short()),
    }
}

/// Looks up what a volume begins as, and how large it is at least.
fn source(
    world: &World,
    from: &VolumeSource,
    format: DiskFormat,
) -> Result<(Source, Option<Quantity>)> {
    match (&from.volume, &from.image) {
        (Some(name), _) => {
            let record = world
                .store_for_reading()?
                .get::<VolumeRecord>(name)?
                .ok_or_else(|| {
                    Error::usage(format!("there is no volume {:?}", name.as_str()))
                        .hint("kvmctl volumes list")
                })?;
            let original = world.volume(name)?;
            let status = original.status.unwrap_or_default();
            let busy = status.attached_to.iter().find(|u| u.running);
            if let Some(busy) = busy {
                return Err(Error::conflict(format!(
                    "volume/{name} is attached to instance/{}, which runs and may be writing to it",
                    busy.domain
                ))
                .hint(format!("kvmctl instances stop {}", busy.domain))
                .hint(format!("kvmctl volumes detach {name} {}", busy.domain)));
            }
            let copy = Source::Copy {
                volume: super::volume_ref(&record.file),
                format: record.format,
            };
            Ok((copy, status.capacity))
        }
        (None, Some(image)) => {
            let stored = super::super::images::present(world, image)?.ok_or_else(|| {
                Error::usage(format!("image {image:?} is not in the pool"))
                    .hint(format!("kvmctl images pull {image}"))
            })?;
            let (pool, name) = (stored.pool.clone(), stored.image.volume().to_string());
            let base_format = stored.image.format;
            let size = Some(stored.image.virtual_size);
            if format == DiskFormat::Raw {
                let volume = VolumeRef { pool, name };
                let format = base_format;
                return Ok((Source::Copy { volume, format }, size));
            }
            let base = world.host()?.pool(&pool)?.volume(&name)?.path()?;
            let format = base_format;
            Ok((Source::Overlay { base, format }, size))
        }
        (None, None) => Err(Error::usage(
            "spec.source: names one of volume, image, snapshot and tar",
        )),
    }
}

/// A disk of a snapshot.
struct Stored {
    source: (Source, Option<Quantity>),
    format: DiskFormat,
}

fn stored(world: &World, name: &Name, disk: Option<&str>) -> Result<Stored> {
    let key = ObjectKey::new(Kind::Snapshot, name.clone());
    let record = super::super::snapshots::whole(world, &key)?;
    super::super::snapshots::refuse_memory(&key, &record)?;
    let disk = super::super::snapshots::choose(&key, &record, disk)?;
    let source = Source::Stored {
        snapshot: name.clone(),
        disk: disk.name.clone(),
        file: super::volume_ref(&disk.file),
    };
    Ok(Stored {
        source: (source, disk.virtual_size),
        format: disk.format,
    })
}

/// Checks that what is taken at once is there, and says when more is promised than there is.
fn room(pool: &Pool, new: &NewVolume) -> Result<Vec<String>> {
    let available = pool.info()?.available;
    let wanted = new.capacity.map_or(0, Quantity::bytes);
    let free = format!("{:.1}Gi", available as f64 / f64::from(1 << 30));
    if wanted <= available {
        return Ok(Vec::new());
    }
    let capacity = Quantity::from_bytes(wanted).map_or(String::new(), |q| q.to_string());
    let at_once = matches!(
        new.preallocation,
        Preallocation::Falloc | Preallocation::Full
    );
    if at_once {
        return Err(Error::failed(format!(
            "pool {:?} has no room for {capacity}: {free} is free",
            pool.name
        ))
        .hint("--preallocation off takes room only as the volume is written to"));
    }
    Ok(vec![format!(
        "over-committed: it may grow to {capacity}, and {free} is free in pool {:?}",
        pool.name
    )])
}
