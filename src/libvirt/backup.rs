//! Backup jobs: QEMU copies disks as they were at one moment while the guest goes on writing.

use std::path::Path;

use super::domain::Domain;
use super::error::LibvirtError;
use super::ffi;
use super::ffi::stats::Value;
use super::xml::backup::BackupXml;
use super::xml::checkpoint::CheckpointXml;

/// A job that runs on a domain as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningJob {
    /// What it does.
    pub operation: JobOperation,
    /// Bytes of disks that are done.
    pub done: u64,
    /// Bytes of disks in all.
    pub total: u64,
}

/// What a job does (virDomainJobOperation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOperation {
    /// It starts.
    Start,
    /// It is saved or restored.
    Save,
    /// It moves to another host.
    Migration,
    /// A snapshot is taken, loaded or deleted.
    Snapshot,
    /// Its memory is dumped.
    Dump,
    /// Its disks are copied.
    Backup,
    /// Something else, or libvirt does not say.
    Other,
}

impl JobOperation {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Save => "save",
            Self::Migration => "migration",
            Self::Snapshot => "snapshot",
            Self::Dump => "dump",
            Self::Backup => "backup",
            Self::Other => "job",
        }
    }

    const fn from_raw(operation: i128) -> Self {
        match operation {
            1 => Self::Start,
            2 | 3 => Self::Save,
            4 | 5 => Self::Migration,
            6 | 7 | 10 => Self::Snapshot,
            8 => Self::Dump,
            9 => Self::Backup,
            _ => Self::Other,
        }
    }
}

impl Domain {
    /// Begins a backup of the moment of this call and, with it, a checkpoint of the same moment. The job
    /// goes on in QEMU and ends with [`super::EventKind::BackupEnded`].
    ///
    /// # Errors
    /// [`super::Cause::NotNow`] when it does not run, [`super::Cause::Busy`] when another job does; what
    /// the driver refuses.
    pub fn begin_backup(
        &self,
        backup: &BackupXml,
        checkpoint: Option<&CheckpointXml>,
    ) -> Result<(), LibvirtError> {
        let backup = ffi::backup::c_text(&backup.to_xml()?);
        let checkpoint = checkpoint.map(CheckpointXml::to_xml).transpose()?;
        let checkpoint = checkpoint.as_deref().map(ffi::backup::c_text);
        self.ask("virDomainBackupBegin", "begin a backup of", |raw| {
            ffi::backup::begin(raw, &backup, checkpoint.as_deref())
        })
    }

    /// Returns the backup that runs, if one does.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn running_backup(&self) -> Result<Option<BackupXml>, LibvirtError> {
        let told = self.ask(
            "virDomainBackupGetXMLDesc",
            "look for a backup of",
            ffi::backup::description,
        );
        match told {
            Ok(text) => Ok(Some(BackupXml::from_xml(&text)?)),
            // VIR_ERR_NO_DOMAIN_BACKUP, or nothing that could have one.
            Err(e) if e.is_not_found() || e.is_not_now() || e.is_no_support() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Ends the job that runs on it. The caller has seen that the job is his.
    ///
    /// # Errors
    /// [`super::Cause::NotNow`] when none runs.
    pub fn abort_job(&self) -> Result<(), LibvirtError> {
        self.ask("virDomainAbortJob", "end the job of", ffi::backup::abort)
    }

    /// Returns the job that runs on it as a whole, if one does.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn running_job(&self) -> Result<Option<RunningJob>, LibvirtError> {
        let told = self.ask("virDomainGetJobStats", "look for a job of", |raw| {
            ffi::backup::job(raw, false)
        });
        let (sort, params) = match told {
            Err(e) if e.is_not_now() || e.is_no_support() => return Ok(None),
            other => other?,
        };
        let number = |key: &str| match params.get(key) {
            Some(Value::Number(n)) => *n,
            _ => 0,
        };
        let bytes = |key: &str| u64::try_from(number(key)).unwrap_or(0);
        // VIR_DOMAIN_JOB_NONE; what has ended is told only when asked for.
        Ok((sort != 0).then(|| RunningJob {
            operation: JobOperation::from_raw(number("operation")),
            done: bytes("disk_processed"),
            total: bytes("disk_total"),
        }))
    }

    /// Returns why the last job failed, where libvirt tells.
    pub fn last_job_error(&self) -> Option<String> {
        let told = self.ask("virDomainGetJobStats", "look for a job of", |raw| {
            ffi::backup::job(raw, true)
        });
        match told.ok()?.1.remove("errmsg") {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Returns the sort of the job that runs on a disk, if one does: commit, copy, pull…
    ///
    /// # Errors
    /// When there is no such disk, or it does not run.
    pub fn block_job(&self, target: &str) -> Result<Option<&'static str>, LibvirtError> {
        let disk = ffi::backup::c_text(target);
        let sort = self.ask(
            "virDomainGetBlockJobInfo",
            "look for a block job of",
            |raw| ffi::backup::block_job(raw, &disk),
        )?;
        // virDomainBlockJobType
        Ok(sort.map(|sort| match sort {
            1 => "block pull",
            2 => "block copy",
            3 | 4 => "block commit",
            5 => "backup",
            _ => "block job",
        }))
    }
}

impl BackupXml {
    /// Returns whether the job writes one of these files.
    pub fn writes_any(&self, names: &[&str]) -> bool {
        let of = |file| Path::new(file).file_name().and_then(|n| n.to_str());
        self.files()
            .filter_map(of)
            .any(|written| names.contains(&written))
    }
}
