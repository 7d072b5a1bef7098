//! The objects kvmctl speaks of, as pure data.
//!
//! Everything here is parsed once and valid for ever: a [`Name`] cannot hold a newline, a
//! [`Quantity`] cannot be negative. No module below does I/O, and none knows clap, libvirt or the
//! store, so that every other layer may depend on this one.

mod cidr;
mod condition;
mod details;
mod forward;
mod image;
mod instance;
mod instance_type;
mod kind;
mod load_balancer;
mod mask;
mod meta;
mod name;
mod network;
mod object;
mod port;
mod quantity;
mod report;
mod secret;
mod snapshot;
mod span;
mod volume;

pub use cidr::{AddressRange, Cidr, Cidr6, InvalidCidr};
pub use condition::{Condition, ConditionStatus};
pub use details::{
    Described, DiskDetail, EventLevel, EventLine, InstanceDetails, NicDetail, SeedDetail,
};
pub use forward::{ForwardPhase, PortForward, PortForwardSpec, PortForwardStatus};
pub use image::{DiskFormat, Image, ImageSpec, ImageStatus};
pub use instance::{
    Accelerator, AddressSource, AddressStatus, CloudInitStatus, EnvVar, EnvVarSource, Firmware,
    Instance, InstanceSpec, InstanceStatus, NetworkAttachment, NicModel, Phase, SecretKeyRef,
    UnknownModel,
};
pub use instance_type::{BUILT_IN_TYPES, InstanceType, InstanceTypeSpec, Size, built_in_types};
pub use kind::{KINDS, Kind, KindInfo};
pub use load_balancer::{
    Algorithm, BalancerCounters, BalancerHttp, BalancerPhase, BalancerProtocol, BalancerSelector,
    BalancerSocket, BalancerTarget, BalancerTimeouts, BalancerTls, HealthCheck, HostFile, HostName,
    InvalidPortNumber, LoadBalancer, LoadBalancerSpec, LoadBalancerStatus, PortNumber,
    RedirectToHttps, ResolvedBalancer, ResolvedTarget, SocketClash, StatusClasses, TargetHealth,
    TargetSource, TargetStatus, Unresolved, UrlPath,
};
pub use mask::{MaskKey, is_keyed_mask};
pub use meta::{API_VERSION, ObjectMeta, OwnerReference, Timestamp, Uid};
pub use name::{EnvName, InvalidName, LabelKey, LabelValue, Name};
pub use network::{
    AttachedInterface, DhcpSpec, LeaseStatus, LibvirtRulesState, Network, NetworkFirewall,
    NetworkMode, NetworkPhase, NetworkSpec, NetworkStatus, ReservationStatus, SlotStatus,
};
pub use object::{Object, ObjectKey};
pub use port::{InvalidPort, PortMapping, Protocol};
pub use quantity::{InvalidQuantity, Quantity};
pub use report::{Reporter, Silent};
pub use secret::{MASKED, Secret, SecretValue};
pub use snapshot::{
    Consistency, Snapshot, SnapshotDisk, SnapshotPhase, SnapshotSource, SnapshotSpec,
    SnapshotStatus,
};
pub use span::{InvalidSpan, Span};
pub use volume::{
    CacheMode, DiscardMode, FileSystem, IoMode, IoThread, Preallocation, UnknownWord, Volume,
    VolumeAttachment, VolumePhase, VolumeSource, VolumeSpec, VolumeStatus, VolumeUse, disk_serial,
};
