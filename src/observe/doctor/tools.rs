//! The programs that the work needs.

use super::{Level, Report};
use crate::host;

/// A tool: its check, the programs that will do, their package, what it does, what its lack means.
pub(super) type Needed = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
    Level,
);

/// Tools that kvmctl itself calls, wherever libvirt is.
pub(super) const HERE: &[Needed] = &[
    (
        "iso",
        &["genisoimage", "mkisofs", "xorriso"],
        "genisoimage",
        "makes the cloud-init seeds",
        Level::Failed,
    ),
    (
        "ssh",
        &["ssh"],
        "openssh-client",
        "logs in to guests",
        Level::Warning,
    ),
];

/// Tools of the host that runs the guests.
pub(super) const ON_HOST: &[Needed] = &[
    (
        "qemu-img",
        &["qemu-img"],
        "qemu-utils",
        "is used by libvirt to make disks",
        Level::Failed,
    ),
    (
        "dnsmasq",
        &["dnsmasq"],
        "dnsmasq-base",
        "gives guests their addresses",
        Level::Failed,
    ),
    (
        "iptables",
        &["iptables"],
        "iptables",
        "lets guests out",
        Level::Warning,
    ),
    (
        "nft",
        &["nft"],
        "nftables",
        "is the other firewall that libvirt may use",
        Level::Warning,
    ),
    (
        "nginx",
        &["nginx"],
        "nginx-light",
        "will serve load balancers",
        Level::Warning,
    ),
];

pub(super) fn tools(report: &mut Report, needed: &[&[Needed]]) {
    for &(name, names, package, what, level) in needed.iter().copied().flatten() {
        match host::find_in_sbin(names, package) {
            Ok(tool) => report.ok(name, format!("{} {what}", tool.path().display())),
            Err(e) => report.push(
                name,
                level,
                format!("{e}; it {what}"),
                Some(&format!("apt-get install {package}")),
            ),
        }
    }
}
