//! The index of listings, brought up to date with the domains that exist.
//!
//! Only a domain that the index has not seen yet costs calls of its own, once: its metadata tells
//! whether it is ours, and its definition what it has.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::world::World;
use crate::api::{Accelerator, InstanceSpec, Name, PortMapping, Quantity, Timestamp, Uid};
use crate::error::Result;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::{DomainBrief, ObjectMetadata};
use crate::manifest;
use crate::store::{Index, IndexRow, InstanceRecord, NicBrief};

impl World {
    /// Returns the index, brought up to date with the domains that exist.
    pub fn index_of(&self, briefs: &[DomainBrief]) -> Result<Index> {
        let store = self.store_for_reading()?;
        let mut index = store.load_index();
        let news = self.learn(&index, briefs)?;
        if news.is_empty() {
            return Ok(index);
        }
        news.apply(&mut index);
        // A caller that may not write still sees the truth; the next one pays again.
        let _ = store.note_in_index(|stored| news.apply(stored));
        Ok(index)
    }

    fn learn(&self, index: &Index, briefs: &[DomainBrief]) -> Result<News> {
        let mut news = News::default();
        for brief in briefs {
            match index.rows.get(&brief.uid) {
                Some(row) if row.name.as_str() == brief.name => {
                    if row
                        .verdict
                        .as_ref()
                        .is_some_and(|v| v.domain_id != brief.id)
                    {
                        news.stale_verdicts.insert(brief.uid);
                    }
                }
                None if index.unmanaged.contains(&brief.uid) => {}
                _ => match self.row_of(brief)? {
                    Some(row) => news.rows.push((brief.uid, row)),
                    None => news.unmanaged.push(brief.uid),
                },
            }
        }
        news.disowned.extend(self.disowned(index, briefs)?);
        let alive: BTreeSet<Uid> = briefs.iter().map(|b| b.uid).collect();
        news.gone
            .extend(index.rows.keys().filter(|uid| !alive.contains(uid)));
        news.gone
            .extend(index.unmanaged.iter().filter(|uid| !alive.contains(uid)));
        Ok(news)
    }

    /// Looks whether the mark of ours was taken away by hand: at all domains where they are few, and
    /// else at some in turn, so that a listing costs the same whatever their number.
    fn disowned(&self, index: &Index, briefs: &[DomainBrief]) -> Result<Vec<Uid>> {
        let known = briefs.iter().map(|b| b.uid);
        let known: Vec<Uid> = known.filter(|uid| index.rows.contains_key(uid)).collect();
        let turn = usize::try_from(Timestamp::now().as_second()).unwrap_or(0);
        let first = turn.wrapping_mul(LOOKED_AT) % known.len().max(1);
        let some = known
            .iter()
            .cycle()
            .skip(first)
            .take(LOOKED_AT.min(known.len()));
        let mut disowned = Vec::new();
        for uid in some {
            match self.host()?.domain_metadata(*uid) {
                Ok(Some(metadata)) if metadata.uid == *uid => {}
                Ok(_) => disowned.push(*uid),
                // Deleted meanwhile, or not to be read now: the next listing sees it.
                Err(_) => {}
            }
        }
        Ok(disowned)
    }

    /// Asks a domain whose it is.
    fn row_of(&self, brief: &DomainBrief) -> Result<Option<IndexRow>> {
        let found = self.host()?.domain_metadata(brief.uid);
        let metadata = match found {
            Ok(metadata) => metadata,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let (Some(metadata), Ok(name)) = (metadata, Name::new(brief.name.as_str())) else {
            return Ok(None);
        };
        if metadata.uid != brief.uid {
            // A copy made with `virsh dumpxml` and another UUID carries our mark but is not ours.
            return Ok(None);
        }
        let record = self.store_for_reading()?.get(&brief.uid)?;
        Ok(Some(self.index_row(name, &metadata, record.as_ref())?))
    }
}

/// At how many domains a listing looks for the mark of ours.
const LOOKED_AT: usize = 4;

/// What the index does not know yet.
#[derive(Debug, Default)]
struct News {
    rows: Vec<(Uid, IndexRow)>,
    unmanaged: Vec<Uid>,
    gone: Vec<Uid>,
    disowned: Vec<Uid>,
    stale_verdicts: BTreeSet<Uid>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.unmanaged.is_empty()
            && self.gone.is_empty()
            && self.disowned.is_empty()
            && self.stale_verdicts.is_empty()
    }

