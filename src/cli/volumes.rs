//! `volumes attach`, `detach`, `resize`, `clone`, `import`, `export`, `upload`, `download`.

use std::path::PathBuf;

use clap::Args;

use super::args::DryRunArgs;
use super::context::Ctx;
use super::create::volume::{disk_format, volume};
use super::targets::Targets;
use crate::api::{
    CacheMode, DiscardMode, DiskFormat, IoMode, IoThread, Kind, Name, ObjectKey, Quantity,
    VolumeAttachment, VolumeSource, VolumeSpec,
};
use crate::engine::volumes::{ExportRequest, ImportRequest};
use crate::engine::{self, Applied, ApplyMode, ApplyOptions, Interrupt};
use crate::error::{Error, Result};
use crate::plan::Outcome;

/// What to attach, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct AttachArgs {
    /// Volume
    #[arg(value_name = "VOLUME")]
    volume: Name,
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE")]
    target: String,
    /// The guest cannot write
    #[arg(long)]
    read_only: bool,
    /// Other instances may have it too: raw volumes only, and every attachment has to say so
    #[arg(long)]
    shared: bool,
    /// Use of the host's page cache: none, writeback, writethrough, directsync or unsafe
    #[arg(long, value_name = "MODE")]
    cache: Option<CacheMode>,
    /// What becomes of the guest's TRIM: unmap or ignore
    #[arg(long, value_name = "MODE")]
    discard: Option<DiscardMode>,
    /// How QEMU does its input and output: threads, native or io_uring
    #[arg(long, value_name = "MODE")]
    io: Option<IoMode>,
    /// Thread of QEMU that serves it: main, shared (by volumes that ask for it) or own
    #[arg(long, value_name = "THREAD")]
    iothread: Option<IoThread>,
}

/// What to detach.
#[derive(Debug, Clone, Args)]
pub(crate) struct DetachArgs {
    /// Volume
    #[arg(value_name = "VOLUME")]
    volume: Name,
    /// Instance: NAME or instance/NAME; needed only when several have it
    #[arg(value_name = "INSTANCE")]
    target: Option<String>,
    /// Also while the guest has it mounted: what it has not written yet is lost
    #[arg(long)]
    force: bool,
}

/// How large a volume is to be.
#[derive(Debug, Clone, Args)]
pub(crate) struct ResizeArgs {
    /// Volume
    #[arg(value_name = "VOLUME")]
    volume: Name,
    /// The new size, as 200G
    #[arg(long, value_name = "SIZE")]
    size: Quantity,
    /// Lose what lies beyond a smaller size
    #[arg(long)]
    allow_shrink: bool,
    /// Let the guest that has it grow the file system on it, by its agent
    #[arg(long, conflicts_with = "allow_shrink")]
    grow_fs: bool,
}

/// What to copy.
#[derive(Debug, Clone, Args)]
pub(crate) struct CloneArgs {
    /// Volume to copy
    #[arg(value_name = "VOLUME")]
    volume: Name,
    /// Name of the copy
    #[arg(value_name = "NEW")]
    name: Name,
    /// Size of the copy; that of the original when nothing is said
    #[arg(long, value_name = "SIZE")]
    size: Option<Quantity>,
    /// Format of the copy: qcow2 or raw; that of the original when nothing is said
    #[arg(long, value_name = "FORMAT", value_parser = disk_format)]
    format: Option<DiskFormat>,
    /// Storage pool of the copy
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// What to take in.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImportArgs {
    /// The file or URL: qcow2 or raw
    #[arg(value_name = "FILE|URL")]
    source: String,
    /// Name of the volume
    #[arg(long, value_name = "NAME")]
    name: Name,
    /// What the file is; raw takes any bytes as they are
    #[arg(long, value_name = "FORMAT", value_parser = disk_format)]
    format: Option<DiskFormat>,
    /// Size of the volume, where it is to be larger than the file's disk
    #[arg(long, value_name = "SIZE")]
    size: Option<Quantity>,
    /// Storage pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// SHA-256 that the file must have
    #[arg(long, value_name = "HEX")]
    checksum: Option<String>,
    /// Take a URL without a checksum
    #[arg(long)]
    insecure_no_checksum: bool,
    /// Allow plain http
    #[arg(long)]
    allow_http: bool,
    /// Take a disk that is larger than the free space of the pool
    #[arg(long)]
    sparse: bool,
}

