//! How a domain that is off came to be so, and whether it would go on from where it was.

use virt::sys;

use super::domain::Domain;
use super::error::LibvirtError;
use super::ffi;

impl Domain {
    /// Returns whether it is off because its guest powered off by itself. After a restart of the daemon
    /// nobody knows.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn was_shut_down(&self) -> Result<bool, LibvirtError> {
        let (state, reason) = self.ask("virDomainGetState", "look at", ffi::state::state)?;
        let (state, reason) = (i64::from(state), i64::from(reason));
        let off = i64::from(sys::VIR_DOMAIN_SHUTOFF);
        Ok(state == off && reason == i64::from(sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN))
    }

    /// Returns whether its memory was saved, to be gone on with at the next start.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn has_saved_memory(&self) -> Result<bool, LibvirtError> {
        let asked = self.ask("virDomainHasManagedSaveImage", "look at", |raw| {
            raw.has_managed_save(0)
        });
        match asked {
            Err(e) if e.is_no_support() => Ok(false),
            other => other,
        }
    }
}
