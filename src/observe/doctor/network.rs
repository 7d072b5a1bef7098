//! The network of the context, and the firewall that it depends on.

use std::path::Path;

use super::{Report, autostart, remedy};
use crate::host::{self, HostError};
use crate::libvirt::xml::network::NetworkXml;
use crate::libvirt::{Driver, Host};
use crate::observe::World;

pub(super) fn network(report: &mut Report, world: &World, host: &Host) {
    let name = &world.settings().network;
    let network = match host.network(name) {
        Ok(network) => network,
        Err(e) => {
            let remedy = remedy(&e);
            return report.failed("network", format!("network {name:?}: {e}"), &remedy);
        }
    };
    match network.is_active() {
        Ok(true) => report.ok("network", format!("network {name:?} is active")),
        _ => report.failed(
            "network",
            format!("network {name:?} is not active: guests get no address"),
            "kvmctl setup",
        ),
    }
    let starts = network.autostart().ok();
    autostart(
        report,
        "network-autostart",
        &format!("network {name:?}"),
        starts,
    );
    if host.is_local()
        && let (Ok(true), Ok(xml)) = (network.is_active(), network.definition())
    {
        if host.driver() == Driver::Qemu {
            dhcp(report, &xml, Path::new(SERVERS));
        }
        if let Some(bridge) = xml.bridge.and_then(|b| b.name) {
            firewall(report, &bridge);
        }
    }
}

/// Where libvirt's system daemon keeps the process numbers of its networks' servers.
const SERVERS: &str = "/run/libvirt/network";

/// Whether the network's dnsmasq runs: the network is active all the same when it has ended.
fn dhcp(report: &mut Report, xml: &NetworkXml, servers: &Path) {
    if xml.ipv4().is_none_or(|ip| ip.dhcp.is_none()) {
        return;
    }
    let name = &xml.name;
    let file = servers.join(format!("{name}.pid"));
    let pid = match std::fs::read_to_string(&file) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => return,
        told => told.unwrap_or_default(),
    };
    let program = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim()));
    match program {
        Ok(program) if program.trim() == "dnsmasq" => report.ok(
            "network-dhcp",
            format!("network {name:?} has its dnsmasq, which gives guests their addresses"),
        ),
        _ => report.failed(
            "network-dhcp",
            format!(
                "network {name:?} is active and its dnsmasq does not run: guests get no address"
            ),
            "systemctl restart libvirtd (modular: virtnetworkd)",
        ),
    }
}

/// Which backend libvirt uses for a bridge, whether its rules are there, and what would cut guests off.
fn firewall(report: &mut Report, bridge: &str) {
    let iptables = host::find_in_sbin(&["iptables"], "iptables")
        .and_then(|t| t.run(&["-w", "5", "-S"], b"", None))
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    let nft = host::find_in_sbin(&["nft"], "nftables")
        .and_then(|t| t.run_any(&["list", "table", "ip", "libvirt_network"], b"", None))
        .map(|(_, out)| String::from_utf8_lossy(&out.stdout).into_owned());
    let by_iptables = iptables.as_ref().is_ok_and(|rules| {
        rules
            .lines()
            .any(|l| l.contains("LIBVIRT_FW") && l.contains(bridge))
    });
    let by_nft = nft.as_ref().is_ok_and(|rules| rules.contains(bridge));
    match (by_iptables, by_nft, &iptables) {
        (true, _, _) => report.ok(
            "firewall",
            format!("libvirt's rules for {bridge} are in iptables"),
        ),
        (_, true, _) => report.ok(
            "firewall",
            format!("libvirt's rules for {bridge} are in nftables"),
        ),
        (_, _, Err(HostError::Failed { .. })) => report.warning(
            "firewall",
            "the firewall's rules can only be read by root",
            "sudo kvmctl doctor",
        ),
        // By the tool that is missing libvirt may have made them all the same.
        (_, _, Err(_)) => report.warning(
            "firewall",
            format!("cannot tell whether libvirt's rules for {bridge} are there"),
            "apt-get install iptables nftables",
        ),
        _ => report.warning(
            "firewall",
            format!(
                "{bridge} is up but libvirt's rules for it are gone: guests reach nothing outside"
            ),
            "systemctl restart libvirtd (modular: virtnetworkd)",
        ),
    }
    if by_nft && iptables.is_ok_and(|rules| rules.lines().any(|l| l == "-P FORWARD DROP")) {
        report.warning(
            "forward-policy",
            "the FORWARD policy is DROP (Docker sets it) and libvirt uses nftables: guests are cut off",
            "iptables -I FORWARD -i virbr+ -j ACCEPT && iptables -I FORWARD -o virbr+ -j ACCEPT",
        );
    }
}
