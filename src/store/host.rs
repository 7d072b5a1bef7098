//! What is known of a host.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ObjectLock, Record, Result, STORE_WAIT, Store};
use crate::api::{Timestamp, Uid};

/// Whether KVM really runs a guest on a host with a certain CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KvmVerdict {
    /// CPU model, as libvirt's capabilities name it.
    pub cpu: String,
    /// Whether a Linux kernel printed its first line.
    pub works: bool,
    /// Why, for a person.
    pub reason: String,
    /// When it was tried.
    pub when: Timestamp,
    /// QEMU that tried it, as `10.0.2`.
    pub qemu_version: String,
}

/// What is known of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostRecord {
    /// UUID of the host, from libvirt's capabilities.
    pub host: Uid,
    /// Verdicts, one for each CPU that it has been seen with.
    #[serde(default)]
    pub kvm: Vec<KvmVerdict>,
    /// Images that tell nothing on their serial port, so that no verdict can be had by them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mute: BTreeSet<String>,
}

impl Record for HostRecord {
    const DIR: &'static str = "hosts";
    type Key = Uid;
    fn key(&self) -> Uid {
        self.host
    }
}

impl Store {
    /// Returns the verdict on KVM for a host as it is now; none when its CPU is another one.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn kvm_verdict(&self, host: Uid, cpu: &str) -> Result<Option<KvmVerdict>> {
        let record = self.get::<HostRecord>(&host)?;
        Ok(record.and_then(|r| r.kvm.into_iter().find(|v| v.cpu == cpu)))
    }

    /// Waits for the turn to try KVM on the host.
    ///
    /// # Errors
    /// [`super::StoreError::Busy`] with the holder after `wait`.
    pub fn lock_kvm_probe(&self, wait: Duration) -> Result<ObjectLock<'_>> {
        ObjectLock::acquire(self.writable()?, "host/kvm-probe", wait)
    }

    /// Remembers a verdict on KVM in place of an older one for the same CPU.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_kvm_verdict(&self, host: Uid, verdict: KvmVerdict) -> Result<()> {
        self.note(host, |record| {
            record.kvm.retain(|v| v.cpu != verdict.cpu);
            record.kvm.push(verdict);
        })
    }

    /// Returns whether an image is known to tell nothing on its serial port.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn is_mute(&self, host: Uid, image: &str) -> Result<bool> {
        let record = self.get::<HostRecord>(&host)?;
        Ok(record.is_some_and(|r| r.mute.contains(image)))
    }

    /// Remembers that an image tells nothing on its serial port.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_mute(&self, host: Uid, image: &str) -> Result<()> {
        self.note(host, |record| {
            record.mute.insert(image.to_owned());
        })
    }

    fn note(&self, host: Uid, change: impl FnOnce(&mut HostRecord)) -> Result<()> {
        let _lock = self.lock(STORE_WAIT)?;
        let mut record = self.get::<HostRecord>(&host)?.unwrap_or(HostRecord {
            host,
            kvm: Vec::new(),
            mute: BTreeSet::new(),
        });
        change(&mut record);
        self.put(&record)
    }
}
