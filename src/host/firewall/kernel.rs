//! Settings of the kernel that forwards stand on, beside the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::net::forward::{Bridge, Mapping};

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
    read(Path::new("/proc/sys/net/ipv4/ip_forward")).as_deref() != Some("0")
}

/// Returns the switches that are off and must be on for guests to reach themselves by an address of
/// the host: when bridged packets go through iptables, the translated packet would leave by the port
/// that it came from.
///
/// Only of guests that the host has heard of: a switch that is found later is mended later. All
/// ports at once would be wrong, because a guest would hear its own multicasts.
pub(super) fn hairpins_off(mappings: &[Mapping]) -> Vec<PathBuf> {
    if mappings.is_empty() || !bridge_calls_iptables() {
        return Vec::new();
    }
    let known = neighbours();
    let mut switches = BTreeSet::new();
    let mut seen: BTreeMap<&Bridge, Vec<(Vec<u8>, PathBuf)>> = BTreeMap::new();
    for mapping in mappings {
        let bridge = &mapping.segment().bridge;
        let Some(mac) = known.get(&(mapping.guest(), bridge.as_str().to_owned())) else {
            continue;
        };
        let ports = seen.entry(bridge).or_insert_with(|| ports_of(bridge));
        if let Some((_, port)) = ports.iter().find(|(other, _)| other == mac) {
            switches.insert(port.join("hairpin_mode"));
        }
    }
    let off = |switch: &PathBuf| read(switch).as_deref() == Some("0");
    switches.into_iter().filter(off).collect()
}

/// Guests that were called, and have a moment to answer.
pub(super) struct Called {
    guests: BTreeSet<(IpAddr, String)>,
    until: Instant,
}

impl Called {
    /// Waits until all have answered, or their time is over.
    pub(super) fn wait(self) {
        while !self.guests.is_empty() && Instant::now() < self.until {
            let known = neighbours();
            if self.guests.iter().all(|guest| known.contains_key(guest)) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Calls guests that the host has not heard of yet, so that it knows where they are. Nobody is behind
/// a bridge without ports.
pub(super) fn call_guests(mappings: &[Mapping]) -> Called {
    let mut called = Called {
        guests: BTreeSet::new(),
        until: Instant::now() + Duration::from_millis(50),
    };
    if !bridge_calls_iptables() {
        return called;
    }
    let known = neighbours();
    let mut lit: BTreeMap<&Bridge, bool> = BTreeMap::new();
    let Ok(socket) = UdpSocket::bind(("0.0.0.0", 0)) else {
        return called;
    };
    for mapping in mappings.iter().filter(|m| m.guest().is_ipv4()) {
        let bridge = &mapping.segment().bridge;
        let guest = (mapping.guest(), bridge.as_str().to_owned());
        let has_ports = *lit.entry(bridge).or_insert_with(|| has_ports(bridge));
        if !has_ports || known.contains_key(&guest) || called.guests.contains(&guest) {
            continue;
        }
        // Discard (RFC 863): what matters is that the kernel asks who has the address.
        if socket.send_to(b"", (guest.0, 9)).is_ok() {
            called.guests.insert(guest);
        }
    }
    called
}

fn has_ports(bridge: &Bridge) -> bool {
    let ports = std::fs::read_dir(format!("/sys/class/net/{bridge}/brif"));
    ports.is_ok_and(|mut ports| ports.next().is_some())
}

/// Returns whether bridged packets go through iptables, too.
fn bridge_calls_iptables() -> bool {
    let path = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    read(path).as_deref() == Some("1")
}

/// Returns the hardware addresses that the host knows by address and interface (proc(5),
/// `/proc/net/arp`).
fn neighbours() -> BTreeMap<(IpAddr, String), Vec<u8>> {
    let text = std::fs::read_to_string("/proc/net/arp").unwrap_or_default();
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, mac, _, device] = words.as_slice() else {
            return None;
        };
        let bytes = mac.split(':').map(|b| u8::from_str_radix(b, 16).ok());
        let mac: Vec<u8> = bytes.collect::<Option<_>>()?;
        (*flags != "0x0").then(|| Some(((address.parse().ok()?, (*device).to_owned()), mac)))?
    };
    text.lines().skip(1).filter_map(entry).collect()
}

/// Returns which hardware address is behind which port (`struct __fdb_entry` of
/// `linux/if_bridge.h`, read from `brforward`).
fn ports_of(bridge: &Bridge) -> Vec<(Vec<u8>, PathBuf)> {
    let bridge = PathBuf::from(format!("/sys/class/net/{bridge}"));
    let mut ports = BTreeMap::new();
    for port in std::fs::read_dir(bridge.join("brif"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let number = read(&port.path().join("port_no")).unwrap_or_default();
        if let Ok(number) = u16::from_str_radix(number.trim_start_matches("0x"), 16) {
            ports.insert(number, port.path());
        }
    }
    let table = std::fs::read(bridge.join("brforward")).unwrap_or_default();
    let entry = |entry: &[u8]| {
        let number = u16::from_le_bytes([entry[6], entry[12]]);
        let is_local = entry[7] != 0;
        let port = ports.get(&number).filter(|_| !is_local)?;
        Some((entry[..6].to_vec(), port.clone()))
    };
    table.chunks_exact(16).filter_map(entry).collect()
}

/// Returns whether a bridge exists.
pub(super) fn exists(bridge: &Bridge) -> bool {
    route_localnet(bridge).is_some()
}

fn route_localnet_path(bridge: &Bridge) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"))
}

fn read(path: &Path) -> Option<String> {
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
