//! `snapshots create [NAME]`.

use clap::Args;

use super::forward::labels;
use crate::api::{API_VERSION, Consistency, Name, ObjectMeta, Snapshot, SnapshotSpec, Timestamp};
use crate::error::{Error, Result};

/// Flags that describe a snapshot.
#[derive(Debug, Clone, Args)]
pub(crate) struct SnapshotArgs {
    /// Name of the snapshot; that of the source with the time when nothing is said
    #[arg(value_name = "NAME")]
    name: Option<Name>,
    /// Take it of this volume
    #[arg(
        long,
        value_name = "VOLUME",
        required_unless_present = "instance",
        conflicts_with = "instance"
    )]
    volume: Option<Name>,
    /// Take it of all disks of this instance, at one moment
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<Name>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What state the file systems must be in: auto, crash or filesystem
    #[arg(long, value_name = "STATE")]
    consistency: Option<Consistency>,
    /// Store only what has changed since this snapshot of the same source, where QEMU can tell
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "memory")]
    base: Option<Name>,
    /// Keep the guest's memory too, within its disks, for `instances revert`
    #[arg(long, conflicts_with = "volume")]
    memory: bool,
    /// Keep only the newest N of those that were taken with --retain
    #[arg(long, value_name = "N")]
    retain: Option<u32>,
    /// Label (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    label: Vec<String>,
}

impl SnapshotArgs {
    /// Builds the Snapshot that the flags describe.
    ///
    /// # Errors
    /// Usage errors that name the flag.
    pub(crate) fn object(&self) -> Result<Snapshot> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self.dated()?,
        };
        Ok(Snapshot {
            api_version: API_VERSION.to_owned(),
            kind: "Snapshot".to_owned(),
            metadata: ObjectMeta {
                labels: labels(&self.label, "--label")?,
                ..ObjectMeta::named(name)
            },
            spec: SnapshotSpec {
                volume: self.volume.clone(),
                instance: self.instance.clone(),
                description: self.description.clone(),
                consistency: self.consistency,
                base: self.base.clone(),
                memory: self.memory.then_some(true),
                retain: self.retain,
            },
            status: None,
        })
    }

    /// The source's name and the time, as `data-20240501t100000z`: jobs that run by the clock need a
    /// new name each time.
    fn dated(&self) -> Result<Name> {
        let source = self.volume.as_ref().or(self.instance.as_ref());
        let source = source.map_or("", Name::as_str);
        let time = Timestamp::now().to_string().to_ascii_lowercase();
        let time: String = time.chars().filter(char::is_ascii_alphanumeric).collect();
        Name::new(format!("{source}-{time}").as_str())
            .map_err(|e| Error::usage(format!("NAME is needed here: {e}")))
    }
}
