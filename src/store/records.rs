//! The records: what the store's files say.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::api::{
    Cidr, InstanceSpec, Kind, LabelKey, LabelValue, MaskKey, Name, PortMapping, Timestamp, Uid,
};
use crate::net::Mac;

use super::index::NicBrief;
use super::{Contents, Record};

/// Labels of an object.
pub type Labels = BTreeMap<LabelKey, LabelValue>;
/// Annotations of an object.
pub type Annotations = BTreeMap<LabelKey, String>;

/// All of an instance that libvirt's metadata, which anybody can read, must not or cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceRecord {
    /// Its identity, the UUID of its domain.
    pub uid: Uid,
    /// Its name, the domain's.
    pub name: Name,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// Counts the changes of the spec.
    pub generation: u64,
    /// When it was made or adopted.
    pub created: Timestamp,
    /// The whole spec, with user-data and the values of env.
    pub spec: InstanceSpec,
    /// What was last applied, before defaults were filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied: Option<LastApplied>,
    /// SHA-256 of the image that its root disk is an overlay of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_sha256: Option<String>,
    /// The files that are its own and go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRecord>,
    /// Its interfaces, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<NicRecord>,
    /// Its `spec.ports`, in order, with the ports of the host that were really taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Public SSH host key that it was given, in the form of `known_hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_host_key: Option<String>,
    /// User whom SSH logs in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<String>,
    /// What its seed medium holds now.
    #[serde(default)]
    pub seed: SeedState,
    /// Whether it was adopted: made by others, without a seed of ours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The key of what stands in public for its secrets; none where the store was lost and nothing
    /// told the key, so that what is known by its hash only cannot be compared. A record of before
    /// there were keys gets one.
    #[serde(default = "new_key")]
    pub mask_key: Option<MaskKey>,
    /// When its deletion was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
}

fn new_key() -> Option<MaskKey> {
    Some(MaskKey::random())
}

impl InstanceRecord {
    /// Returns its interfaces that have a reserved address, in order.
    pub fn reserved(&self) -> Vec<NicBrief> {
        let brief = |nic: &NicRecord| {
            let network = nic.network.clone();
            nic.ip.map(|ip| NicBrief { network, ip })
        };
        self.nics.iter().filter_map(brief).collect()
    }
}

impl Record for InstanceRecord {
    const DIR: &'static str = "instances";
    const CONTENTS: Contents = Contents::Secret;
    type Key = Uid;
    fn key(&self) -> Uid {
        self.uid
    }
}

/// The manifest as it was last applied, for three-way merges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastApplied {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// The spec.
    pub spec: InstanceSpec,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRecord {
    /// Its storage pool.
    pub pool: String,
    /// Its name there, as `web.1a2b3c4d.qcow2`.
    pub volume: String,
}

/// An interface with its reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NicRecord {
    /// libvirt network; `user` for user-mode networking.
    pub network: String,
    /// UUID of that network, which names its table of slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_uid: Option<Uid>,
    /// Hardware address.
    pub mac: Mac,
    /// Reserved address; none where the network has no DHCP of libvirt's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// Whether the reservation is one of the network's slots, which stays when the instance goes.
    #[serde(default)]
    pub slot: bool,
}

/// What the seed medium of an instance holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SeedState {
    /// There is none.
    #[default]
    Absent,
    /// All of it, secrets too: the guest has not been Ready yet.
    Full,
    /// Only the instance-id, so that the guest does not take itself for a new one.
    Scrubbed,
}

/// What is being done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IntentOp {
    /// It is being made.
    Create,
    /// It is being changed.
    Update,
    /// It is being deleted.
    Delete,
    /// It is being taken over from others.
    Adopt,
}

/// What was begun: written before the first side effect, removed after the last.
///
/// Whoever finds one whose object nobody holds locked finishes the work or takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// Identity of the object.
    pub uid: Uid,
    /// What is done.
    pub op: IntentOp,
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object.
    pub name: Name,
    /// When it was begun.
    pub started: Timestamp,
    /// Process that began it.
    pub pid: u32,
    /// Files that are made or removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRecord>,
    /// Interfaces whose addresses are reserved or given back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<NicRecord>,
    /// Whether ports of the host that lead to it are taken or given back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ports: bool,
    /// Range that a new network takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// Volumes that an instance had, or was about to have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Name>,
    /// Files that take the place of others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swaps: Vec<SwapRecord>,
    /// Instances that were stopped for it and are started at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<Name>,
    /// Name of the step that was last begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it stands still, for a person; never a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When deletion was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
}

/// A file that takes the place of another one in the same pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwapRecord {
    /// The file that is replaced.
    pub disk: FileRecord,
    /// Name of the new file.
    pub new: String,
    /// Name that the old file is kept under; it goes where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

impl Record for Intent {
    const DIR: &'static str = "intents";
    type Key = Uid;
    fn key(&self) -> Uid {
        self.uid
    }
}

