//! The records of instances, from their domains' metadata.
//!
//! What stands in a domain's metadata as a hash is taken from the seed, where it still is; user-data
//! whose seed was scrubbed stays a hash, which is enough to see that it has not changed.

use std::path::Path;

use super::Rebuilt;
use crate::api::{InstanceSpec, MaskKey, Name, Timestamp, Uid};
use crate::cloudinit::{RecoveredInput, Seed, iso_read};
use crate::engine::instances::masks;
use crate::error::{Error, Result};
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::{Domain, ObjectMetadata};
use crate::net::Mac;
use crate::observe::{NetworkFacts, USER_NETWORK, World, ports_of};
use crate::store::{
    FileRecord, InstanceRecord, LastApplied, NicRecord, STORE_WAIT, SeedState, SlotTable,
};

/// Rebuilds the records of all domains that are ours.
pub(super) fn rebuild(world: &World, rebuilt: &mut Rebuilt) -> Result<()> {
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
    Ok(())
}

/// Writes a record with its row and its address slots.
///
/// # Errors
/// What the store refuses.
pub(in crate::engine) fn save(
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
pub(in crate::engine) fn record_of_domain(
    world: &World,
    domain: &Domain,
) -> Result<InstanceRecord> {
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
pub(in crate::engine) fn nics(world: &World, xml: &DomainXml) -> Result<Vec<NicRecord>> {
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
