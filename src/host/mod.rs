//! The host's own tools: the only user of `std::process`.

mod command;
mod iso;

pub use command::{HostError, Output, Tool};
pub use iso::IsoMaker;
