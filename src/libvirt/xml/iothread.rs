//! `<iothreadids>`: the threads that serve disks. Ours are told by their numbers, so that one that a
//! killed run left can be found again, and nobody else's is touched.

use serde::{Deserialize, Serialize};

use super::domain::DomainXml;
use crate::api::{IoThread, VolumeAttachment};

/// The thread that volumes share; the one of `vdb` alone is the next.
const SHARED: u32 = 1000;
/// More than there are disks.
const OURS: std::ops::Range<u32> = SHARED..SHARED + 1000;

/// `<iothreadids>` of a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoThreadIds {
    /// The threads.
    #[serde(rename = "iothread", default)]
    pub threads: Vec<IoThreadId>,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoThreadId {
    /// Its number.
    #[serde(rename = "@id")]
    pub id: u32,
}

/// Returns the number of the thread that serves a volume which is this disk; none for the main one.
pub fn iothread_of(wish: &VolumeAttachment, target: &str) -> Option<u32> {
    match wish.iothread? {
        IoThread::Main => None,
        IoThread::Shared => Some(SHARED),
        IoThread::Own => Some(SHARED + place(target)),
    }
}

/// Returns where a disk is in the row: 1 for `vdb`, 26 for `vdaa`.
fn place(target: &str) -> u32 {
    let letters = target.trim_start_matches("vd").bytes();
    let number = letters.fold(0_u32, |sum, letter| {
        let digit = u32::from(letter.saturating_sub(b'a')) + 1;
        sum.saturating_mul(26).saturating_add(digit)
    });
    number.saturating_sub(1).clamp(1, OURS.end - SHARED - 1)
}

impl DomainXml {
    /// Returns whether it has the thread.
    pub fn has_iothread(&self, id: u32) -> bool {
        self.iothreads().any(|known| known == id)
    }

    /// Returns the threads that were made for volumes and serve no disk.
    pub fn idle_iothreads(&self) -> Vec<u32> {
        let ours = self.iothreads().filter(|id| OURS.contains(id));
        ours.filter(|id| !self.serves(*id)).collect()
    }

    fn iothreads(&self) -> impl Iterator<Item = u32> {
        let threads = self.iothreadids.iter().flat_map(|ids| &ids.threads);
        threads.map(|thread| thread.id)
    }

    fn serves(&self, id: u32) -> bool {
        let mut drivers = self.devices.disks.iter().filter_map(|d| d.driver.as_ref());
        drivers.any(|driver| driver.iothread == Some(id))
    }

    /// Returns the domain with the threads that its disks name.
    #[must_use]
    pub fn with_iothreads(mut self) -> Self {
        let drivers = self.devices.disks.iter().filter_map(|d| d.driver.as_ref());
        let mut ids: Vec<u32> = drivers.filter_map(|driver| driver.iothread).collect();
        ids.sort_unstable();
        ids.dedup();
        let threads: Vec<_> = ids.into_iter().map(|id| IoThreadId { id }).collect();
        self.iothreadids = (!threads.is_empty()).then_some(IoThreadIds { threads });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::xml::instance::virtio_target;

    #[test]
    fn each_disk_has_a_number_of_its_own() {
        let numbers: Vec<u32> = (1..40).map(|n| place(&virtio_target(n))).collect();
        assert_eq!(numbers, (1..40).collect::<Vec<u32>>());
    }

    #[test]
    fn only_ours_that_serve_nothing_are_idle() {
        let xml = DomainXml::from_xml(
            "<domain type='qemu'><name>a</name><memory>1</memory><os><type>hvm</type></os>\
             <iothreads>3</iothreads><iothreadids><iothread id='1'/><iothread id='1001'/>\
             <iothread id='1002'/></iothreadids><devices><disk type='file' device='disk'>\
             <driver name='qemu' type='raw' iothread='1002'/><target dev='vdc' bus='virtio'/>\
             </disk></devices></domain>",
        )
        .unwrap();
        assert_eq!(xml.idle_iothreads(), [1001]);
        assert!(xml.has_iothread(1));
    }
}
