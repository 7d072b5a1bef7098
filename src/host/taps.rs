//! The host's ends of guests' network cards (taps), and the bridges that they are plugged into.
//!
//! A network that is taken down and put up again has a new bridge; the taps of guests that ran on are
//! plugged into nothing then, until the guests or libvirtd are started again (libvirt's
//! `virDomainUpdateDeviceFlags` finds nothing to change).

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::firewall::{Privilege, tools::Tools};
use crate::error::Result;
use crate::net::forward::Bridge;

/// `IFF_TAP` of `linux/if_tun.h`: it carries frames, not packets.
const IFF_TAP: u32 = 2;
const DEVICES: &str = "/sys/class/net";

/// Lists the taps that are plugged into nothing.
pub fn loose() -> Vec<String> {
    let Ok(devices) = fs::read_dir(DEVICES) else {
        return Vec::new();
    };
    devices
        .flatten()
        .filter(|d| is_tap(&d.path()) && !d.path().join("master").exists())
        .map(|d| d.file_name().to_string_lossy().into_owned())
        .collect()
}

fn is_tap(device: &Path) -> bool {
    let flags = fs::read_to_string(device.join("tun_flags")).unwrap_or_default();
    let flags = flags.trim().trim_start_matches("0x");
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & IFF_TAP != 0)
}

/// Lists what is plugged into a bridge; the port that old versions of libvirt gave it themselves is
/// nobody's.
///
/// # Errors
/// If there is no such bridge, or it cannot be seen from here.
pub fn ports(bridge: &str) -> io::Result<Vec<String>> {
    let own = format!("{bridge}-nic");
    let ports = fs::read_dir(Path::new(DEVICES).join(bridge).join("brif"))?;
    let names = ports
        .flatten()
        .map(|p| p.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| *name != own).collect())
}

/// Returns whether there is a bridge of that name.
pub fn bridge_exists(bridge: &Bridge) -> bool {
    Path::new(DEVICES)
        .join(bridge.as_str())
        .join("bridge")
        .exists()
}

/// Plugs a tap into a bridge.
///
/// # Errors
/// What `ip` says.
pub fn plug(privilege: Privilege, tap: &str, bridge: &Bridge) -> Result<()> {
    let tools = Tools { privilege };
    let args = ["link", "set", "dev", tap, "master", bridge.as_str()];
    tools.run_if_there("ip", "iproute2", &args, b"")?;
    wait_until_it_forwards(tap);
    Ok(())
}

/// With STP a bridge listens for some seconds before it lets a new port take part; one that takes
/// longer than it may is left to itself.
fn wait_until_it_forwards(tap: &str) {
    const FORWARDING: &str = "3";
    let state = Path::new(DEVICES).join(tap).join("brport/state");
    let deadline = Instant::now() + Duration::from_secs(6);
    let forwards = || fs::read_to_string(&state).map_or(true, |s| s.trim() == FORWARDING);
    while !forwards() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
}
