//! What is known of KVM on the host, from libvirt, the CPU and the last boot probe.

use super::world::World;
use crate::error::Result;
use crate::plan::accelerator::KvmFacts;

impl World {
    /// Collects what decides whether KVM can be trusted.
    ///
    /// # Errors
    /// If libvirt does not answer.
    pub fn kvm_facts(&self) -> Result<KvmFacts> {
        let host = self.host()?;
        let caps = host.capabilities()?;
        let cpu = caps.cpu_model.as_deref().unwrap_or("unknown");
        let probed = match host.host_uuid()? {
            Some(uuid) => self
                .store_for_reading()?
                .kvm_verdict(uuid, cpu)?
                .map(|v| v.works),
            None => None,
        };
        Ok(KvmFacts {
            // The domain capabilities say the same, and take QEMU's whole list of CPUs to say it.
            offered: caps.offers_kvm(),
            extension: caps.virtualisation().unwrap_or(true),
            probed,
        })
    }
}
