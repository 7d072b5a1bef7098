//! Runs a plan: undo on failure, go on with the rest, aggregate, wait.
//!
//! The engine decides nothing that a plan has decided. What a step does to the world is in the file
//! of its kind; how steps are run, undone and interrupted is the same for all and is in
//! [`executor`].

mod batch;
mod executor;
mod failpoint;
mod report;
mod signal;

pub use batch::{Batch, run_all};
pub use executor::{Worker, execute};
pub use report::{Reporter, Silent};
pub use signal::{Interrupt, interrupted};
