//! Images into the pool: pulled or imported, checked, stored once under a name made from their
//! content.

mod import;
mod pull;
mod remove;
mod store;

pub use import::{ImportRequest, import};
pub use pull::{PullRequest, pull};
pub use remove::{delete, dependents, unused};

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use crate::api::{DiskFormat, Name, Quantity, Reporter, Timestamp, Uid};
use crate::error::{Error, Result};
use crate::image::catalogue::Architecture;
use crate::image::{Algorithm, Checksum, ImageRecord, Limits, Sha256};
use crate::libvirt::Pool;
use crate::observe::{StoredImage, World};

use super::signal::interrupted;

/// How long to wait for another run that pulls the same image.
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_secs(3600);

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

/// Returns an image as it is, or as it is to be expected when the catalogue has it: for a dry run,
/// which pulls nothing.
///
/// # Errors
/// Usage with the candidates for an unknown name.
pub(in crate::engine) fn foreseen(
    world: &World,
    name: &str,
) -> Result<(StoredImage, Option<String>)> {
    if let Some(found) = present(world, name)? {
        return Ok((found, None));
    }
    let catalogue = world.catalogue()?;
    let alias = &catalogue.entry(name)?.alias;
    if let Some(found) = present(world, alias.as_str())? {
        return Ok((found, None));
    }
    let expected = expected(alias, &world.settings().pool)?;
    Ok((
        expected,
        Some(format!("image {alias} would be pulled first")),
    ))
}

/// Makes the record of an image of which only the usual is taken for granted: nothing is known of it
/// before it is here.
///
/// # Errors
/// None that can happen; digests are parsed.
pub(in crate::engine) fn expected(name: &Name, pool: &str) -> Result<StoredImage> {
    let sha256 = Sha256::from_str(&"0".repeat(64)).map_err(|e| Error::failed(e.to_string()))?;
    let least = Quantity::mib(1);
    Ok(StoredImage {
        uid: Uid::random(),
        pool: pool.to_owned(),
        image: ImageRecord {
            name: name.clone(),
            sha256,
            format: DiskFormat::Qcow2,
            virtual_size: least,
            size: least,
            os: None,
            default_user: None,
            firmware: None,
            architecture: None,
            source_url: None,
            created: Timestamp::now(),
        },
        labels: Default::default(),
        annotations: Default::default(),
        applied: Default::default(),
    })
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
    Ok(pool.volume_after_all(volume.as_str())?.map(|_| stored))
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

pub(in crate::engine) fn limits(pool: &Pool, sparse: bool) -> Result<Limits> {
    Ok(if sparse {
        Limits::default()
    } else {
        Limits::for_pool(pool.info()?.available)
    })
}

pub(in crate::engine) fn checksum(hex: &str) -> Result<Checksum> {
    let algorithm = if hex.len() == 128 {
        Algorithm::Sha512
    } else {
        Algorithm::Sha256
    };
    Checksum::new(algorithm, hex).map_err(|e| Error::usage(e.to_string()))
}

pub(in crate::engine) fn private_dir(dir: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Error::failed(format!("cannot make {}", dir.display())).caused_by(e))?;
    Ok(dir.to_owned())
}

/// A copy that was stopped by a signal ends as the signal does.
pub(in crate::engine) fn or_signal<E: Into<Error>>(error: E) -> Error {
    match interrupted() {
        Err(signal) => signal,
        Ok(()) => error.into(),
    }
}
