//! `store rebuild`: the store from libvirt, the pool and the seeds.
//!
//! What stands in a domain's metadata as a hash is taken from the seed, where it still is; user-data
//! whose seed was scrubbed stays a hash, which is enough to see that it has not changed.

use std::path::Path;

use super::instances::masks;
use super::{balancers, forwards};
use crate::api::{DiskFormat, InstanceSpec, MaskKey, Name, Quantity, Timestamp, Uid, VolumeSpec};
use crate::cloudinit::{RecoveredInput, Seed, iso_read};
use crate::error::{Error, Result};
use crate::image::ImageRecord;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::{Domain, ObjectMetadata, Pool, PoolSort};
use crate::net::Mac;
use crate::observe::{Depth, NetworkFacts, Scope, StoredImage, USER_NETWORK, World, ports_of};
use crate::store::{
    FileRecord, InstanceRecord, LastApplied, NicRecord, STORE_WAIT, SeedState, SlotTable,
    VolumeRecord,
};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Rebuilt {
    networks: Vec<String>,
    instances: Vec<String>,
    forwards: Vec<String>,
    balancers: Vec<String>,
    images: Vec<String>,
    volumes: Vec<String>,
    snapshots: Vec<String>,
    incomplete: Vec<String>,
}

impl Rebuilt {
    /// Returns what was found, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .networks
            .iter()
            .map(|n| format!("network/{n} rebuilt"))
            .collect();
        lines.extend(
            self.instances
                .iter()
                .map(|n| format!("instance/{n} rebuilt")),
        );
        lines.extend(self.forwards.iter().map(|n| format!("forward/{n} rebuilt")));
        let balancers = self.balancers.iter();
        lines.extend(balancers.map(|n| format!("loadbalancer/{n} rebuilt")));
        lines.extend(self.images.iter().map(|n| format!("image/{n} rebuilt")));
        lines.extend(self.volumes.iter().map(|n| format!("volume/{n} rebuilt")));
        lines.extend(
            self.snapshots
                .iter()
                .map(|n| format!("snapshot/{n} rebuilt")),
        );
        lines.extend(self.incomplete.iter().cloned());
        if lines.is_empty() {
            lines.push("nothing is missing from the store".to_owned());
        }
        lines
    }
}

/// Rebuilds what the store has not. Records that are there stay as they are.
///
/// # Errors
/// What libvirt or the store refuses.
pub fn run(world: &World) -> Result<Rebuilt> {
    let mut rebuilt = Rebuilt::default();
    images(world, &mut rebuilt)?;
    networks(world, &mut rebuilt)?;
    volumes(world, &mut rebuilt)?;
    rebuilt.snapshots = super::snapshots::rebuild(world)?;
    let store = world.store()?;
    for brief in world.host()?.domain_briefs()? {
        let domain = match world.host()?.domain_by_uid(brief.uid) {
            Ok(domain) => domain,
            // Deleted meanwhile.
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e.into()),
        };
        let Some(metadata) = domain.metadata_config()?.filter(|m| m.uid == brief.uid) else {
            continue;
        };
        if store.get::<InstanceRecord>(&brief.uid)?.is_some() {
            continue;
        }
        let record = record_of_domain(world, &domain)?;
        if record
            .spec
            .user_data
            .as_deref()
            .is_some_and(|d| d.starts_with("***"))
        {
            rebuilt.incomplete.push(format!(
                "instance/{}: its user-data is known only by its hash",
                record.name
            ));
        }
        save(world, &record, &metadata)?;
        rebuilt.instances.push(record.name.to_string());
    }
    let forwards = forwards::rebuild(world)?;
    rebuilt.forwards = forwards.names;
    rebuilt.incomplete.extend(forwards.incomplete);
    let balancers = balancers::rebuild(world)?;
    rebuilt.balancers = balancers.names;
    rebuilt.incomplete.extend(balancers.incomplete);
    Ok(rebuilt)
}

