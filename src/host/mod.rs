//! The host's own tools: the only user of `std::process`.

mod command;

pub use command::{HostError, Output, Tool};
