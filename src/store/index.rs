//! What listings show, in one file, so that a listing of 1000 instances reads one file and not 1000.
//!
//! A cache: every row is checked by uid against what libvirt says, and an index that does not parse
//! is an empty one. JSON, because it parses ten times as fast as YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{
    Accelerator, ConditionStatus, LabelKey, LabelValue, Name, PortMapping, Quantity, Timestamp, Uid,
};

use super::error::Result;
use super::file::{Dir, Durability};
use super::lock::StoreLock;
use super::{Access, STORE_WAIT, Store};

const FILE: &str = "index.json";

/// The shape of the index; one of another shape is discarded.
const SHAPE: u32 = 4;

/// How long a listing, which could do without, waits for its turn to write.
const READER_WAIT: Duration = Duration::from_millis(50);

/// The index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    shape: u32,
    /// One row for each of our instances.
    pub rows: BTreeMap<Uid, IndexRow>,
    /// Domains that were looked at and are not ours, so that they are not looked at again.
    #[serde(default)]
    pub unmanaged: BTreeSet<Uid>,
    /// Names of our networks, for completion, which opens no connection.
    #[serde(default)]
    pub networks: BTreeMap<Uid, Name>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            shape: SHAPE,
            rows: BTreeMap::new(),
            unmanaged: BTreeSet::new(),
            networks: BTreeMap::new(),
        }
    }
}

/// What a listing shows of an instance beside its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexRow {
    /// Name.
    pub name: Name,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Image, as the spec names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Instance type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Number of virtual CPUs that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Size of the root disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Quantity>,
    /// How its CPUs are run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// First network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Reserved address in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Its interfaces that have a reserved address, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<NicBrief>,
    /// Its `spec.ports`, with the ports of the host that were really taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// When it was made.
    pub created: Timestamp,
    /// Generation of its spec.
    pub generation: u64,
    /// What was last known of its readiness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The file on the daemon's host that its serial console is written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_log: Option<PathBuf>,
    /// How that file was when the guest last said that the boot of the verdict runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_then: Option<ConsoleMark>,
}

/// How a file stood at a moment: another length or time says that something was written since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleMark {
    /// Its length in bytes.
    pub length: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified: u64,
}

/// An interface with a reserved address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NicBrief {
    /// libvirt network.
    pub network: String,
    /// The address.
    pub ip: Ipv4Addr,
}

/// What was last known of an instance's readiness; of one boot only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether it is ready.
    pub ready: ConditionStatus,
    /// What cloud-init said of itself: `done`, `error`…
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The stage that runs, while it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Why, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// libvirt's id of the running domain: another id is another boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_id: Option<u32>,
    /// The guest's boot id, which a restart of the domain's process alone does not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// What became of a change of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// It was written.
    Written,
    /// There was nothing to change.
    Unchanged,
    /// The caller, a reader, has no permission or no patience; the next one will do it.
    Skipped,
}

impl Store {
    /// Reads the index; one that is missing, unreadable or of another shape is empty.
    pub fn load_index(&self) -> Index {
        self.dir.as_ref().map(load).unwrap_or_default()
    }

    /// Changes the index under the store's lock.
    ///
    /// A store that was opened for reading tries, and does without.
    ///
    /// # Errors
    /// What the system says, and [`super::StoreError::Busy`], to writers.
    pub fn update_index(&self, change: impl FnOnce(&mut Index)) -> Result<Updated> {
        let reader = self.access == Access::Read;
        let Some(dir) = &self.dir else {
            return Ok(Updated::Skipped);
        };
        let wait = if reader { READER_WAIT } else { STORE_WAIT };
        let updated = dir
            .check_writable()
            .and_then(|()| StoreLock::acquire(dir, wait))
            .and_then(|lock| update(dir, &lock, change));
        match updated {
            Err(e) if reader && e.is_refusal_to_write() => Ok(Updated::Skipped),
            done => done,
        }
    }

    /// Notes what somebody who only looked has learnt, if the lock is free: whoever looks may hold it
    /// already, and the next one learns it again.
    pub fn note_in_index(&self, change: impl FnOnce(&mut Index)) -> Updated {
        let wait = match self.access {
            Access::Read => READER_WAIT,
            Access::Write => Duration::ZERO,
        };
        let Some(dir) = &self.dir else {
            return Updated::Skipped;
        };
        let updated = dir
            .check_writable()
            .and_then(|()| StoreLock::acquire(dir, wait))
            .and_then(|lock| update(dir, &lock, change));
        updated.unwrap_or(Updated::Skipped)
    }

    /// Changes the index under a lock that the caller holds already.
    ///
    /// # Errors
    /// What the system says.
    pub fn update_index_locked(
        &self,
        lock: &StoreLock,
        change: impl FnOnce(&mut Index),
    ) -> Result<Updated> {
        update(self.writable()?, lock, change)
    }
}

fn load(dir: &Dir) -> Index {
    let parsed = dir
        .read(FILE)
        .ok()
        .flatten()
        .and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
    parsed
        .filter(|index| index.shape == SHAPE)
        .unwrap_or_default()
}