/// Writes a record with its row and its address slots.
///
/// # Errors
/// What the store refuses.
pub(super) fn save(
    world: &World,
    record: &InstanceRecord,
    metadata: &ObjectMetadata,
) -> Result<()> {
    let row = world.index_row(record.name.clone(), metadata, Some(record))?;
    let store = world.store()?;
    let lock = store.lock(STORE_WAIT)?;
    store.put(record)?;
    for nic in record.nics.iter().filter(|n| n.slot) {
        if let (Some(network), Some(ip)) = (nic.network_uid, nic.ip) {
            store.update_slots(&lock, network, &nic.network, |table: &mut SlotTable| {
                table.give(ip, record.uid);
                Ok::<(), Error>(())
            })?;
        }
    }
    store.update_index_locked(&lock, |index| {
        index.unmanaged.remove(&record.uid);
        index.rows.insert(record.uid, row);
    })?;
    drop(lock);
    Ok(())
}

/// Builds the record of an instance that has none.
///
/// # Errors
/// A conflict for a domain that is not ours; what libvirt refuses.
pub(super) fn record_of_domain(world: &World, domain: &Domain) -> Result<InstanceRecord> {
    let uid = domain.uid();
    let metadata = domain
        .metadata_config()?
        .filter(|m| m.uid == uid)
        .ok_or_else(|| {
            Error::conflict(format!(
                "domain {:?} is not managed by kvmctl",
                domain.name()
            ))
        })?;
    // Its files are named by the name that it was made with.
    let made = metadata.name.as_deref().and_then(|n| Name::new(n).ok());
    let name = match made {
        Some(name) => name,
        None => Name::new(domain.name()).map_err(|e| Error::failed(e.to_string()))?,
    };
    let xml = domain.definition()?;
    let mut spec: InstanceSpec = metadata
        .spec
        .as_deref()
        .and_then(|t| serde_json::from_str(t).ok())
        .unwrap_or_default();
    let files = files(world, &xml, &own_prefix(&name, uid));
    let recovered = recovered(world, &xml);
    let key = recovered.as_ref().and_then(|r| r.mask_key.clone());
    let seed = fill(&mut spec, recovered, &files);
    // What has no key of its own yet gets one; what is hidden by one that is lost cannot be compared.
    let unknown = key.is_none() && masks::any_keyed(&spec);
    let mask_key = key.or_else(|| (!unknown).then(MaskKey::random));
    let nics = nics(world, &xml)?;
    Ok(InstanceRecord {
        uid,
        name,
        labels: metadata.labels.clone(),
        annotations: metadata.annotations.clone(),
        generation: metadata.generation,
        created: metadata.creation.unwrap_or_else(Timestamp::now),
        last_applied: Some(LastApplied {
            labels: metadata.labels.clone(),
            annotations: metadata.annotations.clone(),
            spec: spec.clone(),
        }),
        spec,
        image_sha256: metadata.extra.get("image-sha256").cloned(),
        files,
        nics,
        ports: ports_of(&metadata),
        ssh_host_key: metadata.extra.get("ssh-host-key").cloned(),
        ssh_user: metadata.extra.get("ssh-user").cloned(),
        seed,
        adopted: metadata.extra.contains_key("adopted"),
        mask_key,
        deletion_timestamp: metadata.deletion,
    })
}

/// Reads the seed's own record of what went into it.
fn recovered(world: &World, xml: &DomainXml) -> Option<RecoveredInput> {
    let path = xml.cdrom()?.path()?.to_owned();
    let mut image = Vec::new();
    world
        .host()
        .ok()?
        .volume_by_path(&path)
        .ok()?
        .download(&mut image, 0, 0)
        .ok()?;
    let medium = iso_read::read(&image).ok()?;
    Seed {
        files: medium.files,
    }
    .recover()
}

