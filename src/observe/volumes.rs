//! Volumes: those that kvmctl made, where each lies, and which domains have it.

use std::collections::BTreeMap;

use super::details::chain;
use super::phase::Begun;
use super::world::{Scope, World, not_found};
use crate::api::{
    API_VERSION, DiskFormat, Kind, Name, ObjectMeta, Quantity, Uid, Volume, VolumePhase,
    VolumeSpec, VolumeStatus, VolumeUse,
};
use crate::error::Result;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::{LibvirtError, Pool};
use crate::store::{InstanceRecord, IntentOp, VolumeRecord};

/// A file that a domain has as a disk, in what runs or in the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskUse {
    /// Path of the file.
    pub path: String,
    /// Identity of the domain.
    pub domain_uid: Uid,
    /// Where it has it.
    pub at: VolumeUse,
}

impl World {
    /// Lists volumes: ours, and with [`Scope::All`] what else lies in the context's pool.
    ///
    /// # Errors
    /// What libvirt or the store refuses.
    pub fn volumes(&self, scope: Scope) -> Result<Vec<Volume>> {
        let records: Vec<VolumeRecord> = self.store_for_reading()?.all()?;
        if records.is_empty() && scope == Scope::Managed {
            return Ok(Vec::new());
        }
        let uses = self.disk_uses_at_a_glance()?;
        let begun = self.begun(Kind::Volume)?;
        let mut pools = Pools::new(self);
        let mut all = Vec::with_capacity(records.len());
        for record in &records {
            all.push(observed(&mut pools, record, begun.get(&record.uid), &uses)?);
        }
        if scope == Scope::All {
            all.extend(self.foreign(&mut pools, &records, &uses)?);
        }
        Ok(all)
    }

    /// Looks a volume up.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn volume(&self, name: &Name) -> Result<Volume> {
        let store = self.store_for_reading()?;
        let Some(record) = store.get::<VolumeRecord>(name)? else {
            let foreign = self.volumes(Scope::All)?;
            let mut names = Vec::new();
            for volume in foreign {
                match volume.metadata.name.clone() {
                    Some(found) if found == *name => return Ok(volume),
                    found => names.extend(found.map(|n| n.to_string())),
                }
            }
            let names = names.iter().map(String::as_str);
            return Err(not_found(Kind::Volume, name, names));
        };
        let begun = self.begun(Kind::Volume)?;
        let uses = self.disk_uses()?;
        let mut pools = Pools::new(self);
        let mut volume = observed(&mut pools, &record, begun.get(&record.uid), &uses)?;
        if let Some(status) = &mut volume.status
            && let Some(path) = &status.path
        {
            status.backing = chain(self.host()?, path);
        }
        Ok(volume)
    }

    /// Returns what every domain has as disks, by one call for all: what runs where it runs, else the
    /// definition.
    fn disk_uses_at_a_glance(&self) -> Result<Vec<DiskUse>> {
        let told = self.host()?.domain_disks()?;
        if told.iter().any(|(_, disks)| disks.is_none()) {
            return self.disk_uses();
        }
        let (briefs, disks): (Vec<_>, Vec<_>) = told.into_iter().unzip();
        let index = self.index_of(&briefs)?;
        let mut uses = Vec::new();
        for (brief, disks) in briefs.iter().zip(disks) {
            let managed = index.rows.contains_key(&brief.uid);
            for (target, path) in disks.unwrap_or_default() {
                uses.push(DiskUse {
                    path,
                    domain_uid: brief.uid,
                    at: VolumeUse {
                        domain: brief.name.clone(),
                        managed,
                        running: brief.state.is_active(),
                        target,
                    },
                });
            }
        }
        Ok(uses)
    }

    /// Returns what every domain has as disks, in what runs and in the definition.
    ///
    /// # Errors
    /// What libvirt refuses.
    pub fn disk_uses(&self) -> Result<Vec<DiskUse>> {
        let host = self.host()?;
        let briefs = host.domain_briefs()?;
        let index = self.index_of(&briefs)?;
        let mut uses = Vec::new();
        for brief in &briefs {
            let running = brief.state.is_active();
            let documents = host.domain_by_uid(brief.uid).and_then(|domain| {
                let live = if running { Some(domain.live()?) } else { None };
                Ok((domain.definition()?, live))
            });
            let (definition, live) = match documents {
                Ok(documents) => documents,
                // Deleted meanwhile.
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(e.into()),
            };
            let of = |xml: &DomainXml| -> Vec<DiskUse> {
                let disks = xml.hard_disks();
                let with_path = disks.filter_map(|d| Some((d.path()?.to_owned(), d)));
                with_path
                    .map(|(path, disk)| DiskUse {
                        path,
                        domain_uid: brief.uid,
                        at: VolumeUse {
                            domain: brief.name.clone(),
                            managed: index.rows.contains_key(&brief.uid),
                            running,
                            target: disk.target.dev.clone(),
                        },
                    })
                    .collect()
            };
            let found = std::iter::once(&definition).chain(&live).flat_map(of);
            for disk in found {
                if !uses.contains(&disk) {
                    uses.push(disk);
                }
            }
        }
        Ok(uses)
    }

    /// Lists what lies in the context's pool and is neither a volume of ours nor an instance's or an
    /// image's.
    fn foreign(
        &self,
        pools: &mut Pools<'_>,
        records: &[VolumeRecord],
        uses: &[DiskUse],
    ) -> Result<Vec<Volume>> {
        let name = self.settings().pool.clone();
        let Some(pool) = pools.get(&name)? else {
            return Ok(Vec::new());
        };
        let instances: Vec<InstanceRecord> = self.store_for_reading()?.all()?;
        let files = instances.iter().flat_map(|i| &i.files);
        let mut known: Vec<&str> = files.map(|f| f.volume.as_str()).collect();
        known.extend(records.iter().map(|r| r.file.volume.as_str()));
        let mut found = Vec::new();
        for volume in pool.volumes()? {
            let ours = known.contains(&volume.name.as_str())
                || volume.name.starts_with("kvmctl-image-")
                || volume.name.ends_with(".json");
            // What is named otherwise than our objects cannot be addressed by kvmctl; virsh can.
            if let (false, Ok(name)) = (ours, Name::new(volume.name.as_str())) {
                found.extend(if_there(unmanaged(name, pool, &volume, uses))?);
            }
        }
        Ok(found)
    }
}