fn update(dir: &Dir, _lock: &StoreLock, change: impl FnOnce(&mut Index)) -> Result<Updated> {
    let before = load(dir);
    let mut after = before.clone();
    change(&mut after);
    if after == before {
        return Ok(Updated::Unchanged);
    }
    let bytes = serde_json::to_vec(&after).map_err(|e| dir.damaged(FILE, e.to_string()))?;
    dir.write(FILE, &bytes, Durability::Process)?;
    Ok(Updated::Written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u32) -> IndexRow {
        IndexRow {
            name: Name::new(format!("web-{n}")).unwrap(),
            labels: BTreeMap::from([(
                LabelKey::new("app").unwrap(),
                LabelValue::new("shop").unwrap(),
            )]),
            image: Some("debian-12".to_owned()),
            instance_type: Some("t2.micro".to_owned()),
            cpus: Some(1),
            memory: Some(Quantity::mib(1024)),
            disk: Some(Quantity::gib(8)),
            accelerator: Some(Accelerator::Kvm),
            network: Some("default".to_owned()),
            address: Some(Ipv4Addr::from(0x0ace_0000 + n)),
            nics: vec![NicBrief {
                network: "default".to_owned(),
                ip: Ipv4Addr::from(0x0ace_0000 + n),
            }],
            ports: vec!["8080:80".parse().unwrap()],
            created: Timestamp::from_second(1_790_000_000),
            generation: 1,
            verdict: Some(Verdict {
                ready: ConditionStatus::True,
                status: Some("done".to_owned()),
                stage: None,
                reason: Some("CloudInitDone".to_owned()),
                message: None,
                domain_id: Some(n),
                boot_id: Some(format!("7c21e0b2-92a5-4a2a-8d3c-{n:012x}")),
                since: Timestamp::from_second(1_790_000_060),
            }),
            console_log: Some(format!("/pool/web-{n}.7c21e0b2.serial.log").into()),
            console_then: Some(ConsoleMark {
                length: u64::from(n),
                modified: 1_790_000_070_000_000_000,
            }),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(tmp.path().join("s"), Access::Write).unwrap();
        (tmp, store)
    }

    #[test]
    fn what_is_written_is_read_and_an_equal_index_is_not_written() {
        let (_tmp, store) = store();
        let uid = Uid::random();
        let insert = |index: &mut Index| {
            index.rows.insert(uid, row(1));
        };
        assert_eq!(store.update_index(insert).unwrap(), Updated::Written);
        assert_eq!(store.update_index(insert).unwrap(), Updated::Unchanged);
        // Whoever looks while the lock is held, by the same run even, does not wait for it.
        let lock = store.lock(STORE_WAIT).unwrap();
        let begin = std::time::Instant::now();
        assert_eq!(store.note_in_index(|i| i.rows.clear()), Updated::Skipped);
        assert!(begin.elapsed() < STORE_WAIT / 10);
        drop(lock);
        assert_eq!(store.load_index().rows[&uid], row_like(&store, uid));
    }

    fn row_like(store: &Store, uid: Uid) -> IndexRow {
        let bytes = std::fs::read(store.path().join(FILE)).unwrap();
        let mut index: Index = serde_json::from_slice(&bytes).unwrap();
        index.rows.remove(&uid).unwrap()
    }

    #[test]
    fn a_damaged_or_foreign_index_is_empty_and_replaced() {
        let (_tmp, store) = store();
        for bad in [&b"{"[..], b"", b"{\"shape\":999,\"rows\":{}}", b"\xff\xfe"] {
            std::fs::write(store.path().join(FILE), bad).unwrap();
            assert_eq!(store.load_index(), Index::default());
        }
        let uid = Uid::random();
        store
            .update_index(|ix| {
                ix.unmanaged.insert(uid);
            })
            .unwrap();
        assert!(store.load_index().unmanaged.contains(&uid));
    }

    #[test]
    fn a_reader_writes_where_it_may_and_gives_up_where_it_has_to_wait() {
        let (_tmp, store) = store();
        let reader = Store::open(store.path(), Access::Read).unwrap();
        let note = |ix: &mut Index| {
            ix.unmanaged.insert(Uid::random());
        };
        assert_eq!(reader.update_index(note).unwrap(), Updated::Written);
        let held = store.lock(Duration::ZERO).unwrap();
        assert_eq!(reader.update_index(note).unwrap(), Updated::Skipped);
        assert_eq!(
            store.update_index_locked(&held, note).unwrap(),
            Updated::Written
        );
        drop(held);
        let nowhere = Store::open(store.path().join("none"), Access::Read).unwrap();
        assert_eq!(nowhere.update_index(note).unwrap(), Updated::Skipped);
    }

    /// 3 ms in a release build; the bound leaves room for a debug build on a busy machine.
    #[test]
    fn a_thousand_rows_load_in_a_moment() {
        let (_tmp, store) = store();
        store
            .update_index(|index| {
                for n in 0..1000 {
                    index.rows.insert(Uid::random(), row(n));
                }
            })
            .unwrap();
        let best = (0..5)
            .map(|_| {
                let begin = std::time::Instant::now();
                let store = Store::open(store.path(), Access::Read).unwrap();
                assert_eq!(store.load_index().rows.len(), 1000);
                begin.elapsed()
            })
            .min()
            .unwrap();
        assert!(best < Duration::from_millis(250), "{best:?}");
    }
}
