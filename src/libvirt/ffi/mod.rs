//! The few calls that the `virt` crate lacks or gets wrong: the only place with `unsafe`.
//!
//! Each function takes safe handles, copies what libvirt returns and frees it before it returns.

pub(super) mod backup;
pub(super) mod checkpoint;
pub(super) mod event_loop;
pub(super) mod events;
pub(super) mod iothreads;
pub(super) mod leases;
pub(super) mod sparse;
pub(super) mod state;
pub(super) mod stats;
