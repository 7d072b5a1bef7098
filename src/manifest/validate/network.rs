//! The rules of a network. Every text of it travels into XML and dnsmasq's configuration, so each is
//! held to what its meaning allows (CVE-2021-40085, CVE-2026-23953).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::api::{Cidr6, Name, NetworkMode, NetworkSpec};
use crate::manifest::origin::Problem;
use crate::manifest::path::FieldPath;

/// Linux's IFNAMSIZ, less the byte that ends the text.
const MAX_DEVICE: usize = 15;
/// RFC 1035; a guest's name and a dot still stand before it.
const MAX_DOMAIN: usize = 253 - 64;
/// Below this IPv4 itself does not work over every path (RFC 791).
const MIN_MTU: u32 = 576;
/// RFC 8200.
const MIN_MTU_IPV6: u32 = 1280;
const MAX_MTU: u32 = 65_535;

pub(super) fn check(spec: &NetworkSpec, problems: &mut Vec<Problem>) {
    fits_mode(spec, problems);
    for (field, name) in [("spec.bridge", &spec.bridge), ("spec.device", &spec.device)] {
        if let Some(rule) = name.as_deref().and_then(device_problem) {
            problems.push(problem(field, rule));
        }
    }
    if spec.mode().has_own_bridge() {
        range(spec, problems);
    }
    if let Some(domain) = &spec.dns_domain
        && !is_domain(domain)
    {
        let rule = format!(
            "{domain:?} is not a DNS domain: labels of a-z, 0-9 and '-' with dots between, as blue.internal"
        );
        problems.push(problem("spec.dnsDomain", rule));
    }
    if let Some(rule) = spec.ipv6.and_then(ipv6_problem) {
        problems.push(problem("spec.ipv6", rule));
    }
    let least = if spec.ipv6.is_some() {
        MIN_MTU_IPV6
    } else {
        MIN_MTU
    };
    if let Some(mtu) = spec.mtu.filter(|m| !(least..=MAX_MTU).contains(m)) {
        let rule = format!("must be between {least} and {MAX_MTU}, is {mtu}");
        problems.push(problem("spec.mtu", rule));
    }
}

fn problem(field: &str, rule: impl std::fmt::Display) -> Problem {
    Problem::of_value(FieldPath::of(field), rule)
}

/// What a mode needs, and what has no meaning in it.
fn fits_mode(spec: &NetworkSpec, problems: &mut Vec<Problem>) {
    let mode = spec.mode();
    let fields = [
        ("spec.cidr", spec.cidr.is_some()),
        ("spec.gateway", spec.gateway.is_some()),
        ("spec.dnsDomain", spec.dns_domain.is_some()),
        ("spec.dhcp", spec.dhcp.is_some()),
        ("spec.ipv6", spec.ipv6.is_some()),
        ("spec.mtu", spec.mtu.is_some()),
    ];
    if !mode.has_own_bridge() {
        for (field, _) in fields.iter().filter(|(_, given)| *given) {
            let rule = format!("has no meaning with mode {mode}: the network outside decides it");
            problems.push(problem(field, rule));
        }
    }
    match mode {
        NetworkMode::Bridge if spec.bridge.is_none() => {
            let missing = problem("spec.bridge", "not set, and mode bridge needs it");
            problems.push(missing.help("ip -br link show type bridge shows those of the host"));
        }
        NetworkMode::Macvtap if spec.device.is_none() => {
            let missing = problem("spec.device", "not set, and mode macvtap needs it");
            problems.push(missing.help("ip -br link shows those of the host"));
        }
        _ => {}
    }
    if mode == NetworkMode::Macvtap && spec.bridge.is_some() {
        problems.push(problem("spec.bridge", "has no meaning with mode macvtap"));
    }
    let unbound = matches!(
        mode,
        NetworkMode::Bridge | NetworkMode::Isolated | NetworkMode::Open
    );
    if unbound && spec.device.is_some() {
        let rule = format!("has no meaning with mode {mode}");
        problems.push(problem("spec.device", rule));
    }
}

fn device_problem(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let bad = name.is_empty()
        || name.len() > MAX_DEVICE
        || !name.chars().all(plain)
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric());
    bad.then(|| {
        format!(
            "{name:?} is not the name of a network device: at most {MAX_DEVICE} letters, digits, '-', '_' and '.', beginning with a letter or digit"
        )
    })
}

