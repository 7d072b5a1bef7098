//! Verdicts: what a guest said of itself, turned into what kvmctl remembers of the boot.

use std::net::{IpAddr, Ipv4Addr};

use crate::api::{ConditionStatus, ObjectKey, Timestamp, Uid};
use crate::cloudinit::serial::SerialState;
use crate::cloudinit::{Report, Verdict as Says};
use crate::error::{Error, Result};
use crate::libvirt::{Domain, ObjectMetadata};
use crate::observe::World;
use crate::store::{InstanceRecord, Verdict};

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

/// Turns a report into a verdict, once there is one.
pub(super) fn of_report(report: &Report, domain: &Domain) -> Option<Verdict> {
    let make = |ready, status: &str, reason: &str, message| {
        Some(Verdict {
            ready,
            status: Some(status.to_owned()),
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
        reason: Some(reason.to_owned()),
        message,
        domain_id: domain.run_id(),
        boot_id: None,
        since: Timestamp::now(),
    })
}

/// Takes the secrets out of the seed of a guest that is well and has `sealed` what it needs of them,
/// and writes the verdict down.
pub(super) fn settle(
    world: &World,
    key: &ObjectKey,
    domain: &Domain,
    verdict: &Verdict,
    sealed: bool,
) -> Result<()> {
    let uid = Some(domain.uid());
    let ready = verdict.ready == ConditionStatus::True;
    if ready && sealed {
        // Before the verdict, so that a run that is killed meanwhile is repeated by the next.
        if let Err(error) = scrub_seed(world, key, domain) {
            let why = format!("the seed still holds secrets: {error}");
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
    world.store()?.update_index(|index| {
        if let Some(row) = index.rows.get_mut(&uid) {
            row.verdict = Some(verdict.clone());
        }
    })?;
    Ok(())
}