    fn apply(&self, index: &mut Index) {
        for uid in &self.gone {
            index.rows.remove(uid);
            index.unmanaged.remove(uid);
        }
        for uid in &self.disowned {
            index.rows.remove(uid);
            index.unmanaged.insert(*uid);
        }
        for (uid, row) in &self.rows {
            index.unmanaged.remove(uid);
            index.rows.insert(*uid, row.clone());
        }
        index.unmanaged.extend(self.unmanaged.iter().copied());
        for uid in &self.stale_verdicts {
            if let Some(row) = index.rows.get_mut(uid) {
                row.verdict = None;
            }
        }
    }
}

/// What the domain of an instance has, as far as a listing shows it.
#[derive(Debug, Default)]
struct Hardware {
    cpus: Option<u32>,
    memory: Option<Quantity>,
    accelerator: Option<Accelerator>,
    console_log: Option<PathBuf>,
}

impl World {
    /// Builds the row of an instance from its metadata, its definition and, where there is one, its
    /// record.
    ///
    /// # Errors
    /// If the instance types cannot be read.
    pub fn index_row(
        &self,
        name: Name,
        metadata: &ObjectMetadata,
        record: Option<&InstanceRecord>,
    ) -> Result<IndexRow> {
        let public: Option<InstanceSpec> = metadata
            .spec
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        let spec = record
            .map(|r| r.spec.clone())
            .or(public)
            .unwrap_or_default();
        let adopted = record.is_some_and(|r| r.adopted) || metadata.extra.contains_key("adopted");
        let address = record.and_then(|r| r.nics.iter().find_map(|n| n.ip));
        let network = record
            .and_then(|r| r.nics.first().map(|n| n.network.clone()))
            .or_else(|| spec.networks.first().map(|n| n.name.clone()));
        let hardware = self.hardware(metadata.uid);
        Ok(IndexRow {
            name,
            labels: metadata.labels.clone(),
            cpus: hardware.cpus.or(spec.cpus),
            memory: hardware.memory.or(spec.memory),
            disk: self.root_size(&spec, adopted)?,
            accelerator: hardware.accelerator,
            image: spec.image,
            instance_type: spec.instance_type,
            network,
            address: address.or_else(|| metadata.extra.get("address").and_then(|a| a.parse().ok())),
            nics: nics(record),
            ports: record.map_or_else(|| ports_of(metadata), |r| r.ports.clone()),
            created: metadata.creation.unwrap_or(Timestamp::from_second(0)),
            generation: metadata.generation,
            verdict: None,
            console_log: hardware.console_log,
            console_then: None,
        })
    }

    /// Reads the definition; of a domain that is not there any more nothing is known.
    fn hardware(&self, uid: Uid) -> Hardware {
        let definition = self
            .host()
            .ok()
            .and_then(|host| host.domain_by_uid(uid).ok())
            .and_then(|domain| domain.definition().ok());
        definition.map_or_else(Hardware::default, |xml| Hardware {
            cpus: Some(xml.cpus()),
            memory: xml.memory_bytes().and_then(Quantity::from_bytes),
            accelerator: Some(accelerator_of(&xml)),
            console_log: xml.serial_log().map(PathBuf::from),
        })
    }

    /// Returns the size of the root disk that a spec comes to; nothing is known of the disks of an
    /// adopted instance.
    pub(super) fn root_size(&self, spec: &InstanceSpec, adopted: bool) -> Result<Option<Quantity>> {
        if adopted || spec.disk.is_some() {
            return Ok(spec.disk);
        }
        let name = spec
            .instance_type
            .as_deref()
            .unwrap_or(manifest::DEFAULT_TYPE);
        Ok(self.type_spec(name)?.map(|t| t.disk))
    }
}

/// Under which name a domain's metadata keeps the ports of the host that were really taken.
pub const PORTS: &str = "ports";

/// Reads the ports that a domain's metadata says were taken.
pub fn ports_of(metadata: &ObjectMetadata) -> Vec<PortMapping> {
    let text = metadata.extra.get(PORTS).map_or("", String::as_str);
    let mappings = text.split_whitespace();
    mappings.filter_map(|m| m.parse().ok()).collect()
}

fn nics(record: Option<&InstanceRecord>) -> Vec<NicBrief> {
    record.map_or_else(Vec::new, InstanceRecord::reserved)
}

/// Returns how the CPUs of a domain are run.
pub(super) fn accelerator_of(xml: &DomainXml) -> Accelerator {
    if xml.is_kvm() {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    }
}
