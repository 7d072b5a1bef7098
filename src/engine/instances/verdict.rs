//! Verdicts: what a guest said of itself, turned into what kvmctl remembers of the boot.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::api::{ConditionStatus, ObjectKey, Timestamp, Uid};
use crate::cloudinit::serial::SerialState;
use crate::cloudinit::{Report, Verdict as Says};
use crate::error::{Error, Result};
use crate::libvirt::{Domain, ObjectMetadata};
use crate::observe::World;
use crate::store::{InstanceRecord, SeedState, Updated, Verdict};

use super::metadata::{note, warn};
use super::scrub::scrub_seed;

/// Returns the address that was reserved for an instance.
pub(super) fn reserved(world: &World, uid: Uid) -> Result<Option<Ipv4Addr>> {
    let record = world.store_for_reading()?.get::<InstanceRecord>(&uid)?;
    Ok(record.and_then(|r| r.nics.iter().find_map(|n| n.ip)))
}

/// Returns whether the guest has the address that was reserved for it, where one was.
pub(super) fn addressed(reserved: Option<Ipv4Addr>, report: &Report) -> bool {
    let has = |ip| {
        report
            .nics
            .iter()
            .any(|nic| nic.addresses.contains(&IpAddr::V4(ip)))
    };
    reserved.is_none_or(has)
}

/// Returns the address that a guest says it has: the one reserved for it, or any where none was.
pub(super) fn address_of(reserved: Option<Ipv4Addr>, report: &Report) -> Option<IpAddr> {
    let has = report.nics.iter().flat_map(|nic| &nic.addresses);
    let mut has = has.copied().filter(IpAddr::is_ipv4);
    has.find(|ip| reserved.is_none_or(|reserved| *ip == IpAddr::V4(reserved)))
}

/// Lets others know which stage of its boot a guest is in; returns whether that is news.
///
/// # Errors
/// What the store refuses.
pub(super) fn remember_stage(world: &World, domain: &Domain, report: &Report) -> Result<bool> {
    let Says::Running { stage } = &report.verdict else {
        return Ok(false);
    };
    let booting = Verdict {
        ready: ConditionStatus::Unknown,
        status: Some("running".to_owned()),
        stage: Some(stage.to_string()),
        reason: Some("Booting".to_owned()),
        message: None,
        domain_id: domain.run_id(),
        boot_id: Some(report.boot_id.clone()),
        since: Timestamp::now(),
    };
    remember(world, domain, &booting)
}

/// Writes a verdict into the listing; returns whether it is news there.
///
/// # Errors
/// What the store refuses.
pub(super) fn remember(world: &World, domain: &Domain, verdict: &Verdict) -> Result<bool> {
    let uid = domain.uid();
    let updated = world.store()?.update_index(|index| {
        let Some(row) = index.rows.get_mut(&uid) else {
            return;
        };
        let same = |known: &Verdict| {
            Verdict {
                since: known.since,
                ..verdict.clone()
            } == *known
        };
        if !row.verdict.as_ref().is_some_and(same) {
            row.verdict = Some(verdict.clone());
        }
    })?;
    Ok(updated == Updated::Written)
}

/// Turns a report into a verdict, once there is one.
pub(super) fn of_report(report: &Report, domain: &Domain) -> Option<Verdict> {
    let make = |ready, status: &str, reason: &str, message| {
        Some(Verdict {
            ready,
            status: Some(status.to_owned()),
            stage: None,
            reason: Some(reason.to_owned()),
            message,
            domain_id: domain.run_id(),
            boot_id: Some(report.boot_id.clone()),
            since: Timestamp::now(),
        })
    };
    match &report.verdict {
        Says::Running { .. } => None,
        Says::Failed { errors } => {
            let text = errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            make(
                ConditionStatus::False,
                "error",
                "CloudInitFailed",
                Some(text),
            )
        }
        Says::Done => make(ConditionStatus::True, "done", "CloudInitDone", None),
        Says::Disabled => make(
            ConditionStatus::False,
            "disabled",
            "CloudInitDisabled",
            Some("cloud-init is switched off in this image".to_owned()),
        ),
    }
}

