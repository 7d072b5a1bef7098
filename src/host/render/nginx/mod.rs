//! The configuration of our own nginx: one file for the instance and one for each balancer.
//!
//! A balancer's file is enough to bring the object back: it carries it, encoded, in comments. The
//! directives are those that a careful person writes by hand; each word of them is a `Word`,
//! a type that cannot hold what nginx reads as more than one word. There is no text from outside.

mod http;
mod main_file;
mod record;
mod site;
mod stream;
mod upstream;
mod word;

#[cfg(test)]
mod tests;

pub use main_file::{Instance, StreamModule, WorkerUser, main_file};
pub use record::Recorded;
pub use site::{NoIdentity, Site};

/// Where the socket lies that the instance answers us on, beneath its directory.
pub const CONTROL_SOCKET: &str = "run/control.sock";
/// What is asked for there to learn which configuration the workers have.
pub const GENERATION_PATH: &str = "/generation";
/// The instance's process number, beneath its directory.
pub const PID_FILE: &str = "run/nginx.pid";
/// Where nginx says what it cannot do, beneath its directory.
pub const ERROR_LOG: &str = "logs/error.log";
/// Name of the instance's own file, in the directory of one generation.
pub const MAIN_FILE: &str = "nginx.conf";
/// Name of the directory of balancers' files, in the directory of one generation.
pub const SITES: &str = "sites";
