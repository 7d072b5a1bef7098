//! Checkpoints: moments since which QEMU notes what changes on the disks, so that a later backup need
//! copy no more than that.

use super::domain::Domain;
use super::error::LibvirtError;
use super::ffi;
use super::xml::checkpoint::CheckpointXml;

/// What goes with a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgetCheckpoint {
    /// Its bitmaps in the disks too, which only a running QEMU can remove.
    WithBitmaps,
    /// Only what libvirt knows of it.
    MetadataOnly,
}

impl Domain {
    /// Returns the names of its checkpoints, whoever made them; none where the driver has no such thing.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn checkpoints(&self) -> Result<Vec<String>, LibvirtError> {
        let listed = self.ask(
            "virDomainListAllCheckpoints",
            "list the checkpoints of",
            ffi::checkpoint::names,
        );
        match listed {
            Err(e) if e.is_no_support() => Ok(Vec::new()),
            other => other,
        }
    }

    /// Returns a checkpoint, if it is there.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn checkpoint(&self, name: &str) -> Result<Option<CheckpointXml>, LibvirtError> {
        let name = ffi::backup::c_text(name);
        let told = self.ask(
            "virDomainCheckpointGetXMLDesc",
            "read a checkpoint of",
            |raw| ffi::checkpoint::description(raw, &name),
        );
        match told {
            Ok(text) => Ok(Some(CheckpointXml::from_xml(&text)?)),
            Err(e) if e.is_not_found() || e.is_no_support() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Deletes a checkpoint; one that is not there is deleted.
    ///
    /// # Errors
    /// What the driver refuses, as when a bitmap is damaged.
    pub fn forget_checkpoint(
        &self,
        name: &str,
        what: ForgetCheckpoint,
    ) -> Result<(), LibvirtError> {
        let name = ffi::backup::c_text(name);
        let deleted = self.ask(
            "virDomainCheckpointDelete",
            "delete a checkpoint of",
            |raw| ffi::checkpoint::delete(raw, &name, what == ForgetCheckpoint::MetadataOnly),
        );
        match deleted {
            Err(e) if !e.is_not_found() && !e.is_no_support() => Err(e),
            _ => Ok(()),
        }
    }
}
