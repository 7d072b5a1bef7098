//! Into the guest: keys, ssh, exec, cp, console, logs, seed.

mod console;
mod copy;
mod exec;
mod key;
mod let_in;
mod logs;
mod seed;
mod serial_log;
mod ssh;

pub use console::{Console, open_console};
pub use copy::{copy_in, copy_out};
pub use exec::{ExecResult, Via, exec};
pub(in crate::engine) use key::known_key;
pub use key::own_key;
pub(in crate::engine) use logs::serial_log;
pub use logs::{Log, LogSource, open_log};
pub use seed::seed;
pub(in crate::engine) use serial_log::rotated;
pub(in crate::engine) use ssh::no_address;
pub use ssh::{accept_host_key, ssh};

use crate::api::ObjectKey;
use crate::error::{Error, Result};
use crate::libvirt::Domain;
use crate::observe::World;

fn running(world: &World, key: &ObjectKey) -> Result<Domain> {
    let domain = super::instances::find(world, key)?;
    if domain.state()?.is_active() {
        Ok(domain)
    } else {
        Err(Error::conflict(format!("{key} is not running"))
            .hint(format!("kvmctl instances start {}", key.name)))
    }
}

fn check(result: ExecResult) -> Result<Vec<u8>> {
    if result.truncated {
        return Err(Error::failed(
            "the guest agent keeps 16 MiB of what a command writes, and this is more",
        ));
    }
    if result.code == 0 {
        return Ok(result.stdout);
    }
    let why = String::from_utf8_lossy(&result.stderr).trim().to_owned();
    Err(Error::failed(format!(
        "the guest refused the copy (exit code {})",
        result.code
    ))
    .caused_by(why))
}
