//! The moment itself: freeze, begin, thaw.

use super::freeze::{self, Frozen};
use super::{Backup, BackupDisk, Taken};
use crate::api::{Consistency, DiskFormat, Reporter, Timestamp};
use crate::error::{Error, Result};
use crate::libvirt::xml::backup::{BackupDiskXml, BackupXml};
use crate::libvirt::xml::checkpoint::CheckpointXml;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::{Domain, LibvirtError};
use crate::observe::World;

/// What is asked of libvirt.
struct Attempt<'a> {
    backup: &'a Backup<'a>,
    live: &'a DomainXml,
    since: Option<(&'a str, CheckpointXml)>,
    checkpoint: Option<&'a str>,
}

/// Begins the job: with changes only, if they can be told; in full, if not; and without a checkpoint,
/// if none can be made.
pub(super) fn begin(
    world: &World,
    domain: &Domain,
    live: &DomainXml,
    backup: &Backup<'_>,
    reporter: &dyn Reporter,
) -> Result<Taken> {
    let mut notes = Vec::new();
    let mut attempt = Attempt {
        backup,
        live,
        since: since(domain, backup, &mut notes)?,
        checkpoint: backup.checkpoint.as_deref(),
    };
    attempt.leave_out_raw(&mut notes);
    loop {
        reporter.phase(backup.key, "beginning the backup job");
        let moment = at_once(world, domain, &attempt)?;
        match moment.begun {
            Ok(()) => {
                notes.extend(moment.notes);
                return Ok(Taken {
                    at: moment.at,
                    consistency: moment.consistency,
                    frozen_ms: moment.frozen_ms,
                    checkpoint: attempt.checkpoint.map(str::to_owned),
                    incremental: attempt.incremental().map(|d| d.name.to_owned()).collect(),
                    notes,
                });
            }
            Err(error) if error.is_unreachable() || error.is_denied() => return Err(error.into()),
            Err(error) if attempt.since.take().is_some() => {
                notes.push(format!(
                    "everything is stored: what has changed is not known any more ({})",
                    error.message()
                ));
            }
            Err(error) if attempt.checkpoint.take().is_some() => {
                notes.push(format!(
                    "the next snapshot cannot build on this one: {}",
                    error.message()
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Finds the checkpoint since which changes are enough.
fn since<'a>(
    domain: &Domain,
    backup: &'a Backup<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<(&'a str, CheckpointXml)>> {
    let Some(name) = backup.since.as_deref() else {
        return Ok(None);
    };
    let found = domain.checkpoint(name)?;
    if found.is_none() {
        notes.push(
            "everything is stored: libvirt knows no checkpoint of the earlier snapshot any more"
                .to_owned(),
        );
    }
    Ok(found.map(|checkpoint| (name, checkpoint)))
}

/// What came of an attempt.
struct Moment {
    at: Timestamp,
    begun: Result<(), LibvirtError>,
    consistency: Consistency,
    frozen_ms: Option<u64>,
    notes: Vec<String>,
}

/// Freezes, begins and thaws.
fn at_once(world: &World, domain: &Domain, attempt: &Attempt<'_>) -> Result<Moment> {
    let (backup, checkpoint) = (attempt.backup_xml(), attempt.checkpoint_xml());
    let begin = || {
        // The worst of all moments to be killed at: the guest is frozen.
        crate::engine::failpoint::boundary();
        domain.begin_backup(&backup, checkpoint.as_ref())
    };
    let wanted = attempt.backup.consistency;
    let frozen = match freeze::freeze(world, domain, attempt.live, attempt.backup)? {
        Ok(frozen) => frozen,
        Err(why) => {
            let notes = match wanted {
                Consistency::Crash => Vec::new(),
                _ => vec![format!("as after a power cut, because {why}")],
            };
            return Ok(Moment {
                at: Timestamp::now(),
                begun: begin(),
                consistency: Consistency::Crash,
                frozen_ms: None,
                notes,
            });
        }
    };
    let at = Timestamp::now();
    let (begun, thawed) = Frozen::during(frozen, begin);
    let thawed = match (thawed, &begun) {
        (Ok(thawed), _) => thawed,
        (Err(error), begun) => {
            if begun.is_ok() {
                // The guest stands still: nothing is worth going on for.
                let _ = domain.abort_job();
            }
            return Err(Error::from(error)
                .context(format!(
                    "the filesystems of {:?} could not be thawed",
                    domain.name()
                ))
                .hint(format!("virsh domfsthaw {}", domain.name())));
        }
    };
    let late = thawed.late && wanted == Consistency::Filesystem;
    if late && begun.is_ok() {
        let _ = domain.abort_job();
        return Err(Error::failed(format!(
            "libvirt took more than {} s to begin, and the guest was thawed before",
            freeze::LONGEST.as_secs()
        ))
        .hint("--consistency auto takes it all the same"));
    }
    let (consistency, notes) = match thawed.late {
        false => (Consistency::Filesystem, Vec::new()),
        true => {
            let note = "as after a power cut, because libvirt took too long to begin";
            (Consistency::Crash, vec![note.to_owned()])
        }
    };
    Ok(Moment {
        at,
        begun,
        consistency,
        frozen_ms: u64::try_from(thawed.after.as_millis()).ok(),
        notes,
    })
}

impl<'a> Attempt<'a> {
    /// Disks of which only changes are copied.
    fn incremental(&self) -> impl Iterator<Item = &BackupDisk<'a>> {
        let disks = self.backup.disks.iter();
        disks.filter(|disk| self.since_of(disk).is_some())
    }

    fn since_of(&self, disk: &BackupDisk<'_>) -> Option<&'a str> {
        let (name, checkpoint) = self.since.as_ref()?;
        let qcow2 = disk.format == DiskFormat::Qcow2;
        let known = qcow2 && disk.known && checkpoint.notes(disk.target);
        known.then_some(*name)
    }

    /// Says which disks are stored in full although changes were asked for, and makes no checkpoint
    /// where no disk could have one.
    fn leave_out_raw(&mut self, notes: &mut Vec<String>) {
        let raw = |d: &&BackupDisk<'_>| d.format != DiskFormat::Qcow2;
        if self.since.is_some() {
            for disk in self.backup.disks {
                if self.since_of(disk).is_none() {
                    let why = match raw(&disk) {
                        true => "it is raw, and nothing notes what changes in it",
                        false => "it was not part of the earlier snapshot",
                    };
                    notes.push(format!("everything of {} is stored: {why}", disk.name));
                }
            }
        }
        if self.backup.disks.iter().all(|d| raw(&d)) {
            self.checkpoint = None;
            if self.backup.since.is_some() {
                notes.push("everything is stored: nothing notes what changes in raw".to_owned());
            }
        }
    }

    fn backup_xml(&self) -> BackupXml {
        let disk = |target: &str| {
            let mut copied = self.backup.disks.iter();
            match copied.find(|d| d.target == target) {
                Some(d) => BackupDiskXml::copy(target, &d.file.to_string_lossy(), self.since_of(d)),
                None => BackupDiskXml::leave_out(target),
            }
        };
        BackupXml::push(self.live.targets().map(disk).collect())
    }

    fn checkpoint_xml(&self) -> Option<CheckpointXml> {
        let noted = self.backup.disks.iter();
        let noted = noted.filter(|d| d.format == DiskFormat::Qcow2);
        let noted: Vec<&str> = noted.map(|d| d.target).collect();
        let name = self.checkpoint?;
        Some(CheckpointXml::new(name, self.live.targets(), &noted))
    }
}
