//! The CPU: whether guests run on it or are emulated.

use super::Report;
use crate::api::Accelerator;
use crate::libvirt::Host;
use crate::observe::World;
use crate::plan::accelerator::{KvmFacts, decide};

pub(super) fn kvm(report: &mut Report, world: &World, host: &Host) {
    let facts = world.kvm_facts();
    let Ok(facts) = facts else { return };
    extension(report, host, &facts);
    if host.is_local() {
        dev_kvm(report, std::path::Path::new("/dev/kvm"));
    }
    match decide(Accelerator::Auto, &facts) {
        Ok(decision) if decision.accelerator == Accelerator::Kvm && decision.unproven => report
            .warning("kvm", "KVM is offered; no boot has shown yet that it works", "kvmctl doctor --probe-kvm"),
        Ok(decision) if decision.accelerator == Accelerator::Kvm => {
            report.ok("kvm", "KVM runs guests");
        }
        Ok(decision) => report.warning(
            "kvm",
            decision.warning.unwrap_or_default(),
            "enable virtualisation in the firmware, or nested virtualisation on the host of this host",
        ),
        Err(why) => report.warning("kvm", why, "kvmctl doctor --probe-kvm"),
    }
}

/// The device itself; that it is there does not mean that a guest runs on it.
fn dev_kvm(report: &mut Report, device: &std::path::Path) {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let Ok(metadata) = std::fs::metadata(device) else {
        return report.warning(
            "dev-kvm",
            "/dev/kvm does not exist: guests run under TCG, slowly",
            "modprobe kvm_intel || modprobe kvm_amd",
        );
    };
    let root_only = metadata.gid() == 0 && metadata.mode() & 0o006 != 0o006;
    if !metadata.file_type().is_char_device() {
        report.warning(
            "dev-kvm",
            "/dev/kvm is not a device",
            "rm /dev/kvm && udevadm trigger",
        );
    } else if root_only {
        // libvirtd asks QEMU, as its own user, again at every define: each costs a second more.
        report.warning(
            "dev-kvm",
            "/dev/kvm is for root only: QEMU's user cannot open it, and libvirt asks QEMU anew at every define",
            "chgrp kvm /dev/kvm && chmod 0660 /dev/kvm",
        );
    } else {
        report.ok("dev-kvm", "/dev/kvm is there and open to QEMU's user");
    }
}

fn extension(report: &mut Report, host: &Host, facts: &KvmFacts) {
    let cpu = host.capabilities().ok().and_then(|c| c.cpu_model.clone());
    let cpu = cpu.unwrap_or_else(|| "an unknown CPU".to_owned());
    if facts.extension {
        report.ok("cpu", format!("{cpu} has hardware virtualisation"));
    } else {
        report.warning(
            "cpu",
            format!("{cpu} has neither vmx nor svm"),
            "enable virtualisation in the firmware",
        );
    }
}
