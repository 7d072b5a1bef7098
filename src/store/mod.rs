//! What libvirt cannot hold, as small YAML files: one store per host and driver, whoever calls.
//!
//! libvirt is the truth for what exists and whose it is. The store keeps the full specs (libvirt's
//! metadata, which anybody can read, has hashes of the sensitive parts), secrets, the journal, and
//! what must be known before libvirt knows anything: intents and address slots. `store rebuild`
//! brings all but secrets and events back.
//!
//! ```text
//! version.yaml                schema of the store
//! store.lock                  lock of the whole; holds the holder's pid and command
//! locks/KIND.NAME             locks of objects during long work
//! instances/UID.yaml          full specs with user-data and env, addresses, files, seed state
//! intents/UID.yaml            what was begun and has not ended
//! slots/NETWORK-UUID.yaml     who has which address slot, and since when
//! forwards/UID.yaml           stand-alone port forwards
//! balancers/UID.yaml          load balancers
//! secrets/NAME.yaml           values of Secrets
//! types/NAME.yaml             the user's own instance types
//! images/NAME.yaml            what is known of cached images
//! volumes/NAME.yaml           volumes: where each lies, in which format, what is wanted of it
//! snapshots/NAME.yaml         snapshots: of what, when, in which files
//! hosts/HOST-UUID.yaml        whether KVM really works there, per CPU
//! ssh/                        our own SSH keys
//! index.json                  what listings show: a cache, discarded when it does not parse
//! events.jsonl events.1.jsonl the journal and its predecessor
//! tmp/                        files being written; what nobody holds locked is swept
//! backup/                     copies made before a migration
//! ```
//!
//! Directories 0700 and files 0600; in a store that the libvirt group shares, 2770 and 0660.
//! Readers never lock: every file is replaced as a whole.

mod balancers;
mod beneath;
mod error;
pub mod events;
pub mod file;
mod firewall_lock;
mod forwards;
mod host;
pub mod index;
mod instance;
mod intent;
pub mod lock;
mod open;
mod parsed;
mod records;
mod shared;
mod slots;
mod snapshot;
mod values;
mod version;
mod volume;
mod yaml;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{Kind, Name, Uid};

pub use balancers::{AppliedBalancer, BalancerRecord, Reach, TargetName};
pub use error::{Result, StoreError};
pub use events::{Event, EventType};
pub use firewall_lock::FirewallLock;
pub use forwards::{AppliedForward, ForwardRecord};
pub use host::{HostRecord, KvmVerdict};
pub use index::{ConsoleMark, Index, IndexRow, NicBrief, Updated, Verdict};
pub use instance::{InstanceRecord, LastApplied, NicRecord, SeedState};
pub use intent::{Intent, IntentOp, SwapRecord};
pub use lock::{Holder, ObjectLock, StoreLock};
pub use records::{Annotations, AppliedMeta, FileRecord, Labels};
pub use shared::{group_id, make_shared};
pub use slots::{SlotTable, SlotUse};
pub use snapshot::{IN_LIBVIRT, SIDECAR, STORED, SnapshotDiskRecord, SnapshotRecord};
pub use values::{SecretRecord, TypeRecord, is_built_in};
pub use version::SCHEMA;
pub use volume::VolumeRecord;
pub use yaml::Contents;

use file::{Dir, Durability};

/// How long a command waits for others that hold the store. Nobody holds it for long, but no queue is
/// kept: with many at once on a busy machine, one of them may be unlucky for a while.
pub const STORE_WAIT: Duration = Duration::from_secs(60);

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Looking only: takes no lock, makes nothing; a store that does not exist is empty.
    Read,
    /// Changing: the store is made where it does not exist, and must be writable.
    Write,
}

/// A store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    access: Access,
    /// Nothing, when a store that does not exist was opened for reading.
    dir: Option<Dir>,
}

impl Store {
    /// Returns when the directories were last written to: another answer than before says that some
    /// record was made, changed or removed. Costs a few microseconds.
    pub fn stamp(&self) -> Vec<Option<std::time::SystemTime>> {
        let written = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
        let within = std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten();
        let dirs = within.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        let mut dirs: Vec<PathBuf> = dirs.map(|e| e.path()).collect();
        dirs.sort();
        dirs.push(self.path.clone());
        dirs.iter().map(|dir| written(dir)).collect()
    }
}

/// What may name a file: only what cannot hold a slash or begin with a dot.
pub trait RecordKey: Display {}
impl RecordKey for Uid {}
impl RecordKey for Name {}

/// Something that has a YAML file of its own.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Directory of its files.
    const DIR: &'static str;
    /// Whether a message about a damaged file may quote it.
    const CONTENTS: Contents = Contents::Plain;
    /// What its file is named after.
    type Key: RecordKey;
    /// Returns the key; it must be what the file says.
    fn key(&self) -> Self::Key;
}

impl Store {
    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether there is a store at all.
    pub const fn exists(&self) -> bool {
        self.dir.is_some()
    }

