//! What is known of an object beside the object itself: for people who ask to have it described.

use super::meta::Timestamp;
use super::object::{Object, ObjectKey};
use super::quantity::Quantity;

/// An object with everything around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The object.
    pub object: Object,
    /// What only an instance has.
    pub instance: Option<InstanceDetails>,
    /// Volume or path where it lies on the host.
    pub location: Option<String>,
    /// The objects that refer to it.
    pub used_by: Vec<ObjectKey>,
    /// What happened to it, in any order.
    pub events: Vec<EventLine>,
}

impl Described {
    /// Describes an object of which nothing else is known.
    pub fn new(object: impl Into<Object>) -> Self {
        Self {
            object: object.into(),
            instance: None,
            location: None,
            used_by: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    /// When it happened last.
    pub at: Timestamp,
    /// How often in a row.
    pub count: u32,
    /// How it is to be taken.
    pub level: EventLevel,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// What, for a person.
    pub message: String,
}

/// How an event is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventLevel {
    /// As expected.
    Normal,
    /// Worth a look.
    Warning,
}

/// What is known of an instance. What could not be told stays empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceDetails {
    /// State of the domain as libvirt has it, with its reason: `running (booted)`.
    pub domain_state: Option<String>,
    /// What stands in the way of a deletion or of readiness.
    pub blocker: Option<String>,
    /// Disks in the order of their targets.
    pub disks: Vec<DiskDetail>,
    /// Interfaces in the order of the domain's XML.
    pub nics: Vec<NicDetail>,
    /// The seed.
    pub seed: Option<SeedDetail>,
    /// Port forwards that lead to it, each with how it is and which leg of it is broken:
    /// `*:8080/tcp -> 192.168.122.5:80: Active, the guest answers`.
    pub forwards: Vec<String>,
    /// Facts of the host: URI, machine type, firmware, serial log, in the order to be shown.
    pub host: Vec<(String, String)>,
}

/// One disk of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDetail {
    /// Target in the domain: `vda`.
    pub target: String,
    /// Volume or path.
    pub source: String,
    /// `qcow2`, `raw`.
    pub format: String,
    /// Size the guest sees.
    pub capacity: Option<Quantity>,
    /// Bytes taken on the host.
    pub allocation: Option<u64>,
    /// Files behind it, the nearest first.
    pub chain: Vec<String>,
}

/// One interface of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NicDetail {
    /// libvirt network or bridge.
    pub network: String,
    /// Hardware address.
    pub mac: String,
    /// Model: `virtio`.
    pub model: Option<String>,
    /// Device on the host: `vnet0`.
    pub device: Option<String>,
    /// Addresses with their source, as `192.168.122.5 (reservation)`.
    pub addresses: Vec<String>,
}

/// The seed of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeedDetail {
    /// Volume or path of the ISO.
    pub source: String,
    /// What is in it: `full`, `without secrets`, `missing`.
    pub state: String,
}
