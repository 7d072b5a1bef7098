//! Whose a domain is, and what it says of itself: metadata, record and listing row are written
//! together.

use crate::api::{
    Instance, InstanceSpec, Kind, MaskKey, ObjectKey, ObjectMeta, Quantity, Timestamp, Uid,
};
use crate::error::{Error, Result};
use crate::libvirt::{Domain, ObjectMetadata};
use crate::observe::{PORTS, World};
use crate::plan::Outcome;
use crate::store::{Event, EventType, InstanceRecord, Intent, LastApplied, STORE_WAIT, SeedState};

use super::super::{forwards, rebuild};
use super::masks::public_json;

/// Builds what a domain's metadata says.
///
/// # Errors
/// If the spec cannot be written as JSON.
pub(super) fn of(record: &InstanceRecord) -> Result<ObjectMetadata> {
    let mut metadata = ObjectMetadata::new(record.uid);
    metadata.name = Some(record.name.to_string());
    metadata.labels = record.labels.clone();
    metadata.annotations = record.annotations.clone();
    metadata.generation = record.generation;
    metadata.creation = Some(record.created);
    // Without the key, what is hidden is hidden for good: nobody can compare it.
    let key = record.mask_key.clone().unwrap_or_else(MaskKey::random);
    metadata.spec = Some(public_json(&record.spec, &key)?);
    let address = record.nics.iter().find_map(|n| n.ip);
    if let Some(ip) = address {
        metadata.extra.insert("address".to_owned(), ip.to_string());
    }
    if let Some(sha256) = &record.image_sha256 {
        metadata
            .extra
            .insert("image-sha256".to_owned(), sha256.clone());
    }
    if let Some(key) = &record.ssh_host_key {
        metadata
            .extra
            .insert("ssh-host-key".to_owned(), key.clone());
    }
    if let Some(user) = &record.ssh_user {
        metadata.extra.insert("ssh-user".to_owned(), user.clone());
    }
    if !record.ports.is_empty() {
        let ports: Vec<String> = record.ports.iter().map(ToString::to_string).collect();
        metadata.extra.insert(PORTS.to_owned(), ports.join(" "));
    }
    if record.adopted {
        metadata
            .extra
            .insert("adopted".to_owned(), "true".to_owned());
    }
    Ok(metadata)
}

/// Writes metadata into the definition and, where it runs, into the live domain, whose verdict
/// stays.
pub(super) fn write(domain: &Domain, metadata: &ObjectMetadata) -> Result<()> {
    domain.set_metadata_config(metadata)?;
    if domain.state()?.is_active() {
        let verdict = domain.metadata_live()?.and_then(|m| m.verdict);
        let live = ObjectMetadata {
            verdict,
            ..metadata.clone()
        };
        domain.set_metadata_live(&live)?;
    }
    Ok(())
}

/// Writes the record and the listing's row, keeping the row's verdict.
pub(super) fn save(
    world: &World,
    record: &InstanceRecord,
    metadata: &ObjectMetadata,
) -> Result<()> {
    let row = world.index_row(record.name.clone(), metadata, Some(record))?;
    let store = world.store()?;
    let lock = store.lock(STORE_WAIT)?;
    store.update_index_locked(&lock, |index| {
        index.unmanaged.remove(&record.uid);
        let verdict = index
            .rows
            .get(&record.uid)
            .and_then(|old| old.verdict.clone());
        index
            .rows
            .insert(record.uid, crate::store::IndexRow { verdict, ..row });
    })?;
    // Last, because the next run judges by it whether anything is left to do.
    Ok(store.put(record)?)
}

/// Builds the record of a new instance.
pub(super) fn new_record(instance: &Instance, uid: Uid) -> Result<InstanceRecord> {
    let meta: &ObjectMeta = &instance.metadata;
    let name = meta
        .name
        .clone()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    Ok(InstanceRecord {
        uid,
        name,
        labels: meta.labels.clone(),
        annotations: meta.annotations.clone(),
        generation: 1,
        created: Timestamp::now(),
        spec: instance.spec.clone(),
        last_applied: Some(LastApplied {
            labels: meta.labels.clone(),
            annotations: meta.annotations.clone(),
            spec: instance.spec.clone(),
        }),
        image_sha256: None,
        files: Vec::new(),
        nics: Vec::new(),
        ports: Vec::new(),
        ssh_host_key: None,
        ssh_user: None,
        seed: SeedState::Absent,
        adopted: false,
        mask_key: Some(MaskKey::random()),
        deletion_timestamp: None,
    })
}

/// Makes a domain that was made by hand ours: writes the mark, and the spec as far as the
/// definition shows it.
///
/// # Errors
/// `NotFound`; what libvirt refuses.
pub(crate) fn adopt(world: &World, key: &ObjectKey) -> Result<Outcome> {
    let _object = world
        .store()?
        .lock_object(Kind::Instance, key.name.as_str(), STORE_WAIT)?;
    let domain = world
        .host()?
        .domain(key.name.as_str())
        .map_err(|e| not_there(e, key))?;
    let uid = domain.uid();
    let ours = domain.metadata_config()?.is_some_and(|m| m.uid == uid);
    match world.store()?.get::<InstanceRecord>(&uid)? {
        Some(_) if ours => return Ok(Outcome::Unchanged),
        Some(record) => return readopt(world, key, &domain, &record),
        None => {}
    }
    let xml = domain.definition()?;
    let spec = InstanceSpec {
        cpus: Some(xml.cpus()),
        memory: xml.memory_bytes().and_then(Quantity::from_bytes),
        ..InstanceSpec::default()
    };
    let instance = Instance {
        api_version: crate::api::API_VERSION.to_owned(),
        kind: "Instance".to_owned(),
        metadata: ObjectMeta::named(key.name.clone()),
        spec,
        status: None,
    };
    let mut record = new_record(&instance, uid)?;
    record.adopted = true;
    record.nics = rebuild::nics(world, &xml)?;
    let metadata = of(&record)?;
    write(&domain, &metadata)?;
    rebuild::save(world, &record, &metadata)?;
    note(
        world,
        key,
        Some(uid),
        "Adopted",
        "the domain is managed by kvmctl from now on",
    );
    Ok(Outcome::Adopted)
}