fn range(spec: &NetworkSpec, problems: &mut Vec<Problem>) {
    let wanted = spec.dhcp.as_ref().and_then(|d| d.range);
    let Some(cidr) = spec.cidr.map(crate::api::Cidr::net) else {
        if spec.gateway.is_some() {
            let rule = "needs spec.cidr, which it is an address of";
            problems.push(problem("spec.gateway", rule));
        }
        if wanted.is_some() {
            let rule = "needs spec.cidr, which it is a part of";
            problems.push(problem("spec.dhcp.range", rule));
        }
        return;
    };
    if let Some(rule) = cidr_problem(cidr) {
        problems.push(problem("spec.cidr", rule));
        return;
    }
    if let Some(gateway) = spec.gateway
        && !is_host(cidr, gateway)
    {
        let rule = format!("{gateway} is not the address of a host in {cidr}");
        problems.push(problem("spec.gateway", rule));
        return;
    }
    let Some(wanted) = wanted else { return };
    if spec.dhcp.as_ref().and_then(|d| d.enabled) == Some(false) {
        let rule = "has no meaning without DHCP";
        problems.push(problem("spec.dhcp.range", rule));
    }
    let gateway = spec.gateway.or_else(|| cidr.hosts().next());
    let inside = |ip| is_host(cidr, ip);
    if !inside(wanted.start) || !inside(wanted.end) {
        let rule = format!("{wanted} is not a part of {cidr}");
        problems.push(problem("spec.dhcp.range", rule));
    } else if gateway.is_some_and(|g| (wanted.start..=wanted.end).contains(&g)) {
        let rule = format!("{wanted} has the gateway in it");
        problems.push(problem("spec.dhcp.range", rule));
    } else if u64::from(u32::from(wanted.end) - u32::from(wanted.start)) + 1 >= room(cidr) {
        let rule = format!("{wanted} leaves no address for instances");
        problems.push(problem("spec.dhcp.range", rule));
    }
}

/// The addresses that are neither network, broadcast nor gateway.
fn room(cidr: Ipv4Net) -> u64 {
    (1u64 << (32 - cidr.prefix_len())) - 3
}

fn is_host(cidr: Ipv4Net, ip: Ipv4Addr) -> bool {
    cidr.contains(&ip) && ip != cidr.network() && ip != cidr.broadcast()
}

fn cidr_problem(cidr: Ipv4Net) -> Option<String> {
    let first = cidr.network();
    let what = if first.is_loopback() {
        "loopback addresses"
    } else if first.is_link_local() {
        "link-local addresses"
    } else if first.octets()[0] == 0 || first.octets()[0] >= 224 {
        "addresses that no host has"
    } else if !(8..=30).contains(&cidr.prefix_len()) {
        return Some(format!(
            "{cidr} cannot be a network for instances: its prefix must be between /8 and /30"
        ));
    } else {
        return None;
    };
    Some(format!("{cidr} has {what}"))
}

fn ipv6_problem(cidr: Cidr6) -> Option<String> {
    let net = cidr.net();
    let first = net.network();
    if first.is_multicast() || first.is_loopback() || first.is_unspecified() {
        return Some(format!("{cidr} has addresses that no host has"));
    }
    if first.segments()[0] & 0xffc0 == 0xfe80 {
        return Some(format!("{cidr} has link-local addresses"));
    }
    // RFC 4862: a host makes its address of 64 bits of its own.
    (net.prefix_len() != 64).then(|| format!("{cidr} must be a /64: guests make their own address"))
}

