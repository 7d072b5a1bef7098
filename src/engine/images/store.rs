//! Storing: what was checked becomes a volume, once for each content, with a record beside it.

use super::architecture;
use crate::api::{DiskFormat, Name, ObjectKey, Quantity, Reporter, Timestamp, Uid};
use crate::engine::{Interrupt, interrupted};
use crate::error::{Error, Result};
use crate::image::catalogue::{Architecture, Firmware};
use crate::image::{ImageRecord, Staged};
use crate::libvirt::Pool;
use crate::libvirt::xml::volume::VolumeXml;
use crate::observe::{StoredImage, World};
use crate::store::STORE_WAIT;

/// What is known of an image beside its bytes.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) name: Name,
    pub(super) os: Option<String>,
    pub(super) default_user: Option<String>,
    pub(super) firmware: Option<Firmware>,
    pub(super) architecture: Option<Architecture>,
    pub(super) source_url: Option<String>,
}

impl Facts {
    /// What is known of a file that a person gives a name: who takes one of the catalogue's says which
    /// system it is.
    pub(super) fn by_name(world: &World, name: &Name) -> Result<Self> {
        let catalogue = world.catalogue()?;
        let known = catalogue.entry(name.as_str()).ok();
        Ok(Self {
            name: name.clone(),
            os: known.map(|k| k.os.clone()),
            default_user: known.map(|k| k.default_user.clone()),
            firmware: None,
            // As whatever it boots will be: nothing in the file says it.
            architecture: architecture(world).ok(),
            source_url: None,
        })
    }
}

/// Uploads what was staged, under a name made from its content, and records it.
pub(super) fn put(
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
        applied: Default::default(),
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
    check_room(pool, staged.size())?;
    // Without root's rights even the owner could not write a read-only file through libvirt.
    let mode = if world.host()?.is_session() {
        "0600"
    } else {
        "0444"
    };
    // The holes of a raw image are to stay holes.
    let xml = match staged.inspected().format {
        DiskFormat::Qcow2 => VolumeXml::reserved(name.as_str(), "raw", staged.size()),
        DiskFormat::Raw => VolumeXml::empty(name.as_str(), "raw", staged.size()),
    };
    let xml = xml.with_mode(mode);
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

/// Refuses what the pool has no room for: libvirtd 11.3 dies when a disk is full in the middle of an
/// upload, and the networks and pools of the whole host with it.
fn check_room(pool: &Pool, size: u64) -> Result<()> {
    let available = pool.info()?.available;
    if size < available {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(Error::failed(format!(
        "pool {:?} is full: {} MiB are free, the image needs {}",
        pool.name,
        available >> 20,
        mib(size)
    ))
    .hint("kvmctl images prune"))
}

fn write_sidecar(pool: &Pool, record: &ImageRecord) -> Result<()> {
    let name = record.volume().sidecar();
    let text = serde_json::to_vec_pretty(record)
        .map_err(|e| Error::failed("cannot write the image's record").caused_by(e))?;
    if let Some(old) = pool.find_volume(&name)? {
        old.delete()?;
    }
    let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let volume = pool.create_volume(&VolumeXml::reserved(&name, "raw", size))?;
    volume.upload(&mut text.as_slice(), size, &mut |_| true)?;
    Ok(())
}
