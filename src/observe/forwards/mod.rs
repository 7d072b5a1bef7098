//! Forwards, and how they are: what is wanted, joined with the rules that are in force.

mod carrier;
mod legs;
mod status;
mod wanted;

pub use carrier::Carrier;
pub use wanted::{Astray, Origin, WantedForward, suffix};
