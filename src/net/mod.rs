//! Who gets which address: pure, so that every rule can be tested without a network.
//!
//! A network that kvmctl makes is born with a `<host mac ip>` entry for every address of its
//! instance range ([`slots`]), so that creating an instance touches no network. Where there are no
//! slots, [`choice`] picks an address for a reservation of its own. [`subnet`] finds a range for a
//! new network. [`forward`] says what a port forward asks of the firewall.

pub mod choice;
mod error;
pub mod forward;
mod mac;
mod segment;
pub mod slots;
pub mod subnet;

pub use choice::{Choice, Taken};
pub use error::NetError;
pub use mac::{InvalidMac, Mac};
pub use slots::{HostEntry, SlotPlan};
pub use subnet::Subnet;
