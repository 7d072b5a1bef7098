//! libvirt's daemon: whether it answers, to whom, and of which version.

use std::path::Path;

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
    let sockets = sockets(Path::new("/run/libvirt"));
    let (open, closed): (Vec<_>, Vec<_>) = sockets.into_iter().partition(|(_, mode)| mode & 2 != 0);
    let asks = host::polkit_is_there();
    for (socket, _) in &open {
        let daemon = daemon_of(socket);
        // With polkit the socket is open to all and the daemon asks who is there.
        if asks {
            report.ok(
                "socket-mode",
                format!("{socket} asks polkit who may do what"),
            );
        } else {
            report.warning(
                "socket-mode",
                format!("{socket} is writable by everybody, who so has the rights of root"),
                &format!(
                    "set unix_sock_rw_perms = \"0770\" in /etc/libvirt/{daemon}.conf and restart {daemon}"
                ),
            );
        }
    }
    let closed: Vec<String> = closed.into_iter().map(|(socket, _)| socket).collect();
    match closed.as_slice() {
        [] => {}
        [one] => report.ok(
            "socket-mode",
            format!("{one} is for its owner and group only"),
        ),
        many => report.ok(
            "socket-mode",
            format!("{} are for their owners and groups only", many.join(", ")),
        ),
    }
}

/// Lists the sockets that commands come through, with their modes: one of the monolithic daemon, or
/// one of each modular one. Those to look only, and those for administration, are not among them.
fn sockets(dir: &Path) -> Vec<(String, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<(String, u32)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let daemon = name.strip_suffix("-sock")?;
            let named =
                (daemon == "libvirt" || daemon.starts_with("virt")) && !daemon.ends_with("-admin");
            // These two serve the daemons and no one else.
            let inner = ["virtlogd", "virtlockd"].contains(&daemon);
            let mode = entry.metadata().ok()?.mode();
            (named && !inner).then(|| (entry.path().to_string_lossy().into_owned(), mode))
        })
        .collect();
    found.sort();
    found
}

/// Returns the daemon that a socket is of.
fn daemon_of(socket: &str) -> &str {
    let name = socket.rsplit('/').next().unwrap_or(socket);
    match name.strip_suffix("-sock") {
        Some("libvirt") | None => "libvirtd",
        Some(daemon) => daemon,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_modular_daemon_has_a_socket_to_look_at() {
        let tmp = tempfile::tempdir().unwrap();
        for name in [
            "virtqemud-sock",
            "virtqemud-sock-ro",
            "virtqemud-admin-sock",
            "virtnetworkd-sock",
            "virtlogd-sock",
            "libvirt-sock",
        ] {
            std::fs::write(tmp.path().join(name), "").unwrap();
        }
        let found = sockets(tmp.path());
        let daemons: Vec<&str> = found.iter().map(|(s, _)| daemon_of(s)).collect();
        assert_eq!(daemons, ["libvirtd", "virtnetworkd", "virtqemud"]);
        assert_eq!(sockets(Path::new("/nowhere")), []);
    }
}
