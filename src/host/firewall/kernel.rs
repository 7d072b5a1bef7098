//! Settings of the kernel that forwards stand on, beside the rules.

use std::path::PathBuf;

use crate::net::forward::Bridge;

use super::error::FirewallError;
use super::tools::Tools;

/// Returns whether packets from 127.0.0.1 may leave by a bridge; `None` while it does not exist.
pub(super) fn route_localnet(bridge: &Bridge) -> Option<bool> {
    read(&route_localnet_path(bridge)).map(|text| text == "1")
}

/// Lets packets from 127.0.0.1 leave by a bridge, or no longer. A bridge that is gone is left.
pub(super) fn set_route_localnet(
    tools: Tools,
    bridge: &Bridge,
    on: bool,
) -> Result<(), FirewallError> {
    if route_localnet(bridge).is_none_or(|now| now == on) {
        return Ok(());
    }
    tools.write(&route_localnet_path(bridge), if on { "1" } else { "0" })
}

/// Returns whether the host forwards IPv4 packets at all.
pub(super) fn forwards_ipv4() -> bool {
    read(&PathBuf::from("/proc/sys/net/ipv4/ip_forward")).as_deref() != Some("0")
}

/// Returns whether a bridge exists.
pub(super) fn exists(bridge: &Bridge) -> bool {
    route_localnet(bridge).is_some()
}

fn route_localnet_path(bridge: &Bridge) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"))
}

fn read(path: &std::path::Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// Returns the command that makes libvirt write its own rules anew: nothing else does.
pub fn restart_command() -> &'static str {
    let modular = PathBuf::from("/run/libvirt/virtnetworkd-sock").exists();
    let systemd = PathBuf::from("/run/systemd/system").exists();
    match (systemd, modular) {
        (true, true) => "systemctl restart virtnetworkd",
        (true, false) => "systemctl restart libvirtd",
        (false, true) => "kill \"$(cat /run/virtnetworkd.pid)\" && virtnetworkd -d",
        (false, false) => "kill \"$(cat /run/libvirtd.pid)\" && libvirtd -d",
    }
}
