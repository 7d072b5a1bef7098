//! How forwards are: what is wanted, joined with one reading of the rules.

use super::carrier::Carrier;
use super::user_space::{Forwarded, each_port};
use super::wanted::{Astray, Origin, WantedForward, guest, listed_spec};
use crate::api::{
    API_VERSION, ForwardPhase, Kind, Name, ObjectMeta, OwnerReference, PortForward,
    PortForwardStatus,
};
use crate::error::{Error, Result};
use crate::host::firewall::{self, FirewallError, ForwardState, Health, Observation};
use crate::net::forward::Mapping;
use crate::observe::{World, not_found};
use crate::store::{ForwardRecord, IntentOp};

/// One reading of the rules.
#[derive(Debug)]
enum Reading {
    Of(Box<Observation>),
    NotPermitted(String),
    /// What QEMU itself forwards.
    UserSpace(Forwarded),
    /// Nobody could have made any.
    None(String),
}

impl World {
    /// Lists the forwards with how they are: stand-alone ones and those in the lists of instances.
    ///
    /// # Errors
    /// What the daemon, the store or the firewall refuses.
    pub fn forwards(&self) -> Result<Vec<PortForward>> {
        let wanted = self.wanted_forwards()?;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mappings: Vec<Mapping> = wanted
            .iter()
            .filter_map(|w| w.aim.as_ref().ok().cloned())
            .collect();
        let reading = self.read_rules(&wanted, &mappings)?;
        let mut states = match &reading {
            Reading::Of(seen) => seen.forwards.iter(),
            _ => [].iter(),
        };
        let object = |w: &WantedForward| {
            let state = w.aim.is_ok().then(|| states.next()).flatten();
            w.object(Some(status(w, state, &reading)))
        };
        Ok(wanted.iter().map(object).collect())
    }

    /// Looks a forward up.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn forward(&self, name: &Name) -> Result<PortForward> {
        let all = self.forwards()?;
        let named = |f: &&PortForward| f.metadata.name.as_ref() == Some(name);
        if let Some(found) = all.iter().find(named) {
            return Ok(found.clone());
        }
        let names = all
            .iter()
            .filter_map(|f| f.metadata.name.as_ref().map(Name::as_str));
        Err(not_found(Kind::PortForward, name, names))
    }

    fn read_rules(&self, wanted: &[WantedForward], mappings: &[Mapping]) -> Result<Reading> {
        let firewall = match self.carrier()? {
            Carrier::Firewall(firewall) => firewall,
            Carrier::Nothing(why) => return Ok(Reading::None(why)),
            Carrier::UserSpace => return Ok(Reading::UserSpace(self.forwarded(wanted)?)),
        };
        match firewall.observe(mappings) {
            Ok(seen) => Ok(Reading::Of(Box::new(seen))),
            Err(e @ FirewallError::NotPermitted { .. }) => {
                Ok(Reading::NotPermitted(Error::from(e).to_string()))
            }
            Err(e) => Err(e.into()),
        }
    }
}

impl WantedForward {
    /// Makes the object of it.
    pub fn object(&self, status: Option<PortForwardStatus>) -> PortForward {
        let (metadata, spec) = match &self.origin {
            Origin::Alone(record) => (meta_of(record), record.spec.clone()),
            Origin::Listed { uid, created } => (
                ObjectMeta {
                    creation_timestamp: Some(*created),
                    owner_references: vec![OwnerReference {
                        kind: Kind::Instance,
                        name: self.instance.clone(),
                        uid: *uid,
                    }],
                    ..ObjectMeta::named(self.name.clone())
                },
                listed_spec(&self.instance, &self.ports),
            ),
        };
        PortForward {
            api_version: API_VERSION.to_owned(),
            kind: "PortForward".to_owned(),
            metadata,
            spec,
            status,
        }
    }
}

fn meta_of(record: &ForwardRecord) -> ObjectMeta {
    ObjectMeta {
        labels: record.labels.clone(),
        annotations: record.annotations.clone(),
        uid: Some(record.uid),
        creation_timestamp: Some(record.created),
        generation: Some(record.generation),
        deletion_timestamp: record.deletion_timestamp,
        ..ObjectMeta::named(record.name.clone())
    }
}

