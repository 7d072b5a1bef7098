//! Any command may be killed anywhere; what is left shows itself with the reason, and the same
//! command, `delete` or `reconcile` brings the end state of one clean run.
//!
//! Each test has a pool, networks and a store of its own on the private host, and guests that need
//! not boot.

mod balancers;
mod by_hand;
mod change;
mod create;
mod delete;
mod faults;
mod forwards;
mod forwards_killed;
mod live_guest;
mod live_snapshots;
mod many;
mod networks;
pub(crate) mod place;
mod rebuild;
mod snapshots;
mod stack;
mod volumes;

use place::{Place, Recovery};
