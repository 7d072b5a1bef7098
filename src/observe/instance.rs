//! Looking at one instance: its record, its domain, and, where it is booting, what the guest says.

use super::addresses::addresses;
use super::foreign;
use super::index::accelerator_of;
use super::phase::{Begun, phase_of, ready_condition};
use super::world::{World, not_found};
use crate::api::{
    API_VERSION, CloudInitStatus, Condition, ConditionStatus, Instance, InstanceSpec,
    InstanceStatus, Kind, Name, ObjectMeta, Phase, Quantity, Uid,
};
use crate::error::Result;
use crate::libvirt::{Domain, DomainBrief, ObjectMetadata};
use crate::manifest;
use crate::store::{InstanceRecord, Verdict};

impl World {
    /// Looks an instance up by name, managed or not.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn instance(&self, name: &Name) -> Result<Instance> {
        let intents = self.intents()?;
        let begun = intents.into_values().find(|b| b.intent.name == *name);
        match foreign::domain_named(self.host()?, name) {
            Ok(domain) => {
                self.instance_of_domain(&domain, begun.filter(|b| b.intent.uid == domain.uid()))
            }
            Err(e) if e.is_not_found() => match begun {
                Some(begun) => pending(self, &begun),
                None => {
                    if let Some(lost) = self.lost_named(name)? {
                        return Ok(lost);
                    }
                    let briefs = self.host()?.domain_briefs()?;
                    Err(not_found(
                        Kind::Instance,
                        name,
                        briefs.iter().map(|b| b.name.as_str()),
                    ))
                }
            },
            Err(e) => Err(e.into()),
        }
    }

    /// Looks at the domain of a listing's line; nothing if it has gone in the meantime.
    pub(super) fn whole(&self, brief: &DomainBrief) -> Result<Option<Instance>> {
        let begun = self.intents()?.remove(&brief.uid);
        match self.host()?.domain_by_uid(brief.uid) {
            Ok(domain) => self.instance_of_domain(&domain, begun).map(Some),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn instance_of_domain(&self, domain: &Domain, begun: Option<Begun>) -> Result<Instance> {
        let uid = domain.uid();
        let metadata = domain.metadata_config()?.filter(|m| m.uid == uid);
        let record: Option<InstanceRecord> = match &metadata {
            Some(_) => self.store_for_reading()?.get(&uid)?,
            None => None,
        };
        let verdict = self.verdict_of(domain)?;
        let name = foreign::name_of(domain.name(), uid)
            .ok_or_else(|| crate::error::Error::failed(format!("{uid} is no name")))?;
        let mut instance = match (&record, &metadata) {
            (Some(record), _) => of_record(record),
            (None, Some(metadata)) => of_metadata(name.clone(), metadata),
            (None, None) => instance_of_record(name.clone(), uid, InstanceSpec::default()),
        };
        // A domain that was renamed by hand keeps its files, and goes by its new name.
        instance.metadata.name = Some(name);
        instance.metadata.deletion_timestamp =
            begun.as_ref().and_then(|b| b.intent.deletion_timestamp);
        instance.status =
            Some(self.status(domain, record.as_ref(), metadata.as_ref(), begun, verdict)?);
        Ok(instance)
    }

    fn status(
        &self,
        domain: &Domain,
        record: Option<&InstanceRecord>,
        metadata: Option<&ObjectMetadata>,
        begun: Option<Begun>,
        verdict: Option<Verdict>,
    ) -> Result<InstanceStatus> {
        let state = domain.state()?;
        let (phase, reason) = phase_of(state, begun.as_ref(), verdict.as_ref());
        let xml = domain.live()?;
        let addresses = addresses(record, metadata, domain, state.is_active());
        let address = addresses.iter().find_map(|a| match a.address {
            std::net::IpAddr::V4(ip) => Some(ip),
            std::net::IpAddr::V6(_) => None,
        });
        let disk = match record {
            Some(record) => self.root_size(&record.spec, record.adopted)?,
            None => None,
        };
        let message = begun
            .and_then(|b| b.message())
            .or_else(|| verdict.as_ref().and_then(|v| v.message.clone()))
            .or_else(|| foreign::advice(domain.name()));
        let booting = match (&verdict, metadata) {
            (None, Some(_)) => self.booting(domain),
            _ => None,
        };
        Ok(InstanceStatus {
            phase,
            reason: reason.clone(),
            message,
            managed: metadata.is_some(),
            address,
            addresses,
            conditions: match metadata {
                Some(_) => conditions(phase, reason.as_deref(), verdict.as_ref()),
                None => vec![foreign::ready_of(phase, reason.as_deref())],
            },
            accelerator: Some(accelerator_of(&xml)),
            cpus: Some(xml.cpus()),
            memory: xml.memory_bytes().and_then(Quantity::from_bytes),
            disk,
            cloud_init: cloud_init(verdict.as_ref().or(booting.as_ref())),
            observed_generation: metadata.map(|m| m.generation),
        })
    }

    /// Returns how far a guest without a verdict has come, as it said when it was last asked.
    fn booting(&self, domain: &Domain) -> Option<Verdict> {
        let run = domain.run_id()?;
        let mut index = self.store_for_reading().ok()?.load_index();
        let told = index.rows.remove(&domain.uid())?.verdict?;
        (told.domain_id == Some(run) && told.stage.is_some()).then_some(told)
    }

    /// Returns the verdict on this run of a domain: it stands in the live metadata, and is gone when
    /// the domain stops.
    ///
    /// # Errors
    /// What libvirt refuses.
    pub fn verdict_of(&self, domain: &Domain) -> Result<Option<Verdict>> {
        let Some(run) = domain.run_id() else {
            return Ok(None);
        };
        let live = match domain.metadata_live() {
            Ok(live) => live,
            Err(e) if e.is_not_now() || e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let text = live.and_then(|m| m.verdict);
        let verdict: Option<Verdict> = text.and_then(|t| serde_json::from_str(&t).ok());
        Ok(verdict.filter(|v| v.domain_id == Some(run)))
    }
}

fn conditions(phase: Phase, reason: Option<&str>, verdict: Option<&Verdict>) -> Vec<Condition> {
    let mut conditions = vec![ready_condition(phase, reason, verdict)];
    if let Some(verdict) = verdict {
        let done = verdict.ready == ConditionStatus::True;
        let status = if done {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        };
        let mut booted = Condition::new(
            "CloudInitDone",
            status,
            verdict.reason.as_deref().unwrap_or("Done"),
        );
        booted.last_transition_time = Some(verdict.since);
        conditions.push(booted);
    }
    conditions
}

fn cloud_init(verdict: Option<&Verdict>) -> Option<CloudInitStatus> {
    let verdict = verdict?;
    let failed = verdict.ready == ConditionStatus::False;
    let errors = verdict.message.iter().filter(|_| failed);
    // Only the reporter knows which boot it speaks of.
    let source = match verdict.boot_id {
        Some(_) => "reporter",
        None => "serial",
    };
    let status = verdict.status.clone();
    Some(CloudInitStatus {
        status: status.unwrap_or_else(|| "unknown".to_owned()),
        stage: verdict.stage.clone(),
        errors: errors
            .flat_map(|m| m.split("; ").map(str::to_owned))
            .collect(),
        source: Some(source.to_owned()),
    })
}

/// An instance that was begun and has no domain.
pub(super) fn pending(world: &World, begun: &Begun) -> Result<Instance> {
    let intent = &begun.intent;
    let record = world
        .store_for_reading()?
        .get::<InstanceRecord>(&intent.uid)?;
    let mut instance = match &record {
        Some(record) => of_record(record),
        None => instance_of_record(intent.name.clone(), intent.uid, InstanceSpec::default()),
    };
    let (phase, reason) = phase_of(crate::libvirt::DomainState::Off, Some(begun), None);
    instance.metadata.deletion_timestamp = intent.deletion_timestamp;
    instance.status = Some(InstanceStatus {
        phase,
        reason: reason.clone(),
        message: begun.message(),
        managed: true,
        address: intent.nics.iter().find_map(|n| n.ip),
        addresses: Vec::new(),
        conditions: vec![ready_condition(phase, reason.as_deref(), None)],
        accelerator: None,
        cpus: None,
        memory: None,
        disk: None,
        cloud_init: None,
        observed_generation: None,
    });
    Ok(instance)
}

/// Builds an instance without status. What is observed is for screens: user-data is masked.
pub(super) fn instance_of_record(name: Name, uid: Uid, spec: InstanceSpec) -> Instance {
    Instance {
        api_version: API_VERSION.to_owned(),
        kind: "Instance".to_owned(),
        metadata: ObjectMeta {
            uid: Some(uid),
            ..ObjectMeta::named(name)
        },
        spec: manifest::printable(spec),
        status: None,
    }
}

pub(super) fn of_record(record: &InstanceRecord) -> Instance {
    let mut instance = instance_of_record(record.name.clone(), record.uid, record.spec.clone());
    instance.metadata.labels = record.labels.clone();
    instance.metadata.annotations = record.annotations.clone();
    instance.metadata.creation_timestamp = Some(record.created);
    instance.metadata.generation = Some(record.generation);
    instance
}

fn of_metadata(name: Name, metadata: &ObjectMetadata) -> Instance {
    let spec = metadata
        .spec
        .as_deref()
        .and_then(|t| serde_json::from_str(t).ok());
    let mut instance = instance_of_record(name, metadata.uid, spec.unwrap_or_default());
    instance.metadata.labels = metadata.labels.clone();
    instance.metadata.annotations = metadata.annotations.clone();
    instance.metadata.creation_timestamp = metadata.creation;
    instance.metadata.generation = Some(metadata.generation);
    instance
}
