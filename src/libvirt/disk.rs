//! Disks that come to a domain and go from it.

use super::domain::Domain;
use super::error::LibvirtError;
use super::ffi::iothreads;
use super::interface::Place;
use super::xml::disk::DiskXml;
use super::xml::domain::DomainXml;
use super::xml::instance::virtio_target;

impl Domain {
    /// Plugs a disk in.
    ///
    /// # Errors
    /// What the driver refuses, as when no port is free.
    pub fn attach_disk(&self, disk: &DiskXml, place: Place) -> Result<(), LibvirtError> {
        let xml = disk.to_xml()?;
        self.ask("virDomainAttachDeviceFlags", "attach a disk to", |raw| {
            raw.attach_device_flags(&xml, place.flags())
        })
    }

    /// Takes a disk away; in what runs, asks the guest to let go of it and does not wait.
    ///
    /// # Errors
    /// [`super::Cause::NotFound`] when it is not there; what the driver refuses.
    pub fn detach_disk(&self, disk: &DiskXml, place: Place) -> Result<(), LibvirtError> {
        let xml = disk.to_xml()?;
        self.ask("virDomainDetachDeviceFlags", "detach a disk from", |raw| {
            raw.detach_device_flags(&xml, place.flags())
        })
    }

    /// Adds a thread that serves disks.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn add_iothread(&self, id: u32, place: Place) -> Result<(), LibvirtError> {
        self.ask("virDomainAddIOThread", "add an I/O thread to", |raw| {
            iothreads::add(raw, id, place.flags())
        })
    }

    /// Removes a thread that serves no disk any more.
    ///
    /// # Errors
    /// What the driver refuses, as while a disk is served by it.
    pub fn remove_iothread(&self, id: u32, place: Place) -> Result<(), LibvirtError> {
        self.ask("virDomainDelIOThread", "remove an I/O thread of", |raw| {
            iothreads::remove(raw, id, place.flags())
        })
    }

    /// Returns whether the guest of a running domain has read from a disk: a kernel that finds one
    /// looks for partitions on it.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn has_read(&self, target: &str) -> Result<bool, LibvirtError> {
        let stats = self.ask("virDomainBlockStats", "look at a disk of", |raw| {
            raw.block_stats(target)
        })?;
        Ok(stats.rd_req > 0)
    }
}

impl DomainXml {
    /// Returns the disk of a volume, by the serial that the guest sees or by its path.
    pub fn disk_of(&self, serial: &str, path: &str) -> Option<&DiskXml> {
        let by_serial = |d: &&DiskXml| d.serial.as_deref() == Some(serial);
        let by_path = |d: &&DiskXml| d.path() == Some(path);
        let mut disks = self.hard_disks();
        disks
            .find(by_serial)
            .or_else(|| self.hard_disks().find(by_path))
    }

    /// Returns the names of all disks and drives.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.devices.disks.iter().map(|d| d.target.dev.as_str())
    }
}

/// Returns the first virtio disk name that is not taken.
pub fn free_target<'t>(taken: impl IntoIterator<Item = &'t str>) -> String {
    let taken: std::collections::BTreeSet<&str> = taken.into_iter().collect();
    let names = (1..=taken.len() + 1).map(virtio_target);
    let mut free = names.filter(|name| !taken.contains(name.as_str()));
    // One more name than there are taken: one of them is free.
    free.next()
        .unwrap_or_else(|| virtio_target(taken.len() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hole_is_taken_and_never_the_root() {
        assert_eq!(free_target([]), "vdb");
        assert_eq!(free_target(["vda", "sda"]), "vdb");
        assert_eq!(free_target(["vda", "vdc", "vdb"]), "vdd");
        assert_eq!(free_target(["vda", "vdb", "vdd"]), "vdc");
        let many: Vec<String> = (0..30).map(virtio_target).collect();
        assert_eq!(free_target(many.iter().map(String::as_str)), "vdae");
    }
}
