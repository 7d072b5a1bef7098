//! `snapshots restore`, `export`, `verify`, `prune`.

use std::path::PathBuf;

use clap::Args;

use super::args::{DryRunArgs, YesArgs};
use super::context::Ctx;
use super::create::volume::disk_format;
use super::prompt;
use super::selection::select;
use crate::api::{DiskFormat, Kind, Name, ObjectKey, Quantity, Span};
use crate::engine::snapshots::{PruneRequest, RestoreRequest};
use crate::engine::volumes::ExportRequest;
use crate::engine::{self, DeleteOptions, DryRun, Interrupt, StopOptions};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::output;
use crate::plan::retention::Rules;

/// What to restore, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct RestoreArgs {
    /// Snapshot
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Make a new volume of this name instead; several disks become NEW-root and NEW-VOLUME
    #[arg(long, value_name = "NEW", conflicts_with_all = ["stop", "discard_old"])]
    to: Option<Name>,
    /// Stop the instances that have the disks, and start them again afterwards
    #[arg(long)]
    stop: bool,
    /// How long a guest gets to shut down
    #[arg(long, value_name = "TIME", default_value = "90s", requires = "stop")]
    timeout: Span,
    /// Cut the power of a guest that has not shut down in time
    #[arg(long, requires = "stop")]
    force: bool,
    /// Do not keep the disks as they are until an instance has started with the restored ones
    #[arg(long)]
    discard_old: bool,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// What to write, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExportArgs {
    /// Snapshot
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// File to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which disk, where there are several: root or the name of a volume
    #[arg(long, value_name = "DISK")]
    disk: Option<String>,
    /// Format of the file: qcow2 or raw; compressed qcow2 as it is stored when nothing is said
    #[arg(long, value_name = "FORMAT", value_parser = disk_format)]
    format: Option<DiskFormat>,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
}

/// What to verify.
#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    /// Snapshots; all when none is named
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Vec<String>,
}

/// What to keep.
#[derive(Debug, Clone, Args)]
pub(crate) struct PruneArgs {
    /// Keep the newest N of each source
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_last: usize,
    /// Keep the newest of each of the last N days that have one
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_daily: usize,
    /// Keep the newest of each of the last N weeks that have one
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_weekly: usize,
    /// Only snapshots of this volume
    #[arg(long, value_name = "VOLUME", conflicts_with = "instance")]
    volume: Option<Name>,
    /// Only snapshots of this instance
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<Name>,
    /// Only snapshots with these labels, as app=web
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    #[command(flatten)]
    yes: YesArgs,
    /// Only say what would go: "client" and "server" are the same here
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
}

/// Restores a snapshot.
pub(crate) fn restore(ctx: &Ctx, _: Option<Kind>, args: RestoreArgs) -> Result<()> {
    let key = named(&args.snapshot)?;
    let request = RestoreRequest {
        to: args.to,
        stop: args.stop.then(|| StopOptions {
            timeout: args.timeout.duration(),
            force: args.force,
        }),
        discard_old: args.discard_old,
        dry_run: ctx.dry_run(&args.dry_run)?,
    };
    catch_signals()?;
    ctx.begin_explanation(request.dry_run)?;
    let reporter = ctx.reporter();
    let restored = engine::snapshots::restore(ctx.world()?, &key, &request, reporter.as_ref())?;
    reporter.finished(&key);
    for applied in &restored.applied {
        reporter.finished(&applied.key);
        ctx.print_applied(applied, request.dry_run)?;
    }
    Ok(())
}

/// Writes a disk of a snapshot to a file.
pub(crate) fn export(ctx: &Ctx, _: Option<Kind>, args: ExportArgs) -> Result<()> {
    let key = named(&args.snapshot)?;
    let request = ExportRequest {
        file: args.file,
        format: args.format,
        compress: false,
        overwrite: args.overwrite,
    };
    catch_signals()?;
    let (reporter, disk) = (ctx.reporter(), args.disk.as_deref());
    engine::snapshots::export(ctx.world()?, &key, disk, &request, reporter.as_ref())?;
    reporter.finished(&key);
    ctx.print_outcome(&key, &format!("exported to {}", request.file.display()))
}

