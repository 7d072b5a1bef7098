//! The only door to libvirt, and the only user of the `virt` crate.
//!
//! [`Host`] is a connection that threads share; [`Domain`], [`Network`], [`Pool`] and [`Volume`] are
//! handles on what is there. Every call is shown by `-v`, and every failure is a [`LibvirtError`]
//! that says what was tried with what. [`xml`] is pure.

mod agent;
mod backup;
mod channel;
mod checkpoint;
mod conn;
mod disk;
mod domain;
mod domain_state;
mod error;
mod events;
mod ffi;
mod forwards_note;
mod freeze;
mod interface;
mod metadata;
mod network;
mod network_names;
mod pool;
mod rest;
mod snapshot;
mod stats;
mod user_net;
mod volume;
mod volume_stream;
pub mod xml;

#[cfg(test)]
mod daemon_tests;

pub use agent::{Executed, GuestPath};
pub use backup::{JobOperation, RunningJob};
pub use channel::{ConsoleStream, Line, LineReader};
pub use checkpoint::ForgetCheckpoint;
pub use conn::{Driver, Host, Version, is_local};
pub use disk::free_target;
pub use domain::{AddressQuery, Domain, InterfaceAddress, Undefine};
pub use domain_state::DomainState;
pub use error::{Cause, LibvirtError};
pub use events::{Event, EventKind, EventWaiter, StopCause, Waited, end_loop};
pub use interface::Place;
pub use network::{Lease, Network};
pub use pool::{Pool, PoolInfo, PoolSort};
pub use stats::{Disks, DomainBrief, DomainUsage};
pub use user_net::HostForward;
pub use volume::{Volume, VolumeBrief, VolumeInfo};
pub use volume_stream::{Filling, HoleSink};
pub use xml::object::ObjectMetadata;