impl Intent {
    /// Makes an intent of this process that plans nothing yet.
    pub fn new(op: IntentOp, kind: Kind, name: Name, uid: Uid) -> Self {
        let now = Timestamp::now();
        Self {
            uid,
            op,
            kind,
            name,
            started: now,
            pid: std::process::id(),
            files: Vec::new(),
            nics: Vec::new(),
            ports: false,
            cidr: None,
            volumes: Vec::new(),
            swaps: Vec::new(),
            restart: Vec::new(),
            step: None,
            message: None,
            deletion_timestamp: (op == IntentOp::Delete).then_some(now),
        }
    }
}

/// Who has which address of a network; changed only under the store's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlotTable {
    /// UUID of the network.
    pub network: Uid,
    /// Name of the network, for people.
    pub name: String,
    /// Addresses that have ever been given out.
    #[serde(default)]
    pub addresses: BTreeMap<Ipv4Addr, SlotUse>,
}

/// The state of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlotUse {
    /// Instance that has it; nobody when it was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Since when.
    pub since: Timestamp,
}

impl Record for SlotTable {
    const DIR: &'static str = "slots";
    type Key = Uid;
    fn key(&self) -> Uid {
        self.network
    }
}

impl SlotTable {
    /// Makes the table of a network that has given out nothing.
    pub fn new(network: Uid, name: impl Into<String>) -> Self {
        Self {
            network,
            name: name.into(),
            addresses: BTreeMap::new(),
        }
    }

    /// Returns the addresses in use and by whom.
    pub fn used(&self) -> impl Iterator<Item = (Ipv4Addr, Uid)> + '_ {
        self.addresses
            .iter()
            .filter_map(|(ip, slot)| Some((*ip, slot.uid?)))
    }

    /// Returns when each address was last given out or back, for the longest unused to be found.
    pub fn last_used(&self) -> BTreeMap<Ipv4Addr, Timestamp> {
        self.addresses
            .iter()
            .map(|(ip, slot)| (*ip, slot.since))
            .collect()
    }

    /// Gives an address to an instance.
    pub fn give(&mut self, ip: Ipv4Addr, uid: Uid) {
        let since = Timestamp::now();
        let uid = Some(uid);
        self.addresses.insert(ip, SlotUse { uid, since });
    }

    /// Takes one address of an instance back; what another has by now stays.
    pub fn take_back_one(&mut self, ip: Ipv4Addr, uid: Uid) {
        let since = Timestamp::now();
        if let Some(slot) = self.addresses.get_mut(&ip)
            && slot.uid == Some(uid)
        {
            *slot = SlotUse { uid: None, since };
        }
    }

    /// Takes every address of an instance back; returns whether it had one.
    pub fn take_back(&mut self, uid: Uid) -> bool {
        let since = Timestamp::now();
        let mut had = false;
        for slot in self.addresses.values_mut() {
            if slot.uid == Some(uid) {
                *slot = SlotUse { uid: None, since };
                had = true;
            }
        }
        had
    }
}

/// Whether KVM really runs a guest on a host with a certain CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KvmVerdict {
    /// CPU model, as libvirt's capabilities name it.
    pub cpu: String,
    /// Whether a Linux kernel printed its first line.
    pub works: bool,
    /// Why, for a person.
    pub reason: String,
    /// When it was tried.
    pub when: Timestamp,
    /// QEMU that tried it, as `10.0.2`.
    pub qemu_version: String,
}

/// What is known of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostRecord {
    /// UUID of the host, from libvirt's capabilities.
    pub host: Uid,
    /// Verdicts, one for each CPU that it has been seen with.
    #[serde(default)]
    pub kvm: Vec<KvmVerdict>,
}

impl Record for HostRecord {
    const DIR: &'static str = "hosts";
    type Key = Uid;
    fn key(&self) -> Uid {
        self.host
    }
}

impl super::Store {
    /// Returns the verdict on KVM for a host as it is now; none when its CPU is another one.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn kvm_verdict(&self, host: Uid, cpu: &str) -> super::Result<Option<KvmVerdict>> {
        let record = self.get::<HostRecord>(&host)?;
        Ok(record.and_then(|r| r.kvm.into_iter().find(|v| v.cpu == cpu)))
    }

    /// Remembers a verdict on KVM in place of an older one for the same CPU.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_kvm_verdict(&self, host: Uid, verdict: KvmVerdict) -> super::Result<()> {
        let _lock = self.lock(super::STORE_WAIT)?;
        let mut record = self.get::<HostRecord>(&host)?.unwrap_or(HostRecord {
            host,
            kvm: Vec::new(),
        });
        record.kvm.retain(|v| v.cpu != verdict.cpu);
        record.kvm.push(verdict);
        self.put(&record)
    }

    /// Changes the table of a network's slots; the lock proves that nobody else does.
    ///
    /// # Errors
    /// What `change` says, or when the store cannot be read or written; nothing is changed then.
    pub fn update_slots<R, E: From<super::StoreError>>(
        &self,
        _lock: &super::StoreLock,
        network: Uid,
        name: &str,
        change: impl FnOnce(&mut SlotTable) -> Result<R, E>,
    ) -> Result<R, E> {
        let before = self.get::<SlotTable>(&network)?;
        let mut table = before
            .clone()
            .unwrap_or_else(|| SlotTable::new(network, name));
        let done = change(&mut table)?;
        if before.as_ref() != Some(&table) {
            self.put(&table)?;
        }
        Ok(done)
    }
}
