//! Forwards, and how they are: what is wanted, joined with the rules that are in force.

mod carrier;
mod legs;
mod place;
mod segment;
mod status;
mod user_space;
mod wanted;

pub use carrier::Carrier;
pub(super) use place::Place;
pub(super) use segment::segment_of;
pub use user_space::{UserNet, each_port};
pub use wanted::{Astray, Origin, WantedForward, suffix};
