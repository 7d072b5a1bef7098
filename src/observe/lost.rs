//! Instances whose domain was undefined by somebody else: the store knows them and libvirt does not.

use std::collections::BTreeSet;

use super::instance::of_record;
use super::phase::ready_condition;
use super::world::World;
use crate::api::{Instance, InstanceStatus, Name, Phase, Uid};
use crate::error::Result;
use crate::libvirt::Domain;
use crate::store::InstanceRecord;

/// Why such an instance is Failed.
const REASON: &str = "DomainMissing";

impl World {
    /// Returns the identities of which there are records, without reading one.
    pub(super) fn recorded(&self) -> Result<BTreeSet<Uid>> {
        let keys = self.store_for_reading()?.keys::<InstanceRecord>()?;
        Ok(keys.iter().filter_map(|k| k.parse().ok()).collect())
    }

    /// Returns those of the candidates that are lost. Whoever creates or deletes one meanwhile has
    /// written so down before.
    pub(super) fn lost<'u>(
        &self,
        candidates: impl Iterator<Item = &'u Uid>,
    ) -> Result<Vec<Instance>> {
        let candidates: Vec<&Uid> = candidates.collect();
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let begun = self.intents()?;
        let store = self.store_for_reading()?;
        let mut lost = Vec::new();
        for uid in candidates {
            if begun.contains_key(uid) {
                continue;
            }
            lost.extend(store.get::<InstanceRecord>(uid)?.as_ref().map(lost_one));
        }
        Ok(lost)
    }

    /// Looks a lost instance up by its name.
    pub(super) fn lost_named(&self, name: &Name) -> Result<Option<Instance>> {
        Ok(self.lost_record(name)?.as_ref().map(lost_one))
    }

    /// Returns the record of an instance whose domain is nowhere. A domain that was renamed by hand is
    /// somewhere: its instance goes by the new name, and what belongs to it is no remnant.
    ///
    /// # Errors
    /// What the store or libvirt refuses.
    pub(crate) fn lost_record(&self, name: &Name) -> Result<Option<InstanceRecord>> {
        for record in self.store_for_reading()?.instances_named(name)? {
            if self.domain_of(record.uid)?.is_none() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Returns the domain with an identity, whatever its name.
    ///
    /// # Errors
    /// What libvirt refuses.
    pub(crate) fn domain_of(&self, uid: Uid) -> Result<Option<Domain>> {
        match self.host()?.domain_by_uid(uid) {
            Ok(domain) => Ok(Some(domain)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn lost_one(record: &InstanceRecord) -> Instance {
    let mut instance = of_record(record);
    let name = &record.name;
    let files: Vec<&str> = record.files.iter().map(|f| f.volume.as_str()).collect();
    let left = match files.is_empty() {
        true => "it was adopted, its disks are where they were".to_owned(),
        false => format!("what may be left of it: {}", files.join(", ")),
    };
    let mut ready = ready_condition(Phase::Failed, Some(REASON), None);
    let message = format!(
        "the domain was removed by hand; {left}; to remove the rest: kvmctl delete instance {name}"
    );
    ready.message = Some(message.clone());
    instance.status = Some(InstanceStatus {
        phase: Phase::Failed,
        reason: Some(REASON.to_owned()),
        message: Some(message),
        managed: true,
        address: record.nics.iter().find_map(|n| n.ip),
        addresses: Vec::new(),
        conditions: vec![ready],
        accelerator: None,
        cpus: None,
        memory: None,
        disk: None,
        cloud_init: None,
        observed_generation: None,
    });
    instance
}
