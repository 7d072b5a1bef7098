//! What a domain's disks are beside the files that kvmctl made: overlays of snapshots taken by hand,
//! and disks that somebody attached.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::api::Name;
use crate::error::Result;
use crate::libvirt::Domain;
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::store::VolumeRecord;

/// A disk or medium of a domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Attached {
    path: String,
    target: String,
}

/// Lists the disks and media, of the definition and of what runs.
fn attached(domain: &Domain) -> Result<BTreeSet<Attached>> {
    let mut all = BTreeSet::new();
    for xml in [domain.definition()?, domain.live()?] {
        let disks = xml.devices.disks.iter();
        all.extend(disks.filter_map(|disk| {
            Some(Attached {
                path: disk.path()?.to_owned(),
                target: disk.target.dev.clone(),
            })
        }));
    }
    Ok(all)
}

/// Returns whether somebody took snapshots or changed disks, so that libvirt's list of the pool's
/// files may be older than the files.
pub(super) fn changed_by_hand(domain: &Domain, known: &BTreeSet<String>) -> Result<bool> {
    if domain.snapshot_count()? > 0 {
        return Ok(true);
    }
    let name = |path: &str| {
        let name = Path::new(path).file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let disks = attached(domain)?;
    Ok(disks.iter().any(|disk| !known.contains(&name(&disk.path))))
}

/// Says which disks stay when `going` goes.
pub(super) fn kept(world: &World, domain: &Domain, going: &[VolumeRef]) -> Result<Vec<String>> {
    let mut paths = BTreeSet::new();
    for volume in going {
        if let Ok(pool) = world.host()?.pool(&volume.pool) {
            paths.insert(format!("{}/{}", pool.path()?, volume.name));
        }
    }
    let volumes = volumes_by_path(world)?;
    let stay = attached(domain)?
        .into_iter()
        .filter(|disk| !paths.contains(&disk.path));
    Ok(stay
        .map(|Attached { path, target }| match volumes.get(&path) {
            Some(name) => format!("volume/{name} (disk {target}) is kept with its data"),
            None => format!("kept {path} (disk {target}), which kvmctl did not make"),
        })
        .collect())
}

fn volumes_by_path(world: &World) -> Result<BTreeMap<String, Name>> {
    let mut volumes = BTreeMap::new();
    let records: Vec<VolumeRecord> = world.store_for_reading()?.all()?;
    for record in records {
        if let Ok(pool) = world.host()?.pool(&record.file.pool) {
            let path = format!("{}/{}", pool.path()?, record.file.volume);
            volumes.insert(path, record.name);
        }
    }
    Ok(volumes)
}
