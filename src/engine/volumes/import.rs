//! Importing: a file of the user's, or of a server, becomes a volume. The copy is checked, not the
//! file, which could become another one in between.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::images::{checksum, limits, or_signal, private_dir};
use super::apply::carry_out;
use super::make::{file_name, home};
use super::worker::VolumeWorker;
use super::{OBJECT_WAIT, intent_of, record_of, volume_ref};
use crate::api::{
    DiskFormat, Kind, Name, ObjectKey, Preallocation, Quantity, Reporter, Timestamp, Uid,
    VolumeSpec,
};
use crate::engine::Interrupt;
use crate::error::{Error, Result};
use crate::image::download::{Fetcher, Options, Progress, Watch};
use crate::image::{Algorithm, Staged, import as staging};
use crate::libvirt::PoolSort;
use crate::observe::World;
use crate::plan::volume::{self as plan_volume, NewVolume, Source};
use crate::store::{FileRecord, IntentOp, VolumeRecord};

/// What to import.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// File or URL.
    pub source: String,
    /// Name of the volume.
    pub name: Name,
    /// What the file is; `raw` takes any bytes as they are.
    pub format: Option<DiskFormat>,
    /// Size of the volume, where it is to be larger.
    pub size: Option<Quantity>,
    /// Storage pool.
    pub pool: Option<String>,
    /// SHA-256 that the file must have.
    pub checksum: Option<String>,
    /// Take a URL without a sum.
    pub without_checksum: bool,
    /// Allow plain http.
    pub allow_http: bool,
    /// Take a disk that is larger than the free space of the pool.
    pub sparse: bool,
}

/// Takes a file as a volume.
///
/// # Errors
/// Usage, with the reason why the file cannot be trusted; a conflict for a name that is taken.
pub fn import(
    world: &World,
    request: &ImportRequest,
    reporter: &dyn Reporter,
) -> Result<ObjectKey> {
    let key = ObjectKey::new(Kind::Volume, request.name.clone());
    let _object = world
        .store()?
        .lock_object(Kind::Volume, key.name.as_str(), OBJECT_WAIT)?;
    match intent_of(world, &key.name)?.map(|i| i.op) {
        Some(IntentOp::Create | IntentOp::Delete) => {
            super::delete::delete_locked(world, &key, reporter).map(drop)?;
        }
        _ if record_of(world, &key.name)?.is_some() => {
            return Err(Error::conflict(format!(
                "{} {:?} already exists (AlreadyExists)",
                key.kind,
                key.name.as_str()
            ))
            .hint(format!("kvmctl get {key} -o yaml")));
        }
        _ => {}
    }
    let pool_name = request.pool.as_ref().unwrap_or(&world.settings().pool);
    let (pool, sort) = home(world, pool_name)?;
    let limits = limits(&pool, request.sparse)?;
    let (mut file, fetched) = open(world, request, &key, reporter)?;
    let staged = stage(world, request, &mut file, &limits, &key, reporter);
    if let Some(path) = fetched {
        let _ = std::fs::remove_file(path);
    }
    let staged = staged?;
    let inspected = *staged.inspected();
    if let Some(size) = request.size
        && size < inspected.virtual_size
    {
        return Err(Error::usage(format!(
            "--size: {size} is less than the {} of the file",
            inspected.virtual_size
        )));
    }
    let uid = Uid::random();
    let format = inspected.format;
    if sort == PoolSort::Logical && format != DiskFormat::Raw {
        return Err(Error::usage(format!(
            "the file is {format}, and volumes in pool {pool_name:?} are raw"
        ))
        .hint(format!("qemu-img convert -f {format} -O raw FILE COPY")));
    }
    let file = FileRecord {
        pool: pool_name.clone(),
        volume: file_name(&sort, &key.name, uid, format),
    };
    let capacity = request.size.unwrap_or(inspected.virtual_size);
    let new = NewVolume {
        volume: volume_ref(&file),
        format,
        capacity: Some(capacity),
        preallocation: match sort {
            PoolSort::Logical => Preallocation::Falloc,
            _ => Preallocation::Off,
        },
        source: Source::File {
            bytes: staged.size(),
        },
    };
    let record = VolumeRecord {
        name: key.name.clone(),
        uid,
        labels: Default::default(),
        annotations: Default::default(),
        applied: Default::default(),
        generation: 1,
        created: Timestamp::now(),
        file,
        format,
        spec: VolumeSpec {
            size: Some(capacity),
            format: Some(format),
            pool: request.pool.clone(),
            ..VolumeSpec::default()
        },
    };
    let plan = plan_volume::create(key.clone(), new);
    let worker = VolumeWorker::new(world, record, &key, reporter).with_content(Some(staged.into()));
    carry_out(world, &plan, &worker, reporter)?;
    Ok(key)
}