/// Gives a domain back the mark that somebody took away: what the record knows of it still holds.
fn readopt(
    world: &World,
    key: &ObjectKey,
    domain: &Domain,
    record: &InstanceRecord,
) -> Result<Outcome> {
    let metadata = of(record)?;
    write(domain, &metadata)?;
    rebuild::save(world, record, &metadata)?;
    let told = "the domain has its mark again";
    note(world, key, Some(record.uid), "Adopted", told);
    Ok(Outcome::Adopted)
}

/// Writes down another SSH host key, in the record and in the domain's metadata.
///
/// # Errors
/// A conflict where the domain is not ours; what libvirt or the store refuses.
pub(in crate::engine) fn set_host_key(world: &World, key: &ObjectKey, public: &str) -> Result<()> {
    let store = world.store()?;
    let _object = store.lock_object(key.kind, key.name.as_str(), STORE_WAIT)?;
    let domain = super::lifecycle::find(world, key)?;
    owned(&domain, key)?;
    let mut record = super::record_of(world, &domain)?;
    record.ssh_host_key = Some(public.to_owned());
    let metadata = of(&record)?;
    write(&domain, &metadata)?;
    save(world, &record, &metadata)?;
    let told = "another SSH host key of the guest is trusted from now on";
    note(world, key, Some(record.uid), "HostKeyAccepted", told);
    Ok(())
}

/// Removes the mark and the record; the domain and its disks stay as they are.
///
/// # Errors
/// `NotFound`, or a conflict where it is not ours.
pub(crate) fn forget(world: &World, key: &ObjectKey) -> Result<Outcome> {
    let _object = world
        .store()?
        .lock_object(Kind::Instance, key.name.as_str(), STORE_WAIT)?;
    let domain = world
        .host()?
        .domain(key.name.as_str())
        .map_err(|e| not_there(e, key))?;
    let store = world.store()?;
    let uid = domain.uid();
    let record = store.get::<InstanceRecord>(&uid)?;
    if record.is_some_and(|r| !r.ports.is_empty()) {
        forwards::withdraw(world, &std::collections::BTreeSet::from([uid]))?;
    }
    match owned(&domain, key) {
        Ok(_) => domain.remove_metadata()?,
        // An earlier run was killed when it had removed the mark.
        Err(_) if store.get::<InstanceRecord>(&uid)?.is_some() => {}
        Err(not_ours) => return Err(not_ours),
    }
    let lock = store.lock(STORE_WAIT)?;
    store.update_index_locked(&lock, |index| {
        index.rows.remove(&uid);
        index.unmanaged.insert(uid);
    })?;
    store.remove::<Intent>(&uid)?;
    store.remove::<InstanceRecord>(&uid)?;
    drop(lock);
    note(
        world,
        key,
        Some(uid),
        "Forgotten",
        "kvmctl leaves the domain alone from now on",
    );
    Ok(Outcome::Forgotten)
}

/// Returns the identity of a domain that is ours.
///
/// # Errors
/// A conflict with the command that adopts it, where it is not.
pub(super) fn owned(domain: &Domain, key: &ObjectKey) -> Result<Uid> {
    let uid = domain.uid();
    match domain.metadata_config()? {
        Some(metadata) if metadata.uid == uid => Ok(uid),
        _ => Err(not_ours(key)),
    }
}

/// Words that a domain is not ours.
pub(super) fn not_ours(key: &ObjectKey) -> Error {
    Error::conflict(format!(
        "domain {:?} exists but is not managed by kvmctl",
        key.name.as_str()
    ))
    .hint(format!("kvmctl adopt {key}"))
}

fn not_there(error: crate::libvirt::LibvirtError, key: &ObjectKey) -> Error {
    if error.is_not_found() {
        Error::not_found(format!("instance {:?} not found", key.name.as_str()))
            .hint("kvmctl get instances --all")
    } else {
        error.into()
    }
}

/// Writes an event; one that cannot be written is no reason to fail.
pub(super) fn note(world: &World, key: &ObjectKey, uid: Option<Uid>, reason: &str, message: &str) {
    event(world, key, uid, EventType::Normal, reason, message);
}

/// Writes a warning.
pub(super) fn warn(world: &World, key: &ObjectKey, uid: Option<Uid>, reason: &str, message: &str) {
    event(world, key, uid, EventType::Warning, reason, message);
}

fn event(
    world: &World,
    key: &ObjectKey,
    uid: Option<Uid>,
    event_type: EventType,
    reason: &str,
    message: &str,
) {
    let event = Event::new(
        event_type,
        key.kind,
        key.name.as_str(),
        uid,
        reason,
        message,
    );
    let written = world.store().and_then(|s| Ok(s.record_event(&event)?));
    if let Err(error) = written {
        tracing::warn!(target: "store", "cannot write the event: {error}");
    }
}
