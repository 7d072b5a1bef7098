//! Listing instances: a few bulk calls, whatever the number of domains.
//!
//! One call gives every domain's name, UUID and state; the store's index mirrors the rest of what a
//! table shows, checked by UUID. What the store has a record of and libvirt has no domain for is
//! listed too: it was undefined by hand, and its disks may still be there.

use std::collections::{BTreeMap, BTreeSet};

use super::foreign::unmanaged;
use super::instance::pending;
use super::phase::{Begun, phase_of, ready_condition};
use super::world::{Depth, Scope, World};
use crate::api::{
    API_VERSION, Instance, InstanceSpec, InstanceStatus, Kind, NetworkAttachment, ObjectMeta, Uid,
};
use crate::error::Result;
use crate::libvirt::DomainBrief;
use crate::store::{IndexRow, Intent};

impl World {
    /// Lists instances.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn instances(&self, scope: Scope, depth: Depth) -> Result<Vec<Instance>> {
        // In this order: whose record is there and whose making had ended has a domain.
        let recorded = self.recorded()?;
        let intents = self.intents()?;
        let briefs = self.briefs()?;
        let index = self.index_of(&briefs)?;
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
        for (uid, begun) in &intents {
            if seen.contains(uid) {
                continue;
            }
            seen.insert(*uid);
            listed.push(pending(self, begun)?);
        }
        listed.extend(self.lost(recorded.difference(&seen))?);
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
        self.begun(Kind::Instance)
    }

    /// Returns the intents on objects of a kind by identity.
    pub(crate) fn begun(&self, kind: Kind) -> Result<BTreeMap<Uid, Begun>> {
        let store = self.store_for_reading()?;
        let intents: Vec<Intent> = store.all()?;
        let ours = intents.into_iter().filter(|i| i.kind == kind);
        let mut begun = BTreeMap::new();
        for intent in ours {
            let working = store.is_locked(intent.kind, intent.name.as_str());
            // Whoever let the lock go in between may have ended what was begun.
            if !working && store.get::<Intent>(&intent.uid)?.is_none() {
                continue;
            }
            begun.insert(intent.uid, Begun { intent, working });
        }
        Ok(begun)
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
            accelerator: row.accelerator,
            cpus: row.cpus,
            memory: row.memory,
            disk: row.disk,
            cloud_init: None,
            observed_generation: Some(row.generation),
        }),
    }
}