/// Opens the file; one of a server's is fetched first, to where only we can write.
pub(super) fn open(
    world: &World,
    request: &ImportRequest,
    key: &ObjectKey,
    reporter: &dyn Reporter,
) -> Result<(File, Option<PathBuf>)> {
    let opened = |path: &Path| {
        File::open(path)
            .map_err(|e| Error::usage(format!("cannot read {}", path.display())).caused_by(e))
    };
    if !request.source.contains("://") {
        return Ok((opened(Path::new(&request.source))?, None));
    }
    let checksum = match &request.checksum {
        Some(hex) => Some(checksum(hex)?),
        None if request.without_checksum => None,
        None => {
            return Err(Error::usage("a volume from a URL needs a checksum")
                .hint("add --checksum SHA256, or --insecure-no-checksum to go without"));
        }
    };
    let fetcher = Fetcher::new(Options {
        allow_http: request.allow_http,
        ..Options::default()
    });
    let dir = private_dir(&world.paths().cache_dir().join("downloads"))?;
    let dest = dir.join(format!("volume-{}.download", key.name));
    let label = format!("pulling {}", key.name);
    let mut progress = |p: Progress| reporter.progress(key, &label, p.received, p.total);
    let stop = Interrupt::flag();
    let mut watch = Watch {
        stop: &stop,
        progress: &mut progress,
    };
    let got = fetcher
        .fetch(&request.source, &dest, checksum.as_ref(), &mut watch)
        .map_err(or_signal)?;
    Ok((opened(&got.path)?, Some(got.path)))
}

pub(super) fn stage(
    world: &World,
    request: &ImportRequest,
    file: &mut File,
    limits: &crate::image::Limits,
    key: &ObjectKey,
    reporter: &dyn Reporter,
) -> Result<Staged> {
    let dir = private_dir(&world.paths().cache_dir().join("staging"))?;
    let label = format!("reading {}", request.source);
    let mut progress = |done, total| reporter.progress(key, &label, done, Some(total));
    let stop = Interrupt::flag();
    let staged = match request.format {
        Some(DiskFormat::Raw) => staging::stage_raw(file, &dir, limits, &stop, &mut progress),
        _ => staging::stage(file, &dir, limits, &stop, &mut progress),
    };
    let staged = staged.map_err(|e| {
        let unknown = matches!(e, crate::image::ImageError::Unrecognised { .. });
        let error = or_signal(e);
        match unknown {
            true => error.hint("if it is a bare file system or disk: add --format raw"),
            false => error,
        }
    })?;
    let found = staged.inspected().format;
    if request.format.is_some_and(|wanted| wanted != found) {
        return Err(Error::usage(format!(
            "--format: {} is {found}",
            request.source
        )));
    }
    let local = !request.source.contains("://");
    if let (Some(hex), true) = (&request.checksum, local) {
        let expected = checksum(hex)?;
        let actual = staged.sha256().to_string();
        if expected.algorithm() != Algorithm::Sha256 || expected.hex() != actual {
            return Err(Error::usage(format!(
                "the checksum does not match: expected {}, the file has {actual}",
                expected.hex()
            )));
        }
    }
    Ok(staged)
}
