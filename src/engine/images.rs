//! Images into the pool: pulled or imported, checked, stored once under a name made from their
//! content.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::api::{Kind, Name, ObjectKey, Quantity, Timestamp, Uid};
use crate::error::{Error, Result};
use crate::image::catalogue::{Architecture, Firmware};
use crate::image::download::{Fetcher, Options, Progress, Watch};
use crate::image::{Algorithm, Checksum, ImageRecord, Limits, Staged, import as staging};
use crate::libvirt::Pool;
use crate::libvirt::xml::volume::VolumeXml;
use crate::observe::{StoredImage, World};
use crate::plan::Outcome;
use crate::store::{InstanceRecord, STORE_WAIT};

use super::signal::{Interrupt, interrupted};
use crate::api::Reporter;

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// Alias of the catalogue or URL.
    pub source: String,
    /// Name of the image, when it comes from a URL.
    pub name: Option<Name>,
    /// Sum of the file, when it comes from a URL.
    pub checksum: Option<String>,
    /// Take a URL without a sum.
    pub without_checksum: bool,
    /// Allow plain http.
    pub allow_http: bool,
    /// User that the image gives the SSH key to.
    pub default_user: Option<String>,
}

/// What to import.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The file.
    pub file: PathBuf,
    /// Name of the image.
    pub name: Name,
    /// User that the image gives the SSH key to.
    pub default_user: Option<String>,
    /// `bios` or `uefi`.
    pub firmware: Option<String>,
    /// SHA-256 that the file must have.
    pub checksum: Option<String>,
    /// Take an image whose virtual size is larger than the free space of the pool.
    pub sparse: bool,
}

/// What is known of an image beside its bytes.
#[derive(Debug, Clone)]
struct Facts {
    name: Name,
    os: Option<String>,
    default_user: Option<String>,
    firmware: Option<Firmware>,
    architecture: Option<Architecture>,
    source_url: Option<String>,
}

/// Makes sure that an image is in the pool and returns it; pulls it if the catalogue has it.
///
/// # Errors
/// Usage with the candidates for an unknown name; whatever stops a download.
pub fn ensure(world: &World, name: &str, reporter: &dyn Reporter) -> Result<StoredImage> {
    if let Some(found) = present(world, name)? {
        return Ok(found);
    }
    let request = PullRequest {
        source: name.to_owned(),
        name: None,
        checksum: None,
        without_checksum: false,
        allow_http: false,
        default_user: None,
    };
    let (key, _) = pull(world, &request, reporter)?;
    present(world, key.name.as_str())?
        .ok_or_else(|| Error::failed(format!("image {name:?} vanished while it was pulled")))
}

/// Looks an image up whose volume is really there.
///
/// # Errors
/// What the store or libvirt refuses.
pub fn present(world: &World, name: &str) -> Result<Option<StoredImage>> {
    let Some(stored) = world.stored_image(name)? else {
        return Ok(None);
    };
    let pool = world.host()?.pool(&stored.pool)?;
    let volume = stored.image.volume();
    Ok(pool.find_volume(volume.as_str())?.map(|_| stored))
}

/// Pulls an image.
///
/// # Errors
/// Usage for an unknown alias or a URL without name and sum; whatever stops a download.
pub fn pull(
    world: &World,
    request: &PullRequest,
    reporter: &dyn Reporter,
) -> Result<(ObjectKey, Outcome)> {
    if request.source.contains("://") {
        return pull_url(world, request, reporter);
    }
    let catalogue = world.catalogue()?;
    let choice = catalogue.choose(&request.source, architecture(world)?)?;
    let key = ObjectKey::new(Kind::Image, choice.entry.alias.clone());
    if present(world, choice.entry.alias.as_str())?.is_some() {
        return Ok((key, Outcome::Unchanged));
    }
    let _lock = world
        .store()?
        .lock_object(Kind::Image, key.name.as_str(), LOCK_WAIT)?;
    if present(world, choice.entry.alias.as_str())?.is_some() {
        return Ok((key, Outcome::Unchanged));
    }
    let fetcher = Fetcher::new(Options {
        allow_http: request.allow_http,
        ..Options::default()
    });
    let dir = download_dir(world)?;
    let label = format!("pulling {}", key.name);
    let mut progress = |p: Progress| reporter.progress(&key, &label, p.received, p.total);
    let stop = Interrupt::flag();
    let mut watch = Watch {
        stop: &stop,
        progress: &mut progress,
    };
    let pulled = fetcher
        .pull(&choice, &world.mirrors()?, &dir, &mut watch)
        .map_err(or_signal)?;
    let facts = Facts {
        name: key.name.clone(),
        os: Some(choice.entry.os.clone()),
        default_user: Some(choice.entry.default_user.clone()),
        firmware: Some(choice.firmware()),
        architecture: Some(choice.architecture),
        source_url: Some(pulled.url.clone()),
    };
    take_file(
        world,
        &key,
        &pulled.path,
        pulled.sha256,
        facts,
        false,
        reporter,
    )?;
    let _ = std::fs::remove_file(&pulled.path);
    Ok((key, Outcome::Created))
}