/// What to write, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExportArgs {
    /// Volume
    #[arg(value_name = "VOLUME")]
    volume: Name,
    /// File to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Format of the file: qcow2 or raw; the volume's when nothing is said
    #[arg(long, value_name = "FORMAT", value_parser = disk_format)]
    format: Option<DiskFormat>,
    /// Compress it: with zstd, or with zlib where that packs better (qcow2)
    #[arg(long)]
    compress: bool,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
}

/// What to put into a volume.
#[derive(Debug, Clone, Args)]
pub(crate) struct UploadArgs {
    /// Volume; nobody may have it
    #[arg(value_name = "VOLUME")]
    volume: Name,
    /// The file, in the volume's format
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the file is; raw takes any bytes as they are
    #[arg(long, value_name = "FORMAT", value_parser = disk_format)]
    format: Option<DiskFormat>,
    /// SHA-256 that the file must have
    #[arg(long, value_name = "HEX")]
    checksum: Option<String>,
    /// Take a disk that is larger than the free space of the pool
    #[arg(long)]
    sparse: bool,
}

/// What to fetch, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct DownloadArgs {
    /// Volume
    #[arg(value_name = "VOLUME")]
    volume: Name,
    /// File to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
}

/// Takes a file as a volume.
pub(crate) fn import(ctx: &Ctx, _: Option<Kind>, args: ImportArgs) -> Result<()> {
    let request = ImportRequest {
        source: args.source,
        name: args.name,
        format: args.format,
        size: args.size,
        pool: args.pool,
        checksum: args.checksum,
        without_checksum: args.insecure_no_checksum,
        allow_http: args.allow_http,
        sparse: args.sparse,
    };
    catch_signals()?;
    let reporter = ctx.reporter();
    let key = engine::volumes::import(ctx.world()?, &request, reporter.as_ref())?;
    reporter.finished(&key);
    ctx.print_outcome(&key, "imported")
}

/// Writes a volume to a file.
pub(crate) fn export(ctx: &Ctx, _: Option<Kind>, args: ExportArgs) -> Result<()> {
    let key = ObjectKey::new(Kind::Volume, args.volume);
    let request = ExportRequest {
        file: args.file,
        format: args.format,
        compress: args.compress,
        overwrite: args.overwrite,
    };
    catch_signals()?;
    let reporter = ctx.reporter();
    engine::volumes::export(ctx.world()?, &key, &request, reporter.as_ref())?;
    reporter.finished(&key);
    let file = request.file.display();
    ctx.print_outcome(&key, &format!("exported to {file}"))
}

/// Attaches a volume to an instance.
pub(crate) fn attach(ctx: &Ctx, _: Option<Kind>, args: AttachArgs) -> Result<()> {
    let key = Targets::one_instance(None, &[args.target], "volumes attach VOLUME")?;
    let wish = VolumeAttachment {
        read_only: args.read_only.then_some(true),
        shared: args.shared.then_some(true),
        cache: args.cache,
        discard: args.discard,
        io: args.io,
        iothread: args.iothread,
        ..VolumeAttachment::named(args.volume)
    };
    catch_signals()?;
    let applied = engine::attach_volume(ctx.world()?, &key, &wish, ctx.reporter().as_ref())?;
    tell(ctx, &key, &wish.name, &applied, "attached to")
}

/// Detaches a volume from the instance that has it.
pub(crate) fn detach(ctx: &Ctx, _: Option<Kind>, args: DetachArgs) -> Result<()> {
    let key = match args.target {
        Some(target) => Targets::one_instance(None, &[target], "volumes detach VOLUME")?,
        None => match holder(ctx, &args.volume)? {
            Some(key) => key,
            None => {
                let volume = ObjectKey::new(Kind::Volume, args.volume);
                return ctx.print_outcome(&volume, "attached to no instance");
            }
        },
    };
    catch_signals()?;
    let reporter = ctx.reporter();
    let mounted = match args.force {
        true => engine::Mounted::Lose,
        false => engine::Mounted::Refuse,
    };
    let world = ctx.world()?;
    let applied = engine::detach_volume(world, &key, &args.volume, mounted, reporter.as_ref())?;
    tell(ctx, &key, &args.volume, &applied, "detached from")
}

