//! libvirt's daemon: whether it answers, to whom, and of which version.

use super::Report;
use crate::config::Settings;
use crate::error::Error;
use crate::host;
use crate::libvirt::Host;

pub(super) fn daemon(report: &mut Report, host: &Host) {
    report.ok("socket", format!("libvirt answers at {}", host.uri()));
    let versions = host
        .lib_version()
        .and_then(|l| Ok((l, host.hypervisor_version()?)));
    match versions {
        Ok((libvirt, qemu)) => report.ok("version", format!("libvirt {libvirt}, QEMU {qemu}")),
        Err(e) => report.failed(
            "version",
            format!("{e}"),
            "apt-get install libvirt-daemon-driver-qemu qemu-system-x86",
        ),
    }
    if let Ok(caps) = host.capabilities() {
        let models = caps.security_models.join(", ");
        let models = if models.is_empty() {
            "none".to_owned()
        } else {
            models
        };
        report.ok("security", format!("security drivers: {models}"));
    }
}

pub(super) fn unreachable_daemon(report: &mut Report, settings: &Settings, error: &Error) {
    let remedy = error.hints().first().cloned();
    let remedy = remedy.unwrap_or_else(|| "systemctl start libvirtd".to_owned());
    report.failed("socket", format!("{} ({error})", settings.uri), &remedy);
    if !host::in_group("libvirt") && !rustix::process::geteuid().is_root() {
        report.warning(
            "group",
            "you are not in the group libvirt, whose members are root's equals",
            "sudo usermod -aG libvirt $USER, then log in again",
        );
    }
}

/// Who uses the system daemon without being root does so as a member of its group.
pub(super) fn group(report: &mut Report) {
    if !rustix::process::geteuid().is_root() && host::in_group("libvirt") {
        report.ok(
            "group",
            "you are in the group libvirt: root's equal on this host",
        );
    }
}

/// A socket that anybody may write to gives anybody the rights of root.
pub(super) fn socket_mode(report: &mut Report) {
    use std::os::unix::fs::MetadataExt as _;
    for socket in ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"] {
        let Ok(metadata) = std::fs::metadata(socket) else {
            continue;
        };
        let open = metadata.mode() & 0o002 != 0;
        // With polkit the socket is open to all and the daemon asks who is there.
        if open && !host::polkit_is_there() {
            report.warning(
                "socket-mode",
                format!("{socket} is writable by everybody, who so has the rights of root"),
                "set unix_sock_rw_perms = \"0770\" in /etc/libvirt/libvirtd.conf and restart libvirtd",
            );
        } else if open {
            report.ok(
                "socket-mode",
                format!("{socket} asks polkit who may do what"),
            );
        } else {
            report.ok(
                "socket-mode",
                format!("{socket} is for its owner and group only"),
            );
        }
    }
}
