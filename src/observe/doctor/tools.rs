//! The programs that the work needs.

use super::{Level, Report};
use crate::host;
use crate::host::nginx::NginxError;

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
        "nginx",
        &["nginx"],
        "nginx-light",
        "serves load balancers",
        Level::Warning,
    ),
];

/// Tools of networks, which a user's own daemon has none of.
pub(super) const OF_NETWORKS: &[Needed] = &[
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
];

/// Balancers of tcp and udp need a part of nginx that is a package of its own.
pub(super) fn stream(report: &mut Report) {
    match host::nginx::stream_module() {
        Ok(()) => report.ok("nginx-stream", "nginx balances tcp and udp, too"),
        // That there is no nginx was told.
        Err(NginxError::Tool(_)) => {}
        Err(e) => report.warning(
            "nginx-stream",
            e.to_string(),
            "apt-get install libnginx-mod-stream",
        ),
    }
}

pub(super) fn tools(report: &mut Report, needed: &[Needed]) {
    for &(name, names, package, what, level) in needed {
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