/// Returns the one instance that has a volume.
fn holder(ctx: &Ctx, name: &Name) -> Result<Option<ObjectKey>> {
    let holders = engine::volumes::holders(ctx.world()?, name)?;
    match holders.as_slice() {
        [one] => Ok(Some(ObjectKey::new(Kind::Instance, one.clone()))),
        [] => Ok(None),
        several => {
            let names: Vec<String> = several.iter().map(Name::to_string).collect();
            Err(Error::usage(format!(
                "volume/{name} is attached to several instances: {}",
                names.join(", ")
            ))
            .hint(format!("kvmctl volumes detach {name} {}", names[0])))
        }
    }
}

/// Gives a volume another size.
pub(crate) fn resize(ctx: &Ctx, _: Option<Kind>, args: ResizeArgs) -> Result<()> {
    let key = ObjectKey::new(Kind::Volume, args.volume);
    ctx.change(vec![key], false, |world, key, reporter| {
        // Asked first, so that nothing is resized where it cannot be done.
        let guest = match args.grow_fs {
            true => Some(engine::volumes::GrowFs::find(world, key)?),
            false => None,
        };
        let resized = engine::volumes::resize(world, key, args.size, args.allow_shrink, reporter)?;
        let grown = guest.map(|g| engine::volumes::grow_fs(&g, key, args.size, reporter));
        Ok(match grown.transpose()? {
            Some(true) => Outcome::Configured,
            _ => resized,
        })
    })
}

/// Gives a volume other content.
pub(crate) fn upload(ctx: &Ctx, _: Option<Kind>, args: UploadArgs) -> Result<()> {
    let key = ObjectKey::new(Kind::Volume, args.volume.clone());
    let request = ImportRequest {
        source: args.file.to_string_lossy().into_owned(),
        name: args.volume,
        format: args.format,
        size: None,
        pool: None,
        checksum: args.checksum,
        without_checksum: false,
        allow_http: false,
        sparse: args.sparse,
    };
    catch_signals()?;
    let reporter = ctx.reporter();
    engine::volumes::upload(ctx.world()?, &key, &request, reporter.as_ref())?;
    reporter.finished(&key);
    ctx.print_outcome(&key, "uploaded")
}

/// Writes the bytes of a volume to a file.
pub(crate) fn download(ctx: &Ctx, _: Option<Kind>, args: DownloadArgs) -> Result<()> {
    let key = ObjectKey::new(Kind::Volume, args.volume);
    catch_signals()?;
    let reporter = ctx.reporter();
    let world = ctx.world()?;
    engine::volumes::download(world, &key, &args.file, args.overwrite, reporter.as_ref())?;
    reporter.finished(&key);
    ctx.print_outcome(&key, &format!("downloaded to {}", args.file.display()))
}

/// Copies a volume: the same way as `create --from-volume`.
pub(crate) fn clone(ctx: &Ctx, _: Option<Kind>, args: CloneArgs) -> Result<()> {
    let original = ctx.world()?.volume(&args.volume)?;
    let format = args
        .format
        .or_else(|| original.status.as_ref().and_then(|s| s.format));
    let spec = VolumeSpec {
        size: args.size,
        format,
        pool: args.pool,
        preallocation: None,
        source: Some(VolumeSource {
            volume: Some(args.volume),
            ..VolumeSource::default()
        }),
    };
    let options = ApplyOptions {
        mode: ApplyMode::Create,
        dry_run: ctx.dry_run(&args.dry_run)?,
        wait: None,
        error_unchanged: false,
    };
    ctx.apply(vec![volume(args.name, spec).into()], &options)
}

fn catch_signals() -> Result<()> {
    Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))
}

fn tell(ctx: &Ctx, instance: &ObjectKey, name: &Name, applied: &Applied, word: &str) -> Result<()> {
    ctx.reporter().finished(instance);
    for note in &applied.notes {
        ctx.ui().status(note);
    }
    let volume = ObjectKey::new(Kind::Volume, name.clone());
    match applied.outcome {
        Outcome::Unchanged => ctx.print_outcome(&volume, &format!("already {word} {instance}")),
        _ => ctx.print_outcome(&volume, &format!("{word} {instance}")),
    }
}
