//! `images pull`, `images import`, `images prune`.

use std::path::PathBuf;

use clap::Args;

use super::args::{DryRunArgs, YesArgs};
use super::context::Ctx;
use super::prompt;
use crate::api::{Kind, Name, ObjectKey};
use crate::engine::images::{self, ImportRequest, PullRequest};
use crate::engine::{DeleteOptions, DryRun};
use crate::error::{Error, Result};
use crate::plan::Outcome;

/// What to download.
#[derive(Debug, Clone, Args)]
pub(crate) struct PullArgs {
    /// Alias of the catalogue, as debian-12, or a URL
    #[arg(value_name = "ALIAS|URL", required = true)]
    sources: Vec<String>,
    /// Name of the image, when it comes from a URL
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// SHA-256 or SHA-512 of the file, when it comes from a URL
    #[arg(long, value_name = "HEX")]
    checksum: Option<String>,
    /// Take a URL without a checksum
    #[arg(long)]
    insecure_no_checksum: bool,
    /// Allow plain http
    #[arg(long)]
    allow_http: bool,
    /// User that the image gives the SSH key to
    #[arg(long, value_name = "USER")]
    default_user: Option<String>,
}

/// What to take in.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImportArgs {
    /// The file: qcow2 or raw
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the image
    #[arg(long, value_name = "NAME")]
    name: Name,
    /// User that the image gives the SSH key to
    #[arg(long, value_name = "USER")]
    default_user: Option<String>,
    /// Firmware that it boots with: bios or uefi
    #[arg(long, value_name = "WHICH")]
    firmware: Option<String>,
    /// SHA-256 that the file must have
    #[arg(long, value_name = "HEX")]
    checksum: Option<String>,
    /// Take an image whose virtual size is larger than the free space of the pool
    #[arg(long)]
    sparse: bool,
}

/// How to prune.
#[derive(Debug, Clone, Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    yes: YesArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Downloads images.
pub(crate) fn pull(ctx: &Ctx, _: Option<Kind>, args: PullArgs) -> Result<()> {
    if args.sources.len() > 1 && (args.name.is_some() || args.checksum.is_some()) {
        return Err(Error::usage("--name and --checksum go with one source"));
    }
    let reporter = ctx.reporter();
    for source in &args.sources {
        let request = PullRequest {
            source: source.clone(),
            name: args.name.clone(),
            checksum: args.checksum.clone(),
            without_checksum: args.insecure_no_checksum,
            allow_http: args.allow_http,
            default_user: args.default_user.clone(),
        };
        let (key, outcome) = images::pull(ctx.world()?, &request, reporter.as_ref())?;
        ctx.print_outcome(&key, words("pulled", outcome))?;
    }
    Ok(())
}

/// Takes a file as an image.
pub(crate) fn import(ctx: &Ctx, _: Option<Kind>, args: ImportArgs) -> Result<()> {
    let request = ImportRequest {
        file: args.file,
        name: args.name,
        default_user: args.default_user,
        firmware: args.firmware,
        checksum: args.checksum,
        sparse: args.sparse,
    };
    let reporter = ctx.reporter();
    let (key, outcome) = images::import(ctx.world()?, &request, reporter.as_ref())?;
    ctx.print_outcome(&key, words("imported", outcome))
}

const fn words(done: &'static str, outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unchanged => "already there",
        _ => done,
    }
}

/// Deletes the images that no instance uses.
pub(crate) fn prune(ctx: &Ctx, _: Option<Kind>, args: PruneArgs) -> Result<()> {
    let unused = images::unused(ctx.world()?)?;
    if unused.is_empty() {
        ctx.ui().status("No image to prune: every one is used.");
        return Ok(());
    }
    let keys: Vec<ObjectKey> = unused
        .into_iter()
        .map(|n| ObjectKey::new(Kind::Image, n))
        .collect();
    let dry_run = ctx.dry_run(&args.dry_run)?;
    if dry_run == DryRun::None && !args.yes.yes {
        let list: Vec<String> = keys.iter().map(ToString::to_string).collect();
        prompt::confirm(ctx, &format!("Delete {}?", list.join(", ")), "--yes")?;
    }
    let options = DeleteOptions {
        dry_run,
        ..DeleteOptions::default()
    };
    ctx.delete(keys, &options)
}
