//! Freezing a guest's filesystems, so that what stands on its disks is whole.
//!
//! libvirt's own call waits for the agent without end, so the agent is asked itself, with a deadline.

use std::time::Duration;

use serde_json::json;

use super::domain::Domain;
use super::error::LibvirtError;

/// How long the guest may take to write out what it has in memory.
const FREEZE: Duration = Duration::from_secs(30);
/// How long one call to thaw may take.
const THAW: Duration = Duration::from_secs(10);

impl Domain {
    /// Returns whether the guest's filesystems are frozen.
    ///
    /// # Errors
    /// [`super::Cause::Agent`], [`super::Cause::AgentRefused`].
    pub fn is_frozen(&self) -> Result<bool, LibvirtError> {
        let command = json!({"execute": "guest-fsfreeze-status"});
        let status = self.agent(&command, Duration::from_secs(5))?;
        Ok(status.as_str() == Some("frozen"))
    }

    /// Writes out and freezes all filesystems of the guest, and returns how many.
    ///
    /// # Errors
    /// [`super::Cause::Agent`] when it did not answer: it may freeze yet, so thaw it all the same.
    pub fn freeze(&self) -> Result<u64, LibvirtError> {
        let frozen = self.agent(&json!({"execute": "guest-fsfreeze-freeze"}), FREEZE)?;
        Ok(frozen.as_u64().unwrap_or(0))
    }

    /// Thaws all filesystems of the guest; what is not frozen stays as it is.
    ///
    /// # Errors
    /// [`super::Cause::Agent`], [`super::Cause::AgentRefused`].
    pub fn thaw(&self) -> Result<(), LibvirtError> {
        self.agent(&json!({"execute": "guest-fsfreeze-thaw"}), THAW)
            .map(drop)
    }
}
