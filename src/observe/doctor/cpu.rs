//! The CPU: whether guests run on it or are emulated.

use std::path::Path;

use super::Report;
use crate::api::Accelerator;
use crate::libvirt::Host;
use crate::observe::World;
use crate::plan::accelerator::decide;

const DEV_KVM: &str = "/dev/kvm";

/// What the kernel of this machine says, where no daemon can be asked.
pub(super) fn without_daemon(report: &mut Report) {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if let Some((model, extension)) = read_cpuinfo(&told) {
        self::extension(report, model, extension);
    }
    dev_kvm(report, Path::new(DEV_KVM));
}

/// Reads model and whether there is an extension; `None` where the question makes no sense (not x86).
///
/// Format: proc_cpuinfo(5), `NAME\t: VALUE`.
fn read_cpuinfo(text: &str) -> Option<(Option<String>, bool)> {
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.trim() == name);
        found.map(|(_, value)| value.trim().to_owned())
    };
    let flags = field("flags")?;
    let mut flags = flags.split_whitespace();
    Some((field("model name"), flags.any(|f| f == "vmx" || f == "svm")))
}

pub(super) fn kvm(report: &mut Report, world: &World, host: &Host) {
    let facts = world.kvm_facts();
    let Ok(facts) = facts else { return };
    let model = host.capabilities().ok().and_then(|c| c.cpu_model.clone());
    extension(report, model, facts.extension);
    if host.is_local() {
        dev_kvm(report, Path::new(DEV_KVM));
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
fn dev_kvm(report: &mut Report, device: &Path) {
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

fn extension(report: &mut Report, model: Option<String>, is_there: bool) {
    let cpu = model.unwrap_or_else(|| "an unknown CPU".to_owned());
    if is_there {
        report.ok("cpu", format!("{cpu} has hardware virtualisation"));
    } else {
        report.warning(
            "cpu",
            format!("{cpu} has neither vmx nor svm"),
            "enable virtualisation in the firmware",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_the_cpu() {
        let text =
            "processor\t: 0\nmodel name\t: AMD EPYC 7\nflags\t\t: fpu svm sse\nprocessor\t: 1\n";
        let told = read_cpuinfo(text);
        assert_eq!(told, Some((Some("AMD EPYC 7".to_owned()), true)));
        let without = read_cpuinfo("flags : fpu vmxish\n");
        assert_eq!(without, Some((None, false)));
        assert_eq!(read_cpuinfo("Features\t: fp asimd\n"), None);
    }
}