/// Puts what the seed holds in the place of the hashes.
fn fill(
    spec: &mut InstanceSpec,
    recovered: Option<RecoveredInput>,
    files: &[FileRecord],
) -> SeedState {
    let Some(seed) = recovered else {
        let any = files.iter().any(|f| f.volume.ends_with("seed.iso"));
        return if any {
            SeedState::Full
        } else {
            SeedState::Absent
        };
    };
    for var in &mut spec.env {
        let known = seed
            .env
            .iter()
            .find(|e| e.name == var.name)
            .and_then(|e| e.value.clone());
        if let (Some(value), true) = (known, var.value.is_some()) {
            var.value = Some(value);
        }
    }
    if seed.run.len() == spec.run.len() {
        spec.run = seed.run;
    }
    if seed.command.len() == spec.command.len() {
        spec.command = seed.command;
    }
    if let (Some(bytes), true) = (seed.user_data, spec.user_data.is_some())
        && let Ok(text) = String::from_utf8(bytes)
    {
        spec.user_data = Some(text);
    }
    if seed.sealed {
        SeedState::Scrubbed
    } else {
        SeedState::Full
    }
}

/// What the names of all volumes of an instance begin with.
fn own_prefix(name: &Name, uid: Uid) -> String {
    format!("{name}.{}.", uid.short())
}

/// Lists the files that carry the instance's identity; others are not its own, whoever uses them.
fn files(world: &World, xml: &DomainXml, prefix: &str) -> Vec<FileRecord> {
    let pool = &world.settings().pool;
    let mut files = Vec::new();
    let disks = xml
        .hard_disks()
        .chain(xml.cdrom())
        .filter_map(|d| d.path().map(str::to_owned));
    for path in disks.chain(xml.serial_log().map(str::to_owned)) {
        let Some(volume) = Path::new(&path).file_name() else {
            continue;
        };
        let volume = volume.to_string_lossy().into_owned();
        if volume.starts_with(prefix) {
            let pool = pool.clone();
            files.push(FileRecord { pool, volume });
        }
    }
    files
}

/// Lists the interfaces that are in networks, with the addresses reserved for them.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn nics(world: &World, xml: &DomainXml) -> Result<Vec<NicRecord>> {
    let host = world.host()?;
    let mut nics = Vec::new();
    for interface in &xml.devices.interfaces {
        let Some(mac) = interface.mac().and_then(|m| m.parse::<Mac>().ok()) else {
            continue;
        };
        if interface.kind == USER_NETWORK {
            nics.push(NicRecord {
                network: USER_NETWORK.to_owned(),
                network_uid: None,
                mac,
                ip: None,
                slot: false,
            });
        }
        let Some(network) = interface.network() else {
            continue;
        };
        let facts = match host.network(network) {
            Ok(found) => Some(NetworkFacts::read(&found.definition()?)?),
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e.into()),
        };
        nics.push(NicRecord {
            network: network.to_owned(),
            network_uid: facts.as_ref().map(|f| f.uid),
            mac,
            ip: facts.as_ref().and_then(|f| f.address_of(mac)),
            slot: facts.is_some_and(|f| f.slots.iter().any(|s| s.mac == mac)),
        });
    }
    Ok(nics)
}

/// A network's definition says everything of it; the store has only its name, for completion. The
/// addresses in it come back with the instances that have them.
fn networks(world: &World, rebuilt: &mut Rebuilt) -> Result<()> {
    let store = world.store()?;
    let known = store.load_index().networks;
    let found = world.networks(Scope::Managed, Depth::Listing)?;
    let named = found
        .iter()
        .filter_map(|n| Some((n.metadata.uid?, n.metadata.name.as_ref()?)));
    let new = named.filter(|(uid, _)| !known.contains_key(uid));
    rebuilt
        .networks
        .extend(new.map(|(_, name)| name.to_string()));
    Ok(())
}

