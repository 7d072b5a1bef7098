//! Snapshots that libvirt knows of a domain, whoever took them.

use super::domain::Domain;
use super::error::LibvirtError;

impl Domain {
    /// Returns how many snapshots libvirt knows of it; none where the driver has no such thing.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn snapshot_count(&self) -> Result<u32, LibvirtError> {
        let counted = self.ask("virDomainSnapshotNum", "count the snapshots of", |raw| {
            raw.num_snapshots(0)
        });
        match counted {
            Err(e) if e.is_no_support() => Ok(0),
            other => other,
        }
    }
}