    fn writable(&self) -> Result<&Dir> {
        match (&self.dir, self.access) {
            (Some(dir), Access::Write) => Ok(dir),
            (None, _) => Err(StoreError::Missing(self.path.clone())),
            (_, Access::Read) => Err(StoreError::ReadOnly {
                doing: "write",
                path: self.path.clone(),
            }),
        }
    }

    /// Locks the whole store, for as long as a few files that belong together take.
    ///
    /// # Errors
    /// [`StoreError::Busy`] with the holder after `wait`.
    pub fn lock(&self, wait: Duration) -> Result<StoreLock> {
        StoreLock::acquire(self.writable()?, wait)
    }

    /// Locks one object for long work; `name` may be one that is not ours.
    ///
    /// # Errors
    /// [`StoreError::Busy`] with the holder after `wait`.
    pub fn lock_object(&self, kind: Kind, name: &str, wait: Duration) -> Result<ObjectLock<'_>> {
        ObjectLock::acquire(self.writable()?, &format!("{kind}/{name}"), wait)
    }

    /// Returns whether somebody works on an object at this moment.
    pub fn is_locked(&self, kind: Kind, name: &str) -> bool {
        self.is_held(&format!("{kind}/{name}"))
    }

    fn is_held(&self, what: &str) -> bool {
        let dir = self.dir.as_ref();
        dir.is_some_and(|dir| lock::is_held(dir, what))
    }

    /// Reads a record; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it does not parse or is another one's.
    pub fn get<T: Record>(&self, key: &T::Key) -> Result<Option<T>> {
        match &self.dir {
            Some(dir) => read_record(dir, &key.to_string()),
            None => Ok(None),
        }
    }

    /// Lists the keys of all records of a kind, without reading one.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn keys<T: Record>(&self) -> Result<Vec<String>> {
        let Some(dir) = &self.dir else {
            return Ok(Vec::new());
        };
        let names = dir.list(T::DIR)?;
        let keys = names.iter().filter_map(|n| n.strip_suffix(".yaml"));
        Ok(keys.map(str::to_owned).collect())
    }

    /// Reads all records of a kind, in the order of their keys.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn all<T: Record>(&self) -> Result<Vec<T>> {
        let (records, mut bad) = self.scan()?;
        match bad.is_empty() {
            true => Ok(records),
            false => Err(bad.remove(0)),
        }
    }

    /// Reads all records of a kind and gives the damaged ones apart, for listings.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn scan<T: Record>(&self) -> Result<(Vec<T>, Vec<StoreError>)> {
        let (mut records, mut bad) = (Vec::new(), Vec::new());
        let Some(dir) = &self.dir else {
            return Ok((records, bad));
        };
        for name in dir.list(T::DIR)? {
            let Some(key) = name.strip_suffix(".yaml") else {
                continue;
            };
            match read_record(dir, key) {
                // One that has gone since the directory was read is gone.
                Ok(record) => records.extend(record),
                Err(e) => bad.push(e),
            }
        }
        Ok((records, bad))
    }

    /// Writes a record, as a whole or not at all.
    ///
    /// A file that is there and does not parse is left as it is, and the write refused.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], or what the system says.
    pub fn put<T: Record>(&self, record: &T) -> Result<()> {
        let dir = self.writable()?;
        let key = record.key().to_string();
        let _: Option<T> = read_record(dir, &key)?;
        dir.write_yaml(&rel::<T>(&key), record)
    }

    /// Removes a record; returns whether there was one.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove<T: Record>(&self, key: &T::Key) -> Result<bool> {
        self.writable()?.remove(&rel::<T>(&key.to_string()))
    }

    /// Reads a file of `ssh/` as it is; `None` when there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn ssh_file(&self, name: &'static str) -> Result<Option<Vec<u8>>> {
        match &self.dir {
            Some(dir) => dir.read(&format!("ssh/{name}")),
            None => Ok(None),
        }
    }

    /// Writes a file of `ssh/` and returns its path.
    ///
    /// # Errors
    /// What the system says.
    pub fn put_ssh_file(&self, name: &'static str, bytes: &[u8]) -> Result<PathBuf> {
        let dir = self.writable()?;
        let rel = format!("ssh/{name}");
        dir.write(&rel, bytes, Durability::Power)?;
        Ok(dir.full(&rel))
    }

    /// Finds the records of instances that were made with a name: several, where domains were renamed
    /// by hand.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn instances_named(&self, name: &Name) -> Result<Vec<InstanceRecord>> {
        let mut all = self.all::<InstanceRecord>()?;
        all.retain(|record| record.name == *name);
        Ok(all)
    }
}

fn rel<T: Record>(key: &str) -> String {
    format!("{}/{key}.yaml", T::DIR)
}

fn read_record<T: Record>(dir: &Dir, key: &str) -> Result<Option<T>> {
    let rel = rel::<T>(key);
    let record: Option<T> = dir.read_record(&rel, T::CONTENTS)?;
    match record {
        Some(record) if record.key().to_string() != key => {
            Err(dir.damaged(&rel, format!("it is the record of {}", record.key())))
        }
        record => Ok(record),
    }
}

#[cfg(test)]
mod concurrency_tests;
#[cfg(test)]
mod tests;