/// How long to wait for another run that pulls the same image.
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_secs(3600);

fn pull_url(
    world: &World,
    request: &PullRequest,
    reporter: &dyn Reporter,
) -> Result<(ObjectKey, Outcome)> {
    let Some(name) = request.name.clone() else {
        return Err(Error::usage("an image from a URL needs a name")
            .hint(format!("kvmctl images pull {} --name NAME", request.source)));
    };
    let checksum = match &request.checksum {
        Some(hex) => Some(checksum(hex)?),
        None if request.without_checksum => None,
        None => {
            return Err(Error::usage("an image from a URL needs a checksum")
                .hint("add --checksum SHA256, or --insecure-no-checksum to go without"));
        }
    };
    let key = ObjectKey::new(Kind::Image, name.clone());
    if present(world, name.as_str())?.is_some() {
        return Ok((key, Outcome::Unchanged));
    }
    let _lock = world
        .store()?
        .lock_object(Kind::Image, name.as_str(), LOCK_WAIT)?;
    let fetcher = Fetcher::new(Options {
        allow_http: request.allow_http,
        ..Options::default()
    });
    let dir = download_dir(world)?;
    let dest = dir.join(format!("{name}.download"));
    let label = format!("pulling {name}");
    let mut progress = |p: Progress| reporter.progress(&key, &label, p.received, p.total);
    let stop = Interrupt::flag();
    let mut watch = Watch {
        stop: &stop,
        progress: &mut progress,
    };
    let got = fetcher
        .fetch(&request.source, &dest, checksum.as_ref(), &mut watch)
        .map_err(or_signal)?;
    let facts = Facts {
        name,
        os: None,
        default_user: request.default_user.clone(),
        firmware: None,
        architecture: None,
        source_url: Some(request.source.clone()),
    };
    let result = take_file(
        world,
        &key,
        &got.path,
        Some(got.sha256),
        facts,
        false,
        reporter,
    );
    let _ = std::fs::remove_file(&got.path);
    result.map(|()| (key, Outcome::Created))
}

/// Takes a file of the user's as an image.
///
/// # Errors
/// Usage, with the reason why the file is no image that can be trusted.
pub fn import(
    world: &World,
    request: &ImportRequest,
    reporter: &dyn Reporter,
) -> Result<(ObjectKey, Outcome)> {
    let firmware = match request.firmware.as_deref() {
        None => None,
        Some("bios") => Some(Firmware::Bios),
        Some("uefi" | "efi") => Some(Firmware::Uefi),
        Some(other) => {
            return Err(Error::usage(format!(
                "--firmware: {other:?} is neither bios nor uefi"
            )));
        }
    };
    let expected = request.checksum.as_deref().map(checksum).transpose()?;
    let key = ObjectKey::new(Kind::Image, request.name.clone());
    let mut source = File::open(&request.file).map_err(|e| {
        Error::usage(format!("cannot read {}", request.file.display())).caused_by(e)
    })?;
    let _lock = world
        .store()?
        .lock_object(Kind::Image, key.name.as_str(), LOCK_WAIT)?;
    let pool = world.host()?.pool(&world.settings().pool)?;
    let limits = limits(&pool, request.sparse)?;
    let staging_dir = staging_dir(world)?;
    let label = format!("reading {}", request.file.display());
    let mut progress = |done, total| reporter.progress(&key, &label, done, Some(total));
    let stop = Interrupt::flag();
    let staged = staging::stage(&mut source, &staging_dir, &limits, &stop, &mut progress)
        .map_err(or_signal)?;
    if let Some(expected) = expected {
        let actual = staged.sha256().to_string();
        if expected.algorithm() != Algorithm::Sha256 || expected.hex() != actual {
            return Err(Error::usage(format!(
                "the checksum does not match: expected {}, the file has {actual}",
                expected.hex()
            )));
        }
    }
    let facts = Facts {
        name: key.name.clone(),
        os: None,
        default_user: request.default_user.clone(),
        firmware,
        architecture: None,
        source_url: None,
    };
    if let Some(known) = present(world, key.name.as_str())? {
        if known.image.sha256 == staged.sha256() {
            return Ok((key, Outcome::Unchanged));
        }
        return Err(Error::conflict(format!(
            "image {:?} exists and has other content",
            key.name.as_str()
        ))
        .hint(format!("kvmctl images delete {}", key.name)));
    }
    put(world, &key, staged, facts, reporter)?;
    Ok((key, Outcome::Created))
}