fn is_domain(text: &str) -> bool {
    let label = |l: &str| Name::new(l.to_ascii_lowercase()).is_ok_and(|n| n.is_label());
    text.len() <= MAX_DOMAIN && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(spec: Value) -> Vec<String> {
        let mut problems = Vec::new();
        check(&serde_json::from_value(spec).unwrap(), &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_can_be_is_let_through() {
        for spec in [
            json!({}),
            json!({"cidr": "10.10.0.0/24"}),
            json!({"cidr": "10.10.0.0/30"}),
            json!({"cidr": "10.10.0.0/24", "gateway": "10.10.0.254", "mtu": 1400,
                   "dhcp": {"range": "10.10.0.2-10.10.0.99"}, "dnsDomain": "Blue.Test",
                   "ipv6": "fd00:10::/64", "device": "eth0", "bridge": "br_10.2-x"}),
            json!({"mode": "bridge", "bridge": "br0"}),
            json!({"mode": "macvtap", "device": "enp3s0f1np1"}),
            json!({"mode": "isolated", "dhcp": {"enabled": false}}),
        ] {
            assert_eq!(told(spec.clone()), Vec::<String>::new(), "{spec}");
        }
    }

    #[test]
    fn what_has_no_meaning_in_a_mode_is_told() {
        let all =
            told(json!({"mode": "bridge", "cidr": "10.0.0.0/24", "mtu": 1400, "device": "e"}));
        insta::assert_snapshot!(all.join("\n"), @r"
        spec.cidr: has no meaning with mode bridge: the network outside decides it
        spec.mtu: has no meaning with mode bridge: the network outside decides it
        spec.bridge: not set, and mode bridge needs it; ip -br link show type bridge shows those of the host
        spec.device: has no meaning with mode bridge
        ");
        assert_eq!(told(json!({"mode": "macvtap", "bridge": "br0"})).len(), 2);
        assert_eq!(told(json!({"mode": "open", "device": "eth0"})).len(), 1);
    }

    #[test]
    fn ranges_are_held_to_what_they_mean() {
        let all: Vec<String> = [
            json!({"cidr": "10.0.0.0/31"}),
            json!({"cidr": "127.1.0.0/16"}),
            json!({"cidr": "224.0.0.0/24"}),
            json!({"cidr": "169.254.0.0/16"}),
            json!({"gateway": "10.0.0.1"}),
            json!({"cidr": "10.0.0.0/24", "gateway": "10.0.0.255"}),
            json!({"cidr": "10.0.0.0/24", "dhcp": {"range": "10.0.0.1-10.0.0.9"}}),
            json!({"cidr": "10.0.0.0/24", "dhcp": {"range": "10.0.1.2-10.0.1.9"}}),
            json!({"cidr": "10.0.0.0/29", "dhcp": {"range": "10.0.0.2-10.0.0.6"}}),
            json!({"cidr": "10.0.0.0/24", "dhcp": {"enabled": false, "range": "10.0.0.2-10.0.0.6"}}),
            json!({"ipv6": "fd00::/48"}),
            json!({"ipv6": "fe80::/64"}),
            json!({"mtu": 500}),
            json!({"mtu": 1000, "ipv6": "fd00::/64"}),
        ]
        .into_iter()
        .flat_map(told)
        .collect();
        insta::assert_snapshot!(all.join("\n"), @r"
        spec.cidr: 10.0.0.0/31 cannot be a network for instances: its prefix must be between /8 and /30
        spec.cidr: 127.1.0.0/16 has loopback addresses
        spec.cidr: 224.0.0.0/24 has addresses that no host has
        spec.cidr: 169.254.0.0/16 has link-local addresses
        spec.gateway: needs spec.cidr, which it is an address of
        spec.gateway: 10.0.0.255 is not the address of a host in 10.0.0.0/24
        spec.dhcp.range: 10.0.0.1-10.0.0.9 has the gateway in it
        spec.dhcp.range: 10.0.1.2-10.0.1.9 is not a part of 10.0.0.0/24
        spec.dhcp.range: 10.0.0.2-10.0.0.6 leaves no address for instances
        spec.dhcp.range: has no meaning without DHCP
        spec.ipv6: fd00::/48 must be a /64: guests make their own address
        spec.ipv6: fe80::/64 has link-local addresses
        spec.mtu: must be between 576 and 65535, is 500
        spec.mtu: must be between 1280 and 65535, is 1000
        ");
    }

    #[test]
    fn hostile_texts_are_refused() {
        for text in [
            "",
            "-rf",
            "a b",
            "a\nb",
            "br0;x",
            "../x",
            "eth0:1",
            "a/b",
            "sixteen-letters-",
            "\u{e9}",
        ] {
            assert_eq!(
                told(json!({"mode": "bridge", "bridge": text})).len(),
                1,
                "{text:?}"
            );
            assert_eq!(
                told(json!({"mode": "macvtap", "device": text})).len(),
                1,
                "{text:?}"
            );
        }
        for text in [
            "",
            ".",
            "a..b",
            "a b",
            "a\nserver=/x/",
            "-a",
            "a_b",
            "a/b",
            "é",
        ] {
            assert_eq!(told(json!({"dnsDomain": text})).len(), 1, "{text:?}");
        }
    }
}
