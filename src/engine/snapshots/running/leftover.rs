//! What a run that did not come to its end left in the domain.

use std::time::{Duration, Instant};

use super::freeze::thaw_leftover;
use crate::api::Uid;
use crate::error::{Error, Result};
use crate::host::{ImagePath, QemuImg};
use crate::libvirt::{Domain, EventKind, EventWaiter, ForgetCheckpoint, JobOperation, Waited};
use crate::observe::World;

/// How long an aborted job may take to end.
const ENDING: Duration = Duration::from_secs(60);

/// Ends a job that writes one of the `staged` files, thaws the guest if a run of ours may have frozen
/// it, and removes the checkpoint. What somebody else does is left alone; a domain that is gone has
/// nothing left.
///
/// # Errors
/// What libvirt refuses.
pub(in crate::engine::snapshots) fn abandon(
    world: &World,
    domain: Uid,
    staged: &[String],
    checkpoint: Option<&str>,
    froze: bool,
) -> Result<()> {
    let host = world.host()?;
    let found = match host.domain_by_uid(domain) {
        Err(e) if e.is_not_found() => return Ok(()),
        other => other?,
    };
    if found.state()?.is_active() {
        let events = EventWaiter::new(host, [domain])?;
        end_job(&found, &events, staged)?;
        if froze {
            thaw_leftover(&found)?;
        }
    }
    match checkpoint {
        Some(name) => forget_checkpoint(world, domain, name),
        None => Ok(()),
    }
}

fn end_job(domain: &Domain, events: &EventWaiter, staged: &[String]) -> Result<()> {
    let names: Vec<&str> = staged.iter().map(String::as_str).collect();
    let deadline = Instant::now() + ENDING;
    let mut aborted = false;
    loop {
        match state(domain, &names)? {
            State::Ours if !aborted => match domain.abort_job() {
                Err(e) if !e.is_not_now() => return Err(e.into()),
                _ => aborted = true,
            },
            State::Ours | State::Changing => {
                let soon = Instant::now() + Duration::from_millis(200);
                match events.next(soon.min(deadline)) {
                    Waited::Event(e) if matches!(e.kind, EventKind::Stopped(_)) => return Ok(()),
                    _ => {}
                }
            }
            State::NotOurs => return Ok(()),
        }
        if Instant::now() >= deadline {
            return Err(Error::failed(format!(
                "the backup job of {:?} does not end",
                domain.name()
            ))
            .hint(format!("virsh domjobabort {}", domain.name())));
        }
    }
}

/// The job of a domain, as seen from one of ours.
enum State {
    Ours,
    /// It begins or ends, and does not tell whose it is. What a killed run asked of libvirt is done
    /// all the same, and may be about to begin only now.
    Changing,
    NotOurs,
}

fn state(domain: &Domain, staged: &[&str]) -> Result<State> {
    Ok(match domain.running_backup()? {
        Some(backup) if backup.writes_any(staged) => State::Ours,
        Some(_) => State::NotOurs,
        None => match domain.running_job()? {
            Some(job) if job.operation == JobOperation::Backup => State::Changing,
            _ => State::NotOurs,
        },
    })
}

/// Removes a checkpoint, with its bitmaps in the disks where somebody can: QEMU while it runs, and
/// qemu-img after, on this host.
///
/// # Errors
/// What libvirt refuses.
pub(in crate::engine::snapshots) fn forget_checkpoint(
    world: &World,
    domain: Uid,
    name: &str,
) -> Result<()> {
    let host = world.host()?;
    let domain = match host.domain_by_uid(domain) {
        Err(e) if e.is_not_found() => return Ok(()),
        other => other?,
    };
    if domain.checkpoint(name)?.is_none() {
        return Ok(());
    }
    if domain.state()?.is_active() {
        match domain.forget_checkpoint(name, ForgetCheckpoint::WithBitmaps) {
            Ok(()) => return Ok(()),
            Err(e) if e.is_unreachable() || e.is_denied() => return Err(e.into()),
            // A bitmap that is lost cannot be removed with the rest.
            Err(_) => {}
        }
        return Ok(domain.forget_checkpoint(name, ForgetCheckpoint::MetadataOnly)?);
    }
    domain.forget_checkpoint(name, ForgetCheckpoint::MetadataOnly)?;
    if host.is_local() {
        remove_bitmaps(&domain, name)?;
    }
    Ok(())
}

/// A bitmap that stays costs a little room and nothing else, so what cannot be opened is passed over.
fn remove_bitmaps(domain: &Domain, name: &str) -> Result<()> {
    let definition = domain.definition()?;
    let Ok(qemu) = QemuImg::find() else {
        return Ok(());
    };
    for disk in definition.hard_disks() {
        let qcow2 = disk.driver.as_ref().and_then(|d| d.format.as_deref()) == Some("qcow2");
        if let (true, Some(Ok(path))) = (qcow2, disk.path().map(ImagePath::new))
            && let Err(error) = qemu.remove_bitmap(&path, name)
        {
            tracing::info!(target: "host", "bitmap {name} stays in {path}: {error}");
        }
    }
    Ok(())
}