/// Pools that were looked up once.
pub(super) struct Pools<'w> {
    world: &'w World,
    known: BTreeMap<String, Option<Pool>>,
}

impl<'w> Pools<'w> {
    pub(super) const fn new(world: &'w World) -> Self {
        let known = BTreeMap::new();
        Self { world, known }
    }

    /// Returns a pool that is active.
    ///
    /// # Errors
    /// What libvirt refuses.
    pub(super) fn get(&mut self, name: &str) -> Result<Option<&Pool>> {
        if !self.known.contains_key(name) {
            let found = match self.world.host()?.pool(name) {
                Ok(pool) => pool.is_active()?.then_some(pool),
                Err(e) if e.is_not_found() => None,
                Err(e) => return Err(e.into()),
            };
            self.known.insert(name.to_owned(), found);
        }
        Ok(self.known.get(name).and_then(Option::as_ref))
    }
}

fn object(record: &VolumeRecord, begun: Option<&Begun>) -> Volume {
    Volume {
        api_version: API_VERSION.to_owned(),
        kind: "Volume".to_owned(),
        metadata: ObjectMeta {
            name: Some(record.name.clone()),
            uid: Some(record.uid),
            labels: record.labels.clone(),
            annotations: record.annotations.clone(),
            creation_timestamp: Some(record.created),
            generation: Some(record.generation),
            deletion_timestamp: begun.and_then(|b| b.intent.deletion_timestamp),
            ..ObjectMeta::default()
        },
        spec: record.spec.clone(),
        status: None,
    }
}