fn status(
    wanted: &WantedForward,
    state: Option<&ForwardState>,
    reading: &Reading,
) -> PortForwardStatus {
    let (phase, reason, message) = judged(wanted, state, reading);
    let mapping = wanted.aim.as_ref().ok();
    let backend = match (reading, mapping) {
        (Reading::Of(seen), Some(mapping)) => seen
            .bridges
            .iter()
            .find(|b| b.bridge == mapping.segment().bridge)
            .map(|b| b.backend.to_string()),
        _ => None,
    };
    PortForwardStatus {
        phase,
        reason: reason.map(str::to_owned),
        message,
        host_port: Some(wanted.ports.host).filter(|p| *p != 0),
        target: mapping.and_then(guest),
        network: wanted.network.clone(),
        backend,
        connections: state.map(|s| s.connections),
        packets: state.map(|s| s.packets),
        // The only address of a guest that is known before it boots.
        ip_families: vec!["IPv4".to_owned()],
        observed_generation: match &wanted.origin {
            Origin::Alone(record) => Some(record.generation),
            Origin::Listed { .. } => None,
        },
    }
}

type Judgement = (ForwardPhase, Option<&'static str>, Option<String>);

/// What was begun outranks what is seen, as for instances.
fn judged(wanted: &WantedForward, state: Option<&ForwardState>, reading: &Reading) -> Judgement {
    if let Origin::Alone(record) = &wanted.origin
        && let Some(judgement) = begun(record)
    {
        return judgement;
    }
    let because = |phase, reason: &'static str, message: &str| {
        (phase, Some(reason), Some(message.to_owned()))
    };
    if let Reading::UserSpace(forwarded) = reading {
        return by_qemu(wanted, forwarded);
    }
    if let Err(Astray { reason, message }) = &wanted.aim {
        return because(ForwardPhase::Stale, reason, message);
    }
    match (reading, state.map(|s| &s.health)) {
        (Reading::NotPermitted(why), _) => because(ForwardPhase::Unknown, "NotPermitted", why),
        (Reading::UserSpace(forwarded), _) => by_qemu(wanted, forwarded),
        (Reading::None(why), _) => because(ForwardPhase::Missing, "NoFirewall", why),
        (_, Some(Health::Stale(why))) => because(ForwardPhase::Stale, "RulesDiffer", why),
        (_, Some(Health::Missing(why))) => because(ForwardPhase::Missing, "NoRules", why),
        (Reading::Of(seen), Some(Health::Active)) => match libvirt_trouble(wanted, seen) {
            Some(why) => (ForwardPhase::Stale, Some("LibvirtRulesMissing"), Some(why)),
            None => (ForwardPhase::Active, None, None),
        },
        (Reading::Of(_), None) => because(ForwardPhase::Unknown, "NotSeen", "it was not looked at"),
    }
}

/// QEMU forwards while it runs, and only what it was told since it started.
fn by_qemu(wanted: &WantedForward, forwarded: &Forwarded) -> Judgement {
    let (reason, message) = match forwarded.get(&wanted.owner()) {
        Some(there) if each_port(&wanted.ports).all(|f| there.contains(&f)) => {
            return (ForwardPhase::Active, None, None);
        }
        Some(_) => (
            "NotForwarded",
            "QEMU was not told of it: kvmctl reconcile does that",
        ),
        None => ("NotRunning", "QEMU forwards it while the instance runs"),
    };
    (
        ForwardPhase::Missing,
        Some(reason),
        Some(message.to_owned()),
    )
}

fn begun(record: &ForwardRecord) -> Option<Judgement> {
    let (phase, reason) = match record.begun? {
        IntentOp::Create => (ForwardPhase::Pending, "CreateInterrupted"),
        IntentOp::Delete => (ForwardPhase::Terminating, "DeleteInterrupted"),
        IntentOp::Update | IntentOp::Adopt => (ForwardPhase::Stale, "ChangeInterrupted"),
    };
    let (name, pid) = (&record.name, record.pid.unwrap_or_default());
    let message = format!(
        "process {pid} has not finished it; if it has ended: kvmctl reconcile, or: kvmctl delete \
         forward {name}"
    );
    Some((phase, Some(reason), Some(message)))
}

/// Without libvirt's own rules the answers of the guest may not find their way back.
fn libvirt_trouble(wanted: &WantedForward, seen: &Observation) -> Option<String> {
    let bridge = &wanted.aim.as_ref().ok()?.segment().bridge;
    let state = seen.bridges.iter().find(|b| b.bridge == *bridge)?;
    match &state.libvirt {
        firewall::LibvirtHealth::Missing(what) => Some(format!(
            "libvirt's own rules for {bridge} are gone: {what}; only this brings them back: {}",
            firewall::restart_command()
        )),
        _ => None,
    }
}
