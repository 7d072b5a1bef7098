//! Listing instances: a few bulk calls, whatever the number of domains.
//!
//! One call gives every domain's name, UUID and state; the store's index mirrors the rest of what a
//! table shows, checked by UUID. Only a domain that the index has not seen yet costs a call of its
//! own, once: its metadata tells whether it is ours.

use std::collections::{BTreeMap, BTreeSet};

use super::instance::{instance_of_record, pending};
use super::phase::{Begun, phase_of, ready_condition};
use super::world::{Depth, Scope, World};
use crate::api::{
    API_VERSION, Instance, InstanceSpec, InstanceStatus, Kind, Name, NetworkAttachment, ObjectMeta,
    Uid,
};
use crate::error::Result;
use crate::libvirt::{DomainBrief, ObjectMetadata};
use crate::store::{Index, IndexRow, Intent};

impl World {
    /// Lists instances.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn instances(&self, scope: Scope, depth: Depth) -> Result<Vec<Instance>> {
        let briefs = self.briefs()?;
        let index = self.index_of(&briefs)?;
        let intents = self.intents()?;
        let mut listed = Vec::with_capacity(briefs.len());
        let mut seen = BTreeSet::new();
        for brief in &briefs {
            seen.insert(brief.uid);
            match (index.rows.get(&brief.uid), depth) {
                (Some(_), Depth::Whole) => listed.extend(self.whole(brief)?),
                (Some(row), Depth::Listing) => {
                    listed.push(from_row(brief, row, intents.get(&brief.uid)));
                }
                (None, _) if scope == Scope::All => listed.extend(unmanaged(brief)),
                (None, _) => {}
            }
        }
        // What was begun and has no domain yet, or has none any more.
        let halves = intents.iter().filter(|(uid, _)| !seen.contains(uid));
        for (_, begun) in halves {
            listed.push(pending(self, begun)?);
        }
        Ok(listed)
    }

    /// Counts the domains that are not ours.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn unmanaged(&self) -> Result<usize> {
        let briefs = self.briefs()?;
        let index = self.index_of(&briefs)?;
        Ok(briefs
            .iter()
            .filter(|b| !index.rows.contains_key(&b.uid))
            .count())
    }

    fn briefs(&self) -> Result<Vec<DomainBrief>> {
        Ok(self.host()?.domain_briefs()?)
    }

    /// Returns the intents on instances by identity.
    pub(crate) fn intents(&self) -> Result<BTreeMap<Uid, Begun>> {
        let store = self.store_for_reading()?;
        let intents: Vec<Intent> = store.all()?;
        let ours = intents.into_iter().filter(|i| i.kind == Kind::Instance);
        let begun = ours.map(|intent| {
            let working = store.is_locked(intent.kind, intent.name.as_str());
            (intent.uid, Begun { intent, working })
        });
        Ok(begun.collect())
    }

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
        let _ = store.update_index(|stored| news.apply(stored));
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
        let alive: BTreeSet<Uid> = briefs.iter().map(|b| b.uid).collect();
        news.gone
            .extend(index.rows.keys().filter(|uid| !alive.contains(uid)));
        news.gone
            .extend(index.unmanaged.iter().filter(|uid| !alive.contains(uid)));
        Ok(news)
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
        Ok(Some(index_row(name, &metadata, record.as_ref())))
    }
}

/// What the index does not know yet.
#[derive(Debug, Default)]
struct News {
    rows: Vec<(Uid, IndexRow)>,
    unmanaged: Vec<Uid>,
    gone: Vec<Uid>,
    stale_verdicts: BTreeSet<Uid>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.unmanaged.is_empty()
            && self.gone.is_empty()
            && self.stale_verdicts.is_empty()
    }

    fn apply(&self, index: &mut Index) {
        for uid in &self.gone {
            index.rows.remove(uid);
            index.unmanaged.remove(uid);
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

/// Builds the row of an instance from its metadata and, where there is one, its record.
pub fn index_row(
    name: Name,
    metadata: &ObjectMetadata,
    record: Option<&crate::store::InstanceRecord>,
) -> IndexRow {
    let public: Option<InstanceSpec> = metadata
        .spec
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    let spec = record
        .map(|r| r.spec.clone())
        .or(public)
        .unwrap_or_default();
    let address = record.and_then(|r| r.nics.iter().find_map(|n| n.ip));
    let network = record
        .and_then(|r| r.nics.first().map(|n| n.network.clone()))
        .or_else(|| spec.networks.first().map(|n| n.name.clone()));
    IndexRow {
        name,
        labels: metadata.labels.clone(),
        image: spec.image,
        instance_type: spec.instance_type,
        cpus: spec.cpus,
        memory: spec.memory,
        disk: spec.disk,
        network,
        address: address.or_else(|| metadata.extra.get("address").and_then(|a| a.parse().ok())),
        created: metadata
            .creation
            .unwrap_or(crate::api::Timestamp::from_second(0)),
        generation: metadata.generation,
        verdict: None,
    }
}

fn from_row(brief: &DomainBrief, row: &IndexRow, begun: Option<&Begun>) -> Instance {
    let verdict = row.verdict.as_ref().filter(|v| v.domain_id == brief.id);
    let (phase, reason) = phase_of(brief.state, begun, verdict);
    let networks = row.network.iter().map(|name| NetworkAttachment {
        name: name.clone(),
        ip: None,
        mac: None,
        model: None,
    });
    Instance {
        api_version: API_VERSION.to_owned(),
        kind: "Instance".to_owned(),
        metadata: ObjectMeta {
            name: Some(row.name.clone()),
            labels: row.labels.clone(),
            uid: Some(brief.uid),
            creation_timestamp: Some(row.created),
            generation: Some(row.generation),
            deletion_timestamp: begun.and_then(|b| b.intent.deletion_timestamp),
            ..ObjectMeta::default()
        },
        spec: InstanceSpec {
            image: row.image.clone(),
            instance_type: row.instance_type.clone(),
            cpus: row.cpus,
            memory: row.memory,
            disk: row.disk,
            networks: networks.collect(),
            ..InstanceSpec::default()
        },
        status: Some(InstanceStatus {
            phase,
            reason: reason.clone(),
            message: begun.and_then(Begun::message),
            managed: true,
            address: row.address,
            addresses: Vec::new(),
            conditions: vec![ready_condition(phase, reason.as_deref(), verdict)],
            accelerator: None,
            cpus: row.cpus,
            memory: row.memory,
            cloud_init: None,
            observed_generation: Some(row.generation),
        }),
    }
}

/// A domain that is not ours, as far as a listing shows it.
fn unmanaged(brief: &DomainBrief) -> Option<Instance> {
    // A name that is none of ours cannot be addressed by kvmctl; virsh can.
    let name = Name::new(brief.name.as_str()).ok()?;
    let mut instance = instance_of_record(name, brief.uid, InstanceSpec::default());
    let (phase, reason) = phase_of(brief.state, None, None);
    instance.status = Some(InstanceStatus {
        phase,
        reason: reason.clone(),
        message: None,
        managed: false,
        address: None,
        addresses: Vec::new(),
        conditions: vec![ready_condition(phase, reason.as_deref(), None)],
        accelerator: None,
        cpus: None,
        memory: None,
        cloud_init: None,
        observed_generation: None,
    });
    Some(instance)
}