fn observed(
    pools: &mut Pools<'_>,
    record: &VolumeRecord,
    begun: Option<&Begun>,
    uses: &[DiskUse],
) -> Result<Volume> {
    let mut volume = object(record, begun);
    let mut status = VolumeStatus {
        managed: true,
        format: Some(record.format),
        pool: Some(record.file.pool.clone()),
        volume: Some(record.file.volume.clone()),
        serial: Some(record.serial()),
        message: begun.and_then(Begun::message),
        ..VolumeStatus::default()
    };
    let pool = pools.get(&record.file.pool)?;
    let found = match pool {
        Some(pool) => pool.find_volume(&record.file.volume)?,
        None => None,
    };
    let found = found.map(|found| if_there(look(&found, record.format)));
    let found = found.transpose()?.flatten();
    if let Some(looked) = &found {
        status.capacity = Quantity::from_bytes(looked.capacity);
        status.allocation = Quantity::from_bytes(looked.allocation);
        status.attached_to = uses_of(uses, &looked.path);
        status.path = Some(looked.path.clone());
    }
    let attached = !status.attached_to.is_empty();
    let (phase, reason) = phase(begun, pool.is_some(), found.is_some(), attached);
    (status.phase, status.reason) = (phase, reason.map(str::to_owned));
    if phase == VolumePhase::Failed {
        status.message = Some(format!(
            "{} is not in pool {:?}; to forget it: kvmctl delete volume {}",
            record.file.volume, record.file.pool, record.name
        ));
    }
    volume.status = Some(status);
    Ok(volume)
}

/// What a file is.
struct Looked {
    path: String,
    capacity: u64,
    allocation: u64,
}

fn look(found: &crate::libvirt::Volume, format: DiskFormat) -> Result<Looked, LibvirtError> {
    let info = found.info()?;
    Ok(Looked {
        path: found.path()?,
        // What libvirt finds in a raw file may be what a guest wrote there.
        capacity: match format {
            DiskFormat::Raw => found.length()?,
            DiskFormat::Qcow2 => info.capacity,
        },
        allocation: info.allocation,
    })
}

/// What libvirt knows of may not be there yet, while it makes it, or not any more.
pub(super) fn if_there<T>(looked: Result<T, LibvirtError>) -> Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn uses_of(uses: &[DiskUse], path: &str) -> Vec<VolumeUse> {
    let of_it = uses.iter().filter(|u| u.path == path);
    let mut users: Vec<VolumeUse> = of_it.map(|u| u.at.clone()).collect();
    // libvirt lists domains in any order.
    users.sort();
    users
}

/// Returns where a volume stands. What was begun and has not ended outranks what is there.
fn phase(
    begun: Option<&Begun>,
    pool: bool,
    there: bool,
    attached: bool,
) -> (VolumePhase, Option<&'static str>) {
    match begun.map(|b| (b.intent.op, b.working)) {
        Some((IntentOp::Create, true)) => return (VolumePhase::Pending, Some("Creating")),
        Some((IntentOp::Create, false)) => {
            return (VolumePhase::Pending, Some("CreateInterrupted"));
        }
        Some((IntentOp::Delete, true)) => return (VolumePhase::Terminating, Some("Deleting")),
        Some((IntentOp::Delete, false)) => {
            return (VolumePhase::Terminating, Some("DeleteInterrupted"));
        }
        _ => {}
    }
    let changing = begun.filter(|b| !b.working).map(|_| "ChangeInterrupted");
    match (pool, there, attached) {
        (false, ..) => (VolumePhase::Failed, Some("PoolInactive")),
        (_, false, _) => (VolumePhase::Failed, Some("FileMissing")),
        (_, _, true) => (VolumePhase::InUse, changing),
        _ => (VolumePhase::Available, changing),
    }
}

fn unmanaged(
    name: Name,
    pool: &Pool,
    volume: &crate::libvirt::Volume,
    uses: &[DiskUse],
) -> Result<Volume, LibvirtError> {
    let definition = volume.definition()?;
    let info = volume.info()?;
    let path = volume.path()?;
    let format = match definition.format() {
        Some("qcow2") => Some(DiskFormat::Qcow2),
        Some("raw") => Some(DiskFormat::Raw),
        _ => None,
    };
    let attached_to = uses_of(uses, &path);
    Ok(Volume {
        api_version: API_VERSION.to_owned(),
        kind: "Volume".to_owned(),
        metadata: ObjectMeta::named(name),
        spec: VolumeSpec::default(),
        status: Some(VolumeStatus {
            phase: match attached_to.is_empty() {
                true => VolumePhase::Available,
                false => VolumePhase::InUse,
            },
            managed: false,
            capacity: Quantity::from_bytes(info.capacity),
            allocation: Quantity::from_bytes(info.allocation),
            format,
            pool: Some(pool.name.clone()),
            volume: Some(volume.name.clone()),
            path: Some(path),
            attached_to,
            ..VolumeStatus::default()
        }),
    })
}
