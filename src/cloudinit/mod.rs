//! What goes into a seed, and what a guest says of itself.
//!
//! Pure: facts in, bytes out, and back. A [`Seed`] is the content of a NoCloud medium. The user's
//! user-data is on it as it was written; ours travels beside it as vendor-data, made only of parts
//! that no list in the user's part can replace: a boothook, a script, and the SSH host key.
//!
//! The boothook starts a reporter in the guest, which tells how cloud-init stands over a
//! virtio-serial port ([`PORT_NAME`]); [`report`] reads what it says. [`serial`] reads the console
//! of guests that have no reporter, and [`iso_read`] reads a medium back.

mod advice;
pub mod env;
mod error;
mod input;
pub mod iso_read;
mod mask;
mod mime;
mod recover;
pub mod report;
mod seed;
pub mod serial;
mod ssh_key;
mod vendor;

pub use advice::{Advice, advise};
pub use env::{EnvEntry, check_env, check_env_total};
pub use error::{CloudInitError, EnvError};
pub use input::{SeedInput, SeedMount, SeedNic};
pub use recover::{RecoveredEnv, RecoveredInput};
pub use report::{ModuleError, Report, Stage, Verdict, parse_boot_id, parse_line};
pub use seed::Seed;
pub use ssh_key::HostKey;
pub(crate) use vendor::sealed_file;

/// Name of the virtio-serial port that the reporter in the guest writes to.
pub const PORT_NAME: &str = "org.kvmctl.ready.0";

/// Volume label by which cloud-init knows a NoCloud medium.
pub const LABEL: &str = "cidata";
