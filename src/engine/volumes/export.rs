//! Exporting: a volume becomes a file that stands alone. Its bytes come by stream, so that a remote
//! host is like a local one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{FlockOperation, flock};

use super::{OBJECT_WAIT, copy, record_of};
use crate::api::{DiskFormat, Kind, ObjectKey, Reporter};
use crate::engine::disk_files::{self, Told};
use crate::engine::{Interrupt, interrupted};
use crate::error::{Error, Result};
use crate::host::{Copy, ImagePath, Packing};
use crate::libvirt::xml::volume::VolumeXml;
use crate::libvirt::{HoleSink, Pool, Volume};
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::store::VolumeRecord;

/// How to export.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The file to write.
    pub file: PathBuf,
    /// Its format; the volume's own when nothing is said.
    pub format: Option<DiskFormat>,
    /// Whether it is compressed; qcow2 only.
    pub compress: bool,
    /// Whether a file that is there is replaced.
    pub overwrite: bool,
}

/// Writes a volume to a file: whole, or not at all.
///
/// # Errors
/// A conflict while a guest may be writing to it; usage for a file that is there.
pub fn export(
    world: &World,
    key: &ObjectKey,
    request: &ExportRequest,
    reporter: &dyn Reporter,
) -> Result<()> {
    let _object = world
        .store()?
        .lock_object(Kind::Volume, key.name.as_str(), OBJECT_WAIT)?;
    let record = at_rest(world, key)?;
    export_file(world, key, &record, request, reporter)
}

/// Writes a file of a pool, with what stands behind it, to a file of the caller's. Nobody writes to it.
///
/// # Errors
/// Usage for a file that is there.
pub(in crate::engine) fn export_file(
    world: &World,
    key: &ObjectKey,
    record: &VolumeRecord,
    request: &ExportRequest,
    reporter: &dyn Reporter,
) -> Result<()> {
    let format = match (request.format, request.compress) {
        (Some(DiskFormat::Raw), true) => {
            return Err(Error::usage("--compress goes with format qcow2"));
        }
        (format, compress) => format.or(compress.then_some(DiskFormat::Qcow2)),
    };
    refuse_present(&request.file, request.overwrite)?;
    let pool = world.host()?.pool(&record.file.pool)?;
    let exporting = Exporting {
        world,
        pool: &pool,
        record,
        key,
        reporter,
    };
    let volume = exporting.volume()?;
    let converted = format.is_some_and(|wanted| wanted != record.format) || request.compress;
    if (converted || exporting.has_base(&volume)?)
        && let Some(from) = copy::readable(world, &volume, record.format)?
    {
        let total = copy::allocated_with_base(world, &volume, record.format)?;
        return exporting.convert(&from, format.unwrap_or(record.format), request, total);
    }
    let part = Part::new(&request.file, "part")?;
    let source = exporting.stand_alone(volume)?;
    let loaded = exporting.load(&source, &part);
    if source.name != record.file.volume {
        source.delete()?;
    }
    loaded?;
    match format {
        Some(wanted) if converted => {
            let total = part.file.metadata().map_err(|e| part.failed(e))?.blocks() * 512;
            exporting.convert(&part.image_path()?, wanted, request, total)
        }
        _ => part.keep(&request.file),
    }
}

/// Writes the bytes of a volume to a file as they are: whole, or not at all.
///
/// # Errors
/// As [`export`]; a conflict for a volume that does not stand alone.
pub fn download(
    world: &World,
    key: &ObjectKey,
    file: &Path,
    overwrite: bool,
    reporter: &dyn Reporter,
) -> Result<()> {
    let _object = world
        .store()?
        .lock_object(Kind::Volume, key.name.as_str(), OBJECT_WAIT)?;
    let record = at_rest(world, key)?;
    refuse_present(file, overwrite)?;
    let pool = world.host()?.pool(&record.file.pool)?;
    let volume = pool.volume(&record.file.volume)?;
    if record.format != DiskFormat::Raw
        && let Some(base) = volume.backing_path()?
    {
        return Err(Error::conflict(format!(
            "{key} does not stand alone: it is an overlay of {base}"
        ))
        .hint(format!(
            "kvmctl volumes export {} {}",
            key.name,
            file.display()
        )));
    }
    let part = Part::new(file, "part")?;
    let exporting = Exporting {
        world,
        pool: &pool,
        record: &record,
        key,
        reporter,
    };
    exporting.load(&volume, &part)?;
    part.keep(file)
}

/// Returns the record of a volume that no guest is writing to.
fn at_rest(world: &World, key: &ObjectKey) -> Result<VolumeRecord> {
    let status = world.volume(&key.name)?.status.unwrap_or_default();
    let record = record_of(world, &key.name)?
        .ok_or_else(|| Error::conflict(format!("{key} is not managed by kvmctl")))?;
    if let Some(busy) = status.attached_to.iter().find(|u| u.running) {
        let domain = &busy.domain;
        return Err(Error::conflict(format!(
            "{key} is attached to {domain:?}, which runs and may be writing to it"
        ))
        .hint(format!("kvmctl instances stop {domain}"))
        .hint(format!("kvmctl volumes detach {} {domain}", key.name)));
    }
    Ok(record)
}

/// Refuses to write over what is there.
///
/// # Errors
/// Usage.
pub(in crate::engine) fn refuse_present(file: &Path, overwrite: bool) -> Result<()> {
    match file.exists() && !overwrite {
        true => {
            Err(Error::usage(format!("{} exists", file.display())).hint_again_with("--overwrite"))
        }
        false => Ok(()),
    }
}

