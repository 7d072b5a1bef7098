//! Importing: a file of the user's.

use std::fs::File;
use std::path::PathBuf;

use super::store::{Facts, put};
use super::{LOCK_WAIT, checksum, limits, or_signal, present, private_dir};
use crate::api::{Kind, Name, ObjectKey, Reporter};
use crate::engine::Interrupt;
use crate::error::{Error, Result};
use crate::image::catalogue::Firmware;
use crate::image::{Algorithm, import as staging};
use crate::observe::World;
use crate::plan::Outcome;

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
    let mut facts = Facts::by_name(world, &key.name)?;
    facts.firmware = firmware;
    facts.default_user = request.default_user.clone().or(facts.default_user);
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

fn staging_dir(world: &World) -> Result<PathBuf> {
    private_dir(&world.paths().cache_dir().join("staging"))
}