/// Images are known by their sidecars in the pool.
fn images(world: &World, rebuilt: &mut Rebuilt) -> Result<()> {
    let host = world.host()?;
    let pool = match host.pool(&world.settings().pool) {
        Ok(pool) => pool,
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    pool.refresh()?;
    let store = world.store()?;
    for volume in pool.volumes()? {
        if !is_sidecar(&volume.name) {
            continue;
        }
        let mut text = Vec::new();
        volume.download(&mut text, 0, 1 << 20)?;
        let Ok(image) = serde_json::from_slice::<ImageRecord>(trimmed(&text)) else {
            continue;
        };
        if store.get::<StoredImage>(&image.name)?.is_some() {
            continue;
        }
        rebuilt.images.push(image.name.to_string());
        let lock = store.lock(STORE_WAIT)?;
        store.put(&StoredImage {
            uid: Uid::random(),
            pool: pool.name.clone(),
            image,
            labels: Default::default(),
            annotations: Default::default(),
        })?;
        drop(lock);
    }
    Ok(())
}

/// Volumes are known by their sidecars, in whichever pool.
fn volumes(world: &World, rebuilt: &mut Rebuilt) -> Result<()> {
    let store = world.store()?;
    for pool in world.host()?.pools()? {
        if !pool.is_active()? {
            continue;
        }
        if pool.sort()? == PoolSort::Logical {
            rebuild_logical(world, &pool, rebuilt)?;
            continue;
        }
        for sidecar in pool.volumes()? {
            let Some(file) = sidecar.name.strip_suffix(".json") else {
                continue;
            };
            if file.starts_with("kvmctl-image-") || pool.find_volume(file)?.is_none() {
                continue;
            }
            let mut text = Vec::new();
            sidecar.download(&mut text, 0, 1 << 20)?;
            let Ok(record) = serde_json::from_slice::<VolumeRecord>(trimmed(&text)) else {
                continue;
            };
            let here = record.file.volume == file && record.file.pool == pool.name;
            if !here || store.get::<VolumeRecord>(&record.name)?.is_some() {
                continue;
            }
            let _lock = store.lock(STORE_WAIT)?;
            store.put(&record)?;
            rebuilt.volumes.push(record.name.to_string());
        }
    }
    Ok(())
}

/// Logical volumes are known by their names, `NAME.UID.raw`: labels are lost.
fn rebuild_logical(world: &World, pool: &Pool, rebuilt: &mut Rebuilt) -> Result<()> {
    let store = world.store()?;
    for volume in pool.volumes()? {
        let parts: Vec<&str> = volume.name.split('.').collect();
        let [name, uid, "raw"] = parts.as_slice() else {
            continue;
        };
        let (Ok(name), Ok(uid)) = (Name::new(*name), uid.parse::<Uid>()) else {
            continue;
        };
        if store.get::<VolumeRecord>(&name)?.is_some() {
            continue;
        }
        let record = VolumeRecord {
            name,
            uid,
            labels: Default::default(),
            annotations: Default::default(),
            generation: 1,
            created: Timestamp::now(),
            file: FileRecord {
                pool: pool.name.clone(),
                volume: volume.name.clone(),
            },
            format: DiskFormat::Raw,
            spec: VolumeSpec {
                size: Quantity::from_bytes(volume.info()?.capacity),
                pool: Some(pool.name.clone()),
                ..VolumeSpec::default()
            },
        };
        let _lock = store.lock(STORE_WAIT)?;
        store.put(&record)?;
        rebuilt.volumes.push(record.name.to_string());
    }
    Ok(())
}

/// A raw volume may be padded.
pub(super) fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| *b == b'}').map_or(0, |at| at + 1);
    &text[..end]
}

/// Tells whether the pool has images although the store knows of none: somebody has lost the store.
pub(super) fn images_forgotten(world: &World) -> bool {
    let known = world
        .store_for_reading()
        .and_then(|store| Ok(store.keys::<StoredImage>()?));
    let volumes = || -> Result<bool> {
        let pool = world.host()?.pool(&world.settings().pool)?;
        Ok(pool.volumes()?.iter().any(|v| is_sidecar(&v.name)))
    };
    // It is only a hint: what cannot be looked at says nothing.
    known.is_ok_and(|known| known.is_empty()) && volumes().unwrap_or(false)
}

fn is_sidecar(volume: &str) -> bool {
    volume.starts_with("kvmctl-image-") && volume.ends_with(".json")
}