/// Turns what the serial console of a guest without a reporter shows into a verdict, once its boot is
/// over.
pub(super) fn of_serial(state: &SerialState, domain: &Domain) -> Option<Verdict> {
    let (ready, status, reason, message) = match state {
        SerialState::Finished { .. } => (ConditionStatus::True, "done", "CloudInitDone", None),
        SerialState::Failed { errors } => {
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let told = Some(told.join("; "));
            (ConditionStatus::False, "error", "CloudInitFailed", told)
        }
        SerialState::NoCloudInit => {
            let why = "the guest came up and cloud-init never spoke: the image has none";
            let why = Some(why.to_owned());
            (ConditionStatus::False, "absent", "NoCloudInit", why)
        }
        SerialState::Silent | SerialState::Booting { .. } | SerialState::Crashed { .. } => {
            return None;
        }
    };
    Some(Verdict {
        ready,
        status: Some(status.to_owned()),
        stage: None,
        reason: Some(reason.to_owned()),
        message,
        domain_id: domain.run_id(),
        boot_id: None,
        since: Timestamp::now(),
    })
}

/// Takes the secrets out of the seed of a guest that is well and has kept what it needs of them, and
/// writes the verdict down. `sealed` is whether it has, as far as its reporter said it; elsewhere its
/// agent is asked.
pub(super) fn settle(
    world: &World,
    key: &ObjectKey,
    domain: &Domain,
    verdict: &Verdict,
    sealed: Option<bool>,
) -> Result<()> {
    let uid = Some(domain.uid());
    let ready = verdict.ready == ConditionStatus::True;
    if ready && seed_is_full(world, domain)? {
        // Before the verdict, so that a run that is killed meanwhile is repeated by the next.
        let why = match sealed.unwrap_or_else(|| has_sealed(domain)) {
            true => scrub_seed(world, key, domain).err().map(|e| e.to_string()),
            false => Some("the guest has not said that it kept what later boots need".to_owned()),
        };
        if let Some(why) = why {
            let why = format!("the seed still holds what it was made with, secrets too: {why}");
            warn(world, key, uid, "SeedNotScrubbed", &why);
        }
    }
    record_verdict(world, domain, verdict)?;
    if ready {
        note(world, key, uid, "Ready", "cloud-init finished well");
    } else {
        let reason = verdict.reason.as_deref().unwrap_or("NotReady");
        let message = verdict.message.as_deref().unwrap_or_default();
        warn(world, key, uid, reason, message);
    }
    Ok(())
}

fn seed_is_full(world: &World, domain: &Domain) -> Result<bool> {
    let record = world
        .store_for_reading()?
        .get::<InstanceRecord>(&domain.uid())?;
    Ok(record.is_some_and(|r| r.seed == SeedState::Full))
}

/// Asks a guest whose reporter is silent whether our part of its first boot has done all its work.
fn has_sealed(domain: &Domain) -> bool {
    let file = crate::cloudinit::sealed_file(&domain.uid());
    let argv = ["test".to_owned(), "-e".to_owned(), file];
    domain.agent_answers()
        && domain
            .agent_exec(&argv, &[], Duration::from_secs(5))
            .is_ok_and(|done| done.code == 0)
}

/// Returns a verdict as the outcome of waiting for Ready.
pub(super) fn as_result(key: &ObjectKey, verdict: &Verdict) -> Result<()> {
    if verdict.ready == ConditionStatus::True {
        return Ok(());
    }
    let reason = verdict.reason.as_deref().unwrap_or("NotReady");
    let error = Error::failed(format!("{key} is not Ready: {reason}"));
    let causes = verdict.message.iter().flat_map(|m| m.split("; "));
    let hint = format!("kvmctl logs {} --cloud-init", key.name);
    Err(causes.fold(error, |e, cause| e.caused_by(cause)).hint(hint))
}

/// Writes the verdict into the live metadata, where it goes with the run, and into the listing.
fn record_verdict(world: &World, domain: &Domain, verdict: &Verdict) -> Result<()> {
    let uid = domain.uid();
    let text = serde_json::to_string(verdict)
        .map_err(|e| Error::failed("cannot write the verdict").caused_by(e))?;
    if let Some(metadata) = domain.metadata_live()?.filter(|m| m.uid == uid) {
        domain.set_metadata_live(&ObjectMetadata {
            verdict: Some(text),
            ..metadata
        })?;
    }
    remember(world, domain, verdict).map(drop)
}
