//! What would have to be said for a network to be as its definition is.

use std::net::IpAddr;

use crate::api::{Cidr, Cidr6, DhcpSpec, NetworkMode, NetworkSpec};
use crate::libvirt::xml::network::NetworkXml;

/// Returns the mode, where it is one that kvmctl knows.
pub fn mode_of(xml: &NetworkXml) -> Option<NetworkMode> {
    let plugged = xml
        .forward
        .as_ref()
        .is_some_and(|f| !f.interfaces.is_empty());
    match xml.mode() {
        None => Some(NetworkMode::Isolated),
        Some("nat") => Some(NetworkMode::Nat),
        Some("route") => Some(NetworkMode::Route),
        Some("open") => Some(NetworkMode::Open),
        Some("bridge") if xml.bridge.is_some() => Some(NetworkMode::Bridge),
        Some("bridge") if plugged => Some(NetworkMode::Macvtap),
        // passthrough, private, vepa, hostdev, or what libvirt may learn yet.
        Some(_) => None,
    }
}

/// Returns the device of the host that it is bound to.
pub(super) fn device_of(xml: &NetworkXml) -> Option<String> {
    let forward = xml.forward.as_ref()?;
    let first = forward.interfaces.first().map(|i| i.dev.clone());
    forward.dev.clone().or(first)
}

/// Returns the spec that a definition comes to, as far as a spec can say it. The range of DHCP is
/// left unsaid: it may be one that leaves no address for instances, as the distribution's does.
pub fn spec_of(xml: &NetworkXml) -> NetworkSpec {
    let mode = mode_of(xml);
    let own = mode.is_none_or(NetworkMode::has_own_bridge);
    let bridge = xml.bridge.as_ref().and_then(|b| b.name.clone());
    let mut spec = NetworkSpec {
        mode,
        device: device_of(xml),
        ..NetworkSpec::default()
    };
    if !own {
        spec.bridge = bridge;
        return spec;
    }
    spec.cidr = xml.subnet().map(Cidr::new);
    let ipv4 = xml.ipv4();
    if let (Some(cidr), Some(IpAddr::V4(gateway))) = (spec.cidr, ipv4.map(|ip| ip.address)) {
        spec.gateway = Some(gateway).filter(|g| cidr.net().hosts().next() != Some(*g));
    }
    if ipv4.is_none_or(|ip| ip.dhcp.is_none()) {
        spec.dhcp = Some(DhcpSpec {
            enabled: Some(false),
            range: None,
        });
    }
    spec.ipv6 = xml.ips.iter().find_map(|ip| match (ip.address, ip.prefix) {
        (IpAddr::V6(address), Some(64)) => ipnet::Ipv6Net::new(address, 64).ok().map(Cidr6::new),
        _ => None,
    });
    spec.dns_domain = xml.domain.as_ref().map(|d| d.name.clone());
    spec.mtu = xml.mtu.as_ref().map(|m| m.size);
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inside: &str) -> NetworkXml {
        NetworkXml::from_xml(&format!("<network><name>n</name>{inside}</network>")).unwrap()
    }

    #[test]
    fn the_distribution_s_network_comes_to_a_spec() {
        let spec = spec_of(&read(
            "<forward mode='nat'/><bridge name='virbr0'/>\
             <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>\
             <range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip>",
        ));
        let said = serde_json::to_value(&spec).unwrap();
        assert_eq!(
            said,
            serde_json::json!({"mode": "nat", "cidr": "192.168.122.0/24"})
        );
    }

    #[test]
    fn modes_are_told_apart() {
        for (inside, mode) in [
            ("", Some(NetworkMode::Isolated)),
            ("<forward/>", Some(NetworkMode::Nat)),
            ("<forward mode='open'/>", Some(NetworkMode::Open)),
            (
                "<forward mode='bridge'/><bridge name='br0'/>",
                Some(NetworkMode::Bridge),
            ),
            (
                "<forward mode='bridge'><interface dev='eth0'/></forward>",
                Some(NetworkMode::Macvtap),
            ),
            (
                "<forward mode='vepa'><interface dev='eth0'/></forward>",
                None,
            ),
        ] {
            assert_eq!(mode_of(&read(inside)), mode, "{inside}");
        }
    }
}