struct Exporting<'e> {
    world: &'e World,
    pool: &'e Pool,
    record: &'e VolumeRecord,
    key: &'e ObjectKey,
    reporter: &'e dyn Reporter,
}

impl Exporting<'_> {
    /// Returns the volume. What an interrupted export left beside it goes.
    fn volume(&self) -> Result<Volume> {
        let left = VolumeRef {
            pool: self.pool.name.clone(),
            name: self.record.copy_for_export(),
        };
        if self.pool.find_volume(&left.name)?.is_some() {
            disk_files::delete(self.world, &left)?;
        }
        Ok(self.pool.volume(&self.record.file.volume)?)
    }

    /// A raw volume has no base, whatever a guest wrote in it.
    fn has_base(&self, volume: &Volume) -> Result<bool> {
        Ok(self.record.format != DiskFormat::Raw && volume.backing_path()?.is_some())
    }

    /// Returns a volume that has no base: the volume itself, or a copy that the daemon makes of its
    /// chain, which goes with the volume if it stays behind.
    fn stand_alone(&self, volume: Volume) -> Result<Volume> {
        if !self.has_base(&volume)? {
            return Ok(volume);
        }
        let capacity = volume.info()?.capacity;
        let xml = VolumeXml::empty(&self.record.copy_for_export(), "qcow2", capacity);
        let told = Told {
            key: self.key,
            label: "joining the backing chain",
            reporter: self.reporter,
        };
        copy::by_daemon(self.world, self.pool, &xml, &volume, &told)
    }

    /// Writes the file that was asked for from one that qemu-img can read.
    fn convert(
        &self,
        from: &ImagePath,
        to_format: DiskFormat,
        request: &ExportRequest,
        total: u64,
    ) -> Result<()> {
        let packed = Part::new(&request.file, "packed")?;
        let copy = Copy {
            from,
            from_format: self.record.format,
            to: &packed.image_path()?,
            to_format,
            packing: match request.compress {
                true => Packing::Archive(total),
                false => Packing::Plain,
            },
        };
        let told = Told {
            key: self.key,
            label: &format!("writing {}", request.file.display()),
            reporter: self.reporter,
        };
        disk_files::copy(&copy, &told, total)?;
        if request.compress {
            disk_files::make_holes(&packed.path, &told)?;
        }
        packed.keep(&request.file)
    }

    fn load(&self, volume: &Volume, part: &Part) -> Result<()> {
        let total = volume.length()?;
        let mut sink = Sparse {
            file: &part.file,
            at: 0,
            tell: &|done| {
                self.reporter
                    .progress(self.key, "exporting", done, Some(total));
            },
        };
        let loaded = volume.download_with_holes(&mut sink);
        interrupted()?;
        loaded?;
        let end = sink.at;
        part.file
            .set_len(end)
            .and_then(|()| part.file.sync_all())
            .map_err(|e| part.failed(e))
    }
}

/// Writes a file with holes where there are zeroes.
struct Sparse<'s> {
    file: &'s File,
    at: u64,
    tell: &'s dyn Fn(u64),
}

impl Write for Sparse<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        const BLOCK: usize = 64 << 10;
        if Interrupt::flag().load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        for block in piece.chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                self.file.seek(SeekFrom::Start(self.at))?;
                self.file.write_all(block)?;
            }
            self.at += block.len() as u64;
        }
        (self.tell)(self.at);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl HoleSink for Sparse<'_> {
    fn hole(&mut self, length: u64) -> io::Result<()> {
        self.at += length;
        (self.tell)(self.at);
        Ok(())
    }
}

/// A file that is being written beside its final place, and goes when it is not kept.
struct Part {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Part {
    fn new(target: &Path, suffix: &str) -> Result<Self> {
        let whole = std::path::absolute(target).map_err(|e| cannot_write(target, e))?;
        let name = whole.file_name().unwrap_or_default().to_string_lossy();
        sweep_parts(&whole, &name);
        let unique = std::process::id();
        let path = whole.with_file_name(format!(".{name}.{unique}.{suffix}"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| cannot_write(target, e))?;
        // Held while we live, so that what a killed run left can be told.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let kept = false;
        Ok(Self { path, file, kept })
    }

    fn image_path(&self) -> Result<ImagePath> {
        ImagePath::new(&self.path).map_err(|e| Error::usage(e.to_string()))
    }

    fn failed(&self, error: io::Error) -> Error {
        cannot_write(&self.path, error)
    }

    fn keep(mut self, target: &Path) -> Result<()> {
        // qemu-img may have written it: what it wrote is synced by whichever handle.
        self.file.sync_all().map_err(|e| self.failed(e))?;
        fs::rename(&self.path, target).map_err(|e| cannot_write(target, e))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what killed runs left beside a file.
fn sweep_parts(target: &Path, name: &str) {
    let Some(entries) = target.parent().and_then(|dir| fs::read_dir(dir).ok()) else {
        return;
    };
    let beginning = format!(".{name}.");
    for entry in entries.flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let rest = found
            .strip_prefix(&beginning)
            .and_then(|r| r.split_once('.'));
        let ours = rest.is_some_and(|(pid, suffix)| {
            pid.bytes().all(|b| b.is_ascii_digit()) && matches!(suffix, "part" | "packed")
        });
        if !ours || !entry.file_type().is_ok_and(|t| t.is_file()) {
            continue;
        }
        let abandoned = File::open(entry.path())
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok());
        if abandoned {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    Error::failed(format!("cannot write {}", path.display())).caused_by(error)
}
