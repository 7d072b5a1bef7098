//! A volume that begins as a file system with what is in a tar archive. Everything is checked while
//! it is read, and the file system is made beside the cache before anything of the volume is.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use super::super::images::{or_signal, private_dir};
use super::content::Content;
use super::make::Depth;
use crate::api::{DiskFormat, ObjectKey, Quantity, Reporter};
use crate::engine::Interrupt;
use crate::engine::disk_files::{self, Told};
use crate::error::{Error, Result};
use crate::host::{Copy, ImagePath, Packing, Workshop};
use crate::image::ext4::{Ext4, fitting_size, least_size};
use crate::image::tar::{Tree, Unpacking};
use crate::observe::World;
use crate::plan::volume::Source;

/// What directories of ours are called in the cache.
const WORKSHOP: &str = "tar.";

/// What is asked for.
pub(super) struct Request<'r> {
    /// Path of the archive; `-` is standard input.
    pub(super) tar: &'r str,
    /// Size of the volume.
    pub(super) size: Option<Quantity>,
    /// Its format.
    pub(super) format: DiskFormat,
    /// Bytes that are free in the pool.
    pub(super) room: u64,
}

/// What an archive comes to.
pub(super) struct Found {
    /// Size of the volume.
    pub(super) capacity: Quantity,
    /// What a person should know.
    pub(super) notes: Vec<String>,
    /// The file system, where it was made.
    pub(super) content: Option<Content>,
    bytes: u64,
}

impl Found {
    /// Returns what the volume begins as.
    pub(super) const fn source(&self) -> Source {
        Source::File { bytes: self.bytes }
    }
}

/// Reads an archive and, where it is to be made, makes the file system.
///
/// # Errors
/// Usage for an archive that is not taken, with the member and the reason, and for a size that is too
/// small.
pub(super) fn look(
    world: &World,
    key: &ObjectKey,
    request: &Request<'_>,
    depth: Depth,
    reporter: &dyn Reporter,
) -> Result<Found> {
    let tools = Ext4::find()?;
    let dir = private_dir(&world.paths().cache_dir().join("staging"))?;
    Workshop::sweep(&dir, WORKSHOP);
    let workshop = match depth {
        Depth::Look => None,
        Depth::Make => Some(Workshop::new(&dir, WORKSHOP).map_err(cannot_make)?),
    };
    let tree = unpack(key, request, workshop.as_ref(), reporter)?;
    let capacity = capacity(request, &tree)?;
    let mut found = Found {
        capacity,
        notes: notes(request, &tree),
        content: None,
        bytes: capacity.bytes(),
    };
    let Some(workshop) = workshop else {
        return Ok(found);
    };
    reporter.phase(key, "making the file system");
    let stop = Interrupt::flag();
    let mut progress = |done: u64, total: u64| {
        reporter.progress(key, "making the file system", done.min(total), Some(total));
    };
    let made = tools.make(
        workshop.path(),
        &tree,
        capacity.bytes(),
        &stop,
        &mut progress,
    );
    let mut image = made.map_err(or_signal)?;
    if request.format == DiskFormat::Qcow2 {
        let packed = workshop.path().join("fs.qcow2");
        let path =
            |p: &std::path::Path| ImagePath::new(p).map_err(|e| Error::failed(e.to_string()));
        let (from, to) = (path(&image)?, path(&packed)?);
        let copy = Copy {
            from: &from,
            from_format: DiskFormat::Raw,
            to: &to,
            to_format: DiskFormat::Qcow2,
            packing: Packing::Plain,
        };
        let told = Told {
            key,
            label: "writing the qcow2 image",
            reporter,
        };
        let total = std::fs::metadata(&image).map_err(cannot_make)?.blocks() * 512;
        disk_files::copy(&copy, &told, total)?;
        image = packed;
    }
    let file = File::open(&image).map_err(cannot_make)?;
    found.bytes = file.metadata().map_err(cannot_make)?.len();
    found.content = Some(Content::new(file, workshop));
    Ok(found)
}

/// Removes what killed runs left in the cache.
pub(super) fn sweep(world: &World) {
    Workshop::sweep(&world.paths().cache_dir().join("staging"), WORKSHOP);
}

fn unpack(
    key: &ObjectKey,
    request: &Request<'_>,
    workshop: Option<&Workshop>,
    reporter: &dyn Reporter,
) -> Result<Tree> {
    let stdin = request.tar == "-";
    let (source, total): (Box<dyn Read>, _) = if stdin {
        (Box::new(std::io::stdin().lock()), None)
    } else {
        let file = File::open(request.tar)
            .map_err(|e| Error::usage(format!("cannot read {}", request.tar)).caused_by(e))?;
        let total = file.metadata().ok().map(|m| m.len());
        (Box::new(std::io::BufReader::new(file)), total)
    };
    let label = format!(
        "reading {}",
        if stdin { "standard input" } else { request.tar }
    );
    let stop = Interrupt::flag();
    let unpacking = Unpacking {
        into: workshop.map(Workshop::path),
        // What is in it cannot take less than it has, whatever the volume's format.
        limit: request
            .room
            .min(request.size.map_or(u64::MAX, Quantity::bytes)),
        stop: &stop,
        progress: &mut |done| reporter.progress(key, &label, done, total),
    };
    unpacking.read(source).map_err(or_signal)
}

fn capacity(request: &Request<'_>, tree: &Tree) -> Result<Quantity> {
    let least = least_size(tree).next_multiple_of(1 << 20);
    match request.size {
        Some(size) if size.bytes() < least => {
            let least = Quantity::from_bytes(least).map_or(String::new(), |q| q.to_string());
            Err(Error::usage(format!(
                "spec.size: {size} is less than the {least} that what is in {} needs",
                request.tar
            )))
        }
        Some(size) => Ok(size),
        None => Quantity::from_bytes(fitting_size(tree))
            .ok_or_else(|| Error::usage("the archive is too large for a volume")),
    }
}

fn notes(request: &Request<'_>, tree: &Tree) -> Vec<String> {
    let mut notes = Vec::new();
    if tree.acls > 0 {
        notes.push(format!(
            "{} members have ACLs in a form that is not kept: their owners and modes are",
            tree.acls
        ));
    }
    let has = |name: &[u8]| tree.names.contains_key(name);
    if has(b"manifest.json") && (has(b"repositories") || has(b"oci-layout")) {
        notes.push(format!(
            "{} looks like an image saved by docker save, with its layers as files: the files of a \
             container come from docker export",
            request.tar
        ));
    }
    notes
}

fn cannot_make(error: std::io::Error) -> Error {
    Error::failed("cannot make the file system").caused_by(error)
}