fn take_file(
    world: &World,
    key: &ObjectKey,
    path: &Path,
    sha256: Option<crate::image::Sha256>,
    facts: Facts,
    sparse: bool,
    reporter: &dyn Reporter,
) -> Result<()> {
    let file = File::open(path)
        .map_err(|e| Error::failed(format!("cannot read {}", path.display())).caused_by(e))?;
    let pool = world.host()?.pool(&world.settings().pool)?;
    let limits = limits(&pool, sparse)?;
    let mut progress = |done, total| reporter.progress(key, "checking", done, Some(total));
    let stop = Interrupt::flag();
    let staged =
        staging::stage_private(file, sha256, &limits, &stop, &mut progress).map_err(or_signal)?;
    put(world, key, staged, facts, reporter)
}

/// Uploads what was staged, under a name made from its content, and records it.
fn put(
    world: &World,
    key: &ObjectKey,
    mut staged: Staged,
    facts: Facts,
    reporter: &dyn Reporter,
) -> Result<()> {
    let pool_name = &world.settings().pool;
    let pool = world.host()?.pool(pool_name)?;
    let record = record(&staged, facts);
    let name = record.volume();
    upload_once(world, &pool, key, &mut staged, &record, reporter)?;
    write_sidecar(&pool, &record)?;
    let stored = StoredImage {
        uid: Uid::random(),
        pool: pool_name.clone(),
        image: record,
        labels: Default::default(),
        annotations: Default::default(),
    };
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    store.put(&stored)?;
    tracing::info!(target: "store", "image {} is volume {name}", key.name);
    Ok(())
}

fn record(staged: &Staged, facts: Facts) -> ImageRecord {
    let inspected = staged.inspected();
    ImageRecord {
        name: facts.name,
        sha256: staged.sha256(),
        format: inspected.format,
        virtual_size: inspected.virtual_size,
        size: Quantity::from_bytes(staged.size()).unwrap_or(Quantity::mib(1)),
        os: facts.os,
        default_user: facts.default_user,
        firmware: facts.firmware,
        architecture: facts.architecture,
        source_url: facts.source_url,
        created: Timestamp::now(),
    }
}

/// Uploads unless the volume is there whole. A volume without its sidecar is the rest of an upload
/// that was killed, because the sidecar is written last.
fn upload_once(
    world: &World,
    pool: &Pool,
    key: &ObjectKey,
    staged: &mut Staged,
    record: &ImageRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    let name = record.volume();
    pool.refresh()?;
    if let Some(volume) = pool.find_volume(name.as_str())? {
        if pool.find_volume(&name.sidecar())?.is_some() {
            return Ok(());
        }
        volume.delete()?;
    }
    // Without root's rights even the owner could not write a read-only file through libvirt.
    let mode = if world.host()?.is_session() {
        "0600"
    } else {
        "0444"
    };
    let xml = VolumeXml::empty(name.as_str(), "raw", staged.size()).with_mode(mode);
    let volume = pool.create_volume(&xml)?;
    let size = staged.size();
    let label = format!("storing {}", key.name);
    let reader = staged
        .reader()
        .map_err(|e| Error::failed("cannot read the checked copy").caused_by(e))?;
    let uploaded = volume.upload(reader, size, &mut |done| {
        reporter.progress(key, &label, done, Some(size));
        !Interrupt::flag().load(std::sync::atomic::Ordering::Relaxed)
    });
    if let Err(error) = uploaded {
        // What is left behind has no sidecar, so a later run replaces it; but why leave it.
        let _ = volume.delete();
        interrupted()?;
        return Err(error.into());
    }
    // libvirt knows the volume as raw, as it was made; the content says what it is.
    pool.refresh()?;
    Ok(())
}

fn write_sidecar(pool: &Pool, record: &ImageRecord) -> Result<()> {
    let name = record.volume().sidecar();
    let text = serde_json::to_vec_pretty(record)
        .map_err(|e| Error::failed("cannot write the image's record").caused_by(e))?;
    if let Some(old) = pool.find_volume(&name)? {
        old.delete()?;
    }
    let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let volume = pool.create_volume(&VolumeXml::empty(&name, "raw", size))?;
    volume.upload(&mut text.as_slice(), size, &mut |_| true)?;
    Ok(())
}

