//! Taking the secrets out of the seed once the guest has kept what it needs.

use crate::api::ObjectKey;
use crate::cloudinit::Seed;
use crate::error::Result;
use crate::libvirt::Domain;
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::store::{InstanceRecord, STORE_WAIT, SeedState};

use super::metadata::note;
use super::worker::upload_seed;

/// Replaces the seed by one of the same identity without secrets. Where an earlier run was killed,
/// this one goes on.
pub(super) fn scrub_seed(world: &World, key: &ObjectKey, domain: &Domain) -> Result<()> {
    let store = world.store()?;
    let _object = store.lock_object(key.kind, key.name.as_str(), STORE_WAIT)?;
    let Some(mut record) = store.get::<InstanceRecord>(&domain.uid())? else {
        return Ok(());
    };
    if record.seed != SeedState::Full {
        return Ok(());
    }
    let Some(file) = record
        .files
        .iter_mut()
        .find(|f| f.volume.ends_with("seed.iso"))
    else {
        return Ok(());
    };
    let old = VolumeRef {
        pool: file.pool.clone(),
        name: file.volume.clone(),
    };
    let clean = VolumeRef {
        pool: old.pool.clone(),
        name: scrubbed_name(&old.name),
    };
    let host = world.host()?;
    if !swap_medium(world, domain, &record, &clean)? {
        return Ok(());
    }
    // It goes before the record is written, because the record is what leads to it.
    if let Some(volume) = host.pool(&old.pool)?.find_volume(&old.name)? {
        volume.delete()?;
    }
    for file in &mut record.files {
        if file.volume == old.name {
            file.volume.clone_from(&clean.name);
        }
    }
    record.seed = SeedState::Scrubbed;
    let lock = store.lock(STORE_WAIT)?;
    store.put(&record)?;
    drop(lock);
    note(
        world,
        key,
        Some(record.uid),
        "SeedScrubbed",
        "the seed holds no secrets any more",
    );
    Ok(())
}

/// Puts the clean seed into the drive, unless it is there already; tells whether it is there.
fn swap_medium(
    world: &World,
    domain: &Domain,
    record: &InstanceRecord,
    clean: &VolumeRef,
) -> Result<bool> {
    let host = world.host()?;
    let definition = domain.definition()?;
    let Some(cdrom) = definition.cdrom() else {
        return Ok(false);
    };
    let pool = host.pool(&clean.pool)?;
    let inserted = match pool.find_volume(&clean.name)? {
        Some(volume) => {
            let path = volume.path()?;
            let live = domain.live()?;
            let in_both = [&definition, &live];
            let in_both = in_both.map(|xml| xml.cdrom().and_then(|c| c.path()));
            in_both.iter().all(|medium| *medium == Some(path.as_str()))
        }
        None => false,
    };
    if !inserted {
        let input = super::seed_input_of(world, record)?;
        upload_seed(host, clean, &Seed::sanitized(&input))?;
        let path = pool.volume(&clean.name)?.path()?;
        domain.change_medium(&cdrom.with_medium(std::path::Path::new(&path)))?;
    }
    Ok(true)
}

/// The clean seed lies beside the first one, because a medium in use cannot be written over.
fn scrubbed_name(full: &str) -> String {
    full.replace(".seed.iso", ".clean.seed.iso")
}
