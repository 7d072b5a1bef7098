//! Load balancers, and how they are: what is wanted, joined with what nginx does and how its targets
//! answer.

mod status;
mod wanted;

pub use wanted::{WantedBalancer, Whereabouts};