/// Reads snapshots whole.
pub(crate) fn verify(ctx: &Ctx, _: Option<Kind>, args: VerifyArgs) -> Result<()> {
    let keys = match args.snapshot.is_empty() {
        true => select(ctx, &[Kind::Snapshot], None)?,
        false => args
            .snapshot
            .iter()
            .map(|s| named(s))
            .collect::<Result<_>>()?,
    };
    catch_signals()?;
    let (world, reporter) = (ctx.world()?, ctx.reporter());
    let results = ctx.results()?;
    let batch = engine::run_all(&keys, 1, |key| {
        let verified = engine::snapshots::verify(world, key, reporter.as_ref());
        reporter.finished(key);
        let verified = verified?;
        let read = Quantity::from_bytes(verified.bytes).map(output::size::size);
        let files = match verified.files {
            0 => {
                let where_it_is = "in the disks of its instance, whose content has no sum";
                return results.tell(key, &format!("found {where_it_is}"));
            }
            1 => "1 file".to_owned(),
            n => format!("{n} files"),
        };
        results.tell(
            key,
            &format!("verified: {files}, {}", read.unwrap_or_default()),
        )
    });
    results.show(&keys, World::get)?;
    batch.into_result(|e| ctx.ui().error(e))
}

/// Deletes the snapshots that no rule keeps.
pub(crate) fn prune(ctx: &Ctx, _: Option<Kind>, args: PruneArgs) -> Result<()> {
    let kind_of = |kind| move |name: Name| ObjectKey::new(kind, name);
    let volume = args.volume.map(kind_of(Kind::Volume));
    let request = PruneRequest {
        rules: Rules {
            last: args.keep_last,
            daily: args.keep_daily,
            weekly: args.keep_weekly,
        },
        source: volume.or_else(|| args.instance.map(kind_of(Kind::Instance))),
    };
    let dry_run = ctx.where_to_stop(args.dry_run.as_deref())?;
    let selected = match &args.selector {
        Some(selector) => Some(select(ctx, &[Kind::Snapshot], Some(selector))?),
        None => None,
    };
    let chosen = |name: &Name| {
        let keys = selected.as_ref();
        keys.is_none_or(|keys| keys.iter().any(|k| k.name == *name))
    };
    let pruned = engine::snapshots::prune(ctx.world()?, &request, &|r| chosen(&r.name))?;
    for (key, rule) in &pruned.kept {
        ctx.ui().status(&format!("{key} is kept ({rule})"));
    }
    if pruned.going.is_empty() {
        ctx.ui().status("No snapshot to prune.");
        return Ok(());
    }
    if dry_run == DryRun::None && !args.yes.yes {
        let list: Vec<String> = pruned.going.iter().map(ToString::to_string).collect();
        prompt::confirm(ctx, &format!("Delete {}?", list.join(", ")), "--yes")?;
    }
    let options = DeleteOptions {
        dry_run,
        ..DeleteOptions::default()
    };
    ctx.delete(pruned.going, &options)
}

/// Reads the name of a snapshot; a file is none.
fn named(text: &str) -> Result<ObjectKey> {
    let name = text.strip_prefix("snapshot/").unwrap_or(text);
    let name = Name::new(name).map_err(|e| {
        let error = Error::usage(format!("{text:?} is not the name of a snapshot")).caused_by(e);
        match text.contains(['/', '.']) {
            true => error
                .hint("only snapshots that kvmctl took are restored: kvmctl snapshots list")
                .hint(format!(
                    "to take a disk from a file: kvmctl volumes import {text} --name NEW"
                )),
            false => error.hint("kvmctl snapshots list"),
        }
    })?;
    Ok(ObjectKey::new(Kind::Snapshot, name))
}

fn catch_signals() -> Result<()> {
    Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))
}