/// Names of the images in the pool that no instance stands on.
///
/// # Errors
/// If the store or the pool cannot be read.
pub fn unused(world: &World) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    for image in world.cached_images()? {
        let Some(name) = image.metadata.name else {
            continue;
        };
        if dependents(world, name.as_str())?.is_empty() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Volumes and instances that stand on an image: what the store knows, and what the pool shows.
///
/// # Errors
/// If the store or the pool cannot be read.
pub fn dependents(world: &World, name: &str) -> Result<Vec<String>> {
    let Some(stored) = world.stored_image(name)? else {
        return Ok(Vec::new());
    };
    let key = Name::new(name).map_err(|e| Error::usage(e.to_string()))?;
    let status = world.image(&key)?.status.unwrap_or_default();
    let mut users: Vec<String> = status
        .used_by
        .iter()
        .map(|n| format!("instance/{n}"))
        .collect();
    let pool = world.host()?.pool(&stored.pool)?;
    let Some(base) = pool.find_volume(stored.image.volume().as_str())? else {
        return Ok(users);
    };
    let path = base.path()?;
    for volume in pool.volumes()? {
        if volume.backing_path()?.as_deref() == Some(path.as_str()) {
            let name = volume.name.clone();
            if !users
                .iter()
                .any(|u| name.starts_with(u.trim_start_matches("instance/")))
            {
                users.push(format!("volume {name}"));
            }
        }
    }
    Ok(users)
}

/// Deletes an image.
///
/// # Errors
/// Conflict, naming what stands on it; `NotFound`.
pub fn delete(world: &World, name: &Name) -> Result<()> {
    let _lock = world
        .store()?
        .lock_object(Kind::Image, name.as_str(), STORE_WAIT)?;
    let stored = world.store()?.get::<StoredImage>(name)?.ok_or_else(|| {
        Error::not_found(format!("image {:?} not found", name.as_str())).hint("kvmctl get images")
    })?;
    let volume = stored.image.volume();
    let shared = world
        .store_for_reading()?
        .all::<StoredImage>()?
        .iter()
        .any(|other| other.image.name != *name && other.image.volume() == volume);
    let mut users = dependents(world, name.as_str())?;
    if shared {
        // The content stays under its other name: only who asked for this one needs it.
        let records: Vec<InstanceRecord> = world.store_for_reading()?.all()?;
        let asked = records
            .iter()
            .filter(|r| r.spec.image.as_deref() == Some(name.as_str()));
        let asked: Vec<String> = asked.map(|r| format!("instance/{}", r.name)).collect();
        users.retain(|u| asked.contains(u));
    }
    if !users.is_empty() {
        let error = Error::conflict(format!(
            "image {:?} is used by {}",
            name.as_str(),
            users.join(", ")
        ));
        // What is no instance is a volume that somebody made on it by hand.
        let instances: Vec<&str> = users
            .iter()
            .filter_map(|u| u.strip_prefix("instance/"))
            .collect();
        return Err(match instances.is_empty() {
            true => error,
            false => error.hint(format!("kvmctl instances delete {}", instances.join(" "))),
        });
    }
    if !shared {
        let pool = world.host()?.pool(&stored.pool)?;
        for name in [volume.sidecar(), volume.to_string()] {
            if let Some(found) = pool.find_volume(&name)? {
                found.delete()?;
            }
        }
    }
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    store.remove::<StoredImage>(name)?;
    Ok(())
}

/// Returns the architecture of the host's guests.
///
/// # Errors
/// If libvirt does not say, or the architecture is none we know.
pub fn architecture(world: &World) -> Result<Architecture> {
    let caps = world.host()?.capabilities()?;
    Architecture::parse(&caps.arch).ok_or_else(|| {
        Error::failed(format!(
            "no images are known for the architecture {:?}",
            caps.arch
        ))
    })
}

fn limits(pool: &Pool, sparse: bool) -> Result<Limits> {
    Ok(if sparse {
        Limits::default()
    } else {
        Limits::for_pool(pool.info()?.available)
    })
}

fn checksum(hex: &str) -> Result<Checksum> {
    let algorithm = if hex.len() == 128 {
        Algorithm::Sha512
    } else {
        Algorithm::Sha256
    };
    Checksum::new(algorithm, hex).map_err(|e| Error::usage(e.to_string()))
}

fn download_dir(world: &World) -> Result<PathBuf> {
    private_dir(&world.paths().cache_dir().join("downloads"))
}

fn staging_dir(world: &World) -> Result<PathBuf> {
    private_dir(&world.paths().cache_dir().join("staging"))
}

fn private_dir(dir: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Error::failed(format!("cannot make {}", dir.display())).caused_by(e))?;
    Ok(dir.to_owned())
}

/// A copy that was stopped by a signal ends as the signal does.
fn or_signal<E: Into<Error>>(error: E) -> Error {
    match interrupted() {
        Err(signal) => signal,
        Ok(()) => error.into(),
    }
}
