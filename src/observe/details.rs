//! What `describe` shows beside the object: disks with their chains, interfaces, seed, events.

use super::world::World;
use crate::api::{
    Described, DiskDetail, EventLevel, EventLine, InstanceDetails, Kind, NicDetail, Object,
    ObjectKey, Quantity, SeedDetail,
};
use crate::error::Result;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::{Domain, Host};
use crate::store::{EventType, InstanceRecord, SeedState, SnapshotRecord};

impl World {
    /// Looks at an object and everything around it.
    ///
    /// # Errors
    /// `NotFound`; what libvirt refuses.
    pub fn describe(&self, key: &ObjectKey) -> Result<Described> {
        let object = self.get(key)?;
        let mut described = Described::new(object);
        described.events = self.event_lines(key)?;
        match (&described.object, key.kind) {
            (Object::Instance(_), _) => described.instance = self.instance_details(key)?,
            (Object::Image(image), _) => {
                let status = image.status.clone().unwrap_or_default();
                described.location = self.path_of_image(key)?;
                described.used_by = status
                    .used_by
                    .iter()
                    .filter_map(|n| crate::api::Name::new(n.as_str()).ok())
                    .map(|name| ObjectKey::new(Kind::Instance, name))
                    .collect();
            }
            (Object::Network(network), _) => {
                let attached = network.status.iter().flat_map(|s| &s.attached);
                described.used_by = attached
                    .filter(|a| a.managed)
                    .filter_map(|a| crate::api::Name::new(a.domain.as_str()).ok())
                    .map(|name| ObjectKey::new(Kind::Instance, name))
                    .collect();
            }
            (Object::Volume(_), _) => described.used_by = self.snapshots_of(key)?,
            _ => {}
        }
        Ok(described)
    }

    /// Returns where the file of an image lies; nothing where its pool is not up.
    fn path_of_image(&self, key: &ObjectKey) -> Result<Option<String>> {
        let Some(stored) = self.stored_image(key.name.as_str())? else {
            return Ok(None);
        };
        let pool = match self.host()?.pool(&stored.pool) {
            Ok(pool) if pool.is_active()? => pool,
            Ok(_) => return Ok(None),
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let volume = pool.find_volume(stored.image.volume().as_str())?;
        Ok(volume.map(|v| v.path()).transpose()?)
    }

    /// Returns the snapshots that were taken of an object.
    fn snapshots_of(&self, key: &ObjectKey) -> Result<Vec<ObjectKey>> {
        let records: Vec<SnapshotRecord> = self.store_for_reading()?.all()?;
        let of_it = records
            .into_iter()
            .filter(|r| r.source.kind == key.kind && r.source.name == key.name);
        Ok(of_it
            .map(|r| ObjectKey::new(Kind::Snapshot, r.name))
            .collect())
    }

    fn event_lines(&self, key: &ObjectKey) -> Result<Vec<EventLine>> {
        let events = self.events(Some(key))?;
        Ok(events
            .into_iter()
            .map(|e| EventLine {
                at: e.time,
                count: 1,
                level: match e.event_type {
                    EventType::Normal => EventLevel::Normal,
                    EventType::Warning => EventLevel::Warning,
                },
                reason: e.reason,
                message: e.message,
            })
            .collect())
    }

    fn instance_details(&self, key: &ObjectKey) -> Result<Option<InstanceDetails>> {
        let host = self.host()?;
        let domain = match super::foreign::domain_named(host, &key.name) {
            Ok(domain) => domain,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let xml = domain.live()?;
        let record: Option<InstanceRecord> = self.store_for_reading()?.get(&domain.uid())?;
        let mut details = InstanceDetails {
            domain_state: Some(domain.state_in_words()?),
            disks: disks(host, &xml),
            nics: nics(&xml, record.as_ref()),
            seed: seed(&xml, record.as_ref()),
            ..InstanceDetails::default()
        };
        details.forwards = self.legs(&key.name, domain.state()?.is_active())?;
        details.host = facts(host, &domain, &xml);
        Ok(Some(details))
    }
}

fn disks(host: &Host, xml: &DomainXml) -> Vec<DiskDetail> {
    xml.hard_disks()
        .map(|disk| {
            let source = disk.path().unwrap_or_default().to_owned();
            let volume = host.volume_by_path(&source).ok();
            let info = volume.as_ref().and_then(|v| v.info().ok());
            DiskDetail {
                target: disk.target.dev.clone(),
                format: disk.format().unwrap_or("raw").to_owned(),
                capacity: info.and_then(|i| Quantity::from_bytes(i.capacity)),
                allocation: info.map(|i| i.allocation),
                chain: chain(host, &source),
                source,
            }
        })
        .collect()
}

/// The files behind a disk, the nearest first, as far as the pools know them.
pub(crate) fn chain(host: &Host, path: &str) -> Vec<String> {
    const DEEPEST: usize = 16;
    let mut chain = Vec::new();
    let mut at = path.to_owned();
    while chain.len() < DEEPEST {
        let backing = host
            .volume_by_path(&at)
            .ok()
            .and_then(|v| v.backing_path().ok().flatten());
        let Some(next) = backing else { break };
        chain.push(next.clone());
        at = next;
    }
    chain
}

fn nics(xml: &DomainXml, record: Option<&InstanceRecord>) -> Vec<NicDetail> {
    xml.devices
        .interfaces
        .iter()
        .map(|nic| {
            let mac = nic.mac().unwrap_or_default();
            let known = record
                .iter()
                .flat_map(|r| &r.nics)
                .find(|n| n.mac.to_string().eq_ignore_ascii_case(&mac));
            let ip = known.and_then(|n| n.ip);
            NicDetail {
                network: nic.network().unwrap_or("user").to_owned(),
                model: nic.model.as_ref().map(|m| m.kind.clone()),
                device: nic.target.as_ref().map(|t| t.dev.clone()),
                addresses: ip
                    .map(|ip| format!("{ip} (reservation)"))
                    .into_iter()
                    .collect(),
                mac,
            }
        })
        .collect()
}

fn seed(xml: &DomainXml, record: Option<&InstanceRecord>) -> Option<SeedDetail> {
    let state = match record?.seed {
        SeedState::Full => "full",
        SeedState::Scrubbed => "without secrets",
        SeedState::Absent => "missing",
    };
    let source = xml
        .cdrom()
        .and_then(|d| d.path())
        .unwrap_or_default()
        .to_owned();
    Some(SeedDetail {
        source,
        state: state.to_owned(),
    })
}

fn facts(host: &Host, domain: &Domain, xml: &DomainXml) -> Vec<(String, String)> {
    let mut facts = vec![("URI".to_owned(), host.uri().to_owned())];
    if let Some(machine) = &xml.os.kind.machine {
        facts.push(("Machine".to_owned(), machine.clone()));
    }
    let firmware = if xml.is_uefi() { "uefi" } else { "bios" };
    facts.push(("Firmware".to_owned(), firmware.to_owned()));
    if let Ok(on) = domain.autostart() {
        facts.push(("Autostart".to_owned(), on.to_string()));
    }
    if let Some(log) = xml.serial_log() {
        facts.push(("Serial log".to_owned(), log.to_owned()));
    }
    facts
}
