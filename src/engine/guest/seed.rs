//! What went into the cloud-init seed.

use crate::api::ObjectKey;
use crate::cloudinit::iso_read;
use crate::engine::instances;
use crate::error::{Error, Result};
use crate::observe::World;

/// Reads the seed back from its ISO, and masks what is secret.
///
/// # Errors
/// `NotFound` where the instance has no seed.
pub fn seed(world: &World, key: &ObjectKey) -> Result<Vec<(String, String)>> {
    let domain = instances::find(world, key)?;
    let definition = domain.definition()?;
    let path = definition.cdrom().and_then(|d| d.path()).map(str::to_owned);
    let path = path.ok_or_else(|| Error::not_found(format!("{key} has no seed")))?;
    let mut image = Vec::new();
    world
        .host()?
        .volume_by_path(&path)?
        .download(&mut image, 0, 0)?;
    let medium = iso_read::read(&image)?;
    let seed = crate::cloudinit::Seed {
        files: medium.files,
    };
    Ok(vec![(path, seed.masked())])
}
