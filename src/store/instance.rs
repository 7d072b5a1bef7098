//! The record of an instance.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::index::NicBrief;
use super::records::{Annotations, FileRecord, Labels};
use super::{Contents, Record};
use crate::api::{InstanceSpec, MaskKey, Name, PortMapping, Timestamp, Uid};
use crate::net::Mac;

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
