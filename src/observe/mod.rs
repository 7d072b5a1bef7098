//! The world to objects: joins libvirt, the store and the host.
//!
//! [`World`] is what a command works in: one connection, one store, one context. A listing costs a few
//! bulk calls whatever the number of domains ([`World::instances`]); looking at one object asks everything
//! there is to ask ([`World::instance`]).

mod addresses;
mod attached;
mod balancers;
mod details;
pub mod doctor;
mod foreign;
mod forwards;
mod images;
mod index;
mod instance;
mod instances;
mod kvm;
mod lost;
mod network;
mod network_firewall;
mod network_spec;
mod networks;
mod objects;
mod phase;
mod snapshots;
pub mod usage;
mod volumes;
mod world;

pub use attached::Plugged;
pub use balancers::{WantedBalancer, Whereabouts};
pub(crate) use details::chain;
pub use forwards::{Astray, Carrier, Origin, UserNet, WantedForward, each_port, suffix};
pub use images::StoredImage;
pub use index::{PORTS, ports_of};
pub use network::{NetworkFacts, NetworkKind, USER_NETWORK};
pub use network_spec::{mode_of, spec_of};
pub use networks::Seen;
pub(crate) use phase::CREATE_INTERRUPTED;
pub use volumes::DiskUse;
pub use world::{Depth, Scope, World, not_found};
