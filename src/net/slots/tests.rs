use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::subnet::tests::{any_net, net};
use super::*;

const NETWORK: Uid = Uid::from_bytes([7; 16]);

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn subnet() -> Subnet {
    Subnet::new(net("10.206.0.0/24"), ip("10.206.0.1"), vec![]).unwrap()
}

#[test]
fn our_own_network_has_245_slots_and_a_small_dynamic_range() {
    let plan = plan(
        NETWORK,
        net("10.206.0.0/24"),
        ip("10.206.0.1"),
        OWN_NETWORK_DYNAMIC,
    );
    let plan = plan.unwrap();
    let dynamic = plan.dynamic.unwrap();
    assert_eq!(
        (dynamic.start, dynamic.end),
        (ip("10.206.0.2"), ip("10.206.0.9"))
    );
    assert_eq!(plan.hosts.len(), 245);
    assert_eq!(plan.hosts[0].ip, ip("10.206.0.10"));
    assert_eq!(plan.hosts[244].ip, ip("10.206.0.254"));
}

#[test]
fn a_range_of_ones_own_is_left_to_dhcp() {
    let range = Range {
        start: ip("10.206.0.100"),
        end: ip("10.206.0.199"),
    };
    let (cidr, gateway) = (net("10.206.0.0/24"), ip("10.206.0.1"));
    let plan = plan_around(NETWORK, cidr, gateway, range).unwrap();
    assert_eq!(plan.dynamic, Some(range));
    assert_eq!(plan.hosts.len(), 253 - 100);
    assert!(plan.hosts.iter().all(|h| !range.contains(h.ip)));
    let ends: Vec<(u8, u8)> = plan
        .ranges()
        .iter()
        .map(|r| (r.start.octets()[3], r.end.octets()[3]))
        .collect();
    assert_eq!(ends, [(100, 199), (2, 99), (200, 254)]);
    assert_eq!(detect(NETWORK, &plan.hosts), plan.hosts);
}

#[test]
fn the_default_network_keeps_its_lower_half_to_others() {
    let cidr = net("192.168.122.0/24");
    let plan = plan(
        NETWORK,
        cidr,
        ip("192.168.122.1"),
        shared_network_dynamic(cidr),
    )
    .unwrap();
    assert_eq!(plan.dynamic.unwrap().end, ip("192.168.122.127"));
    assert_eq!(plan.hosts[0].ip, ip("192.168.122.128"));
}

/// The function is part of what networks out there were born with: it may never change.
#[test]
fn the_address_function_stays_what_it_is() {
    assert_eq!(
        mac_for(NETWORK, ip("10.206.0.10")).to_string(),
        "52:54:00:19:61:de"
    );
}

#[test]
fn an_address_comes_back_last() {
    let plan = plan(NETWORK, net("10.206.0.0/24"), ip("10.206.0.1"), 250).unwrap();
    let mut last_used = BTreeMap::new();
    let mut taken = Taken::default();
    let mut order = Vec::new();
    for second in 1..=6 {
        let choice = allocate(&subnet(), &plan.hosts, &taken, &last_used).unwrap();
        order.push(choice.ip.octets()[3]);
        last_used.insert(choice.ip, Timestamp::from_second(second));
    }
    assert_eq!(order, [252, 253, 254, 252, 253, 254], "each in its turn");
    for (n, slot) in plan.hosts.iter().enumerate() {
        taken.insert(slot.ip, format!("instance/i{n}"));
    }
    let error = allocate(&subnet(), &plan.hosts, &taken, &last_used).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no address is free in 10.206.0.0/24: 3 of 3 are in use"
    );
}

#[test]
fn only_entries_with_our_hardware_address_are_ours() {
    let ours = HostEntry {
        mac: mac_for(NETWORK, ip("10.206.0.77")),
        ip: ip("10.206.0.77"),
    };
    let moved = HostEntry {
        mac: ours.mac,
        ip: ip("10.206.0.78"),
    };
    let foreign = HostEntry {
        mac: "52:54:00:aa:bb:cc".parse().unwrap(),
        ip: ip("10.206.0.79"),
    };
    assert_eq!(detect(NETWORK, &[foreign, moved, ours]), [ours]);
    assert_eq!(
        detect(Uid::from_bytes([8; 16]), &[foreign, moved, ours]),
        []
    );
}

proptest! {
    #[test]
    fn a_plan_divides_without_overlap(
        network: [u8; 16],
        cidr in any_net(16..=30),
        gateway: u32,
        dynamic in 0u32..300,
    ) {
        let network = Uid::from_bytes(network);
        let size = 1u32 << (32 - cidr.prefix_len());
        let gateway = Ipv4Addr::from(u32::from(cidr.network()) + 1 + gateway % (size - 2));
        let plan = plan(network, cidr, gateway, dynamic).unwrap();
        let subnet = Subnet::new(cidr, gateway, vec![]).unwrap();
        prop_assert!(!plan.hosts.is_empty() && plan.hosts.len() <= MAX_SLOTS);
        let ips: BTreeSet<_> = plan.hosts.iter().map(|h| h.ip).collect();
        let macs: BTreeSet<_> = plan.hosts.iter().map(|h| h.mac).collect();
        prop_assert_eq!(ips.len(), plan.hosts.len());
        prop_assert_eq!(macs.len(), plan.hosts.len());
        for host in &plan.hosts {
            prop_assert!(subnet.check(host.ip).is_ok());
            prop_assert!(host.mac.to_string().starts_with("52:54:00:"));
            prop_assert!(plan.dynamic.is_none_or(|d| !d.contains(host.ip)));
        }
        let ranges = plan.ranges();
        for host in &plan.hosts {
            prop_assert_eq!(ranges.iter().filter(|r| r.contains(host.ip)).count(), 1);
        }
        for range in &ranges {
            prop_assert!(!range.contains(gateway));
            let own = is_slots_own(*range, &plan.hosts);
            prop_assert_eq!(own, plan.dynamic != Some(*range));
        }
        if let Some(range) = plan.dynamic {
            prop_assert!(range.start <= range.end && !range.contains(gateway));
            prop_assert!(subnet.check(range.start).is_ok() && subnet.check(range.end).is_ok());
        }
        prop_assert_eq!(detect(network, &plan.hosts), plan.hosts);
    }

    #[test]
    fn two_addresses_of_a_network_never_share_a_hardware_address(
        network: [u8; 16], cidr in any_net(8..=30), a: u32, b: u32,
    ) {
        let network = Uid::from_bytes(network);
        let within = |n: u32| Ipv4Addr::from(u32::from(cidr.network()) | n & u32::from(cidr.hostmask()));
        let (a, b) = (within(a), within(b));
        prop_assert_eq!(a == b, mac_for(network, a) == mac_for(network, b));
    }

    #[test]
    fn what_is_allocated_is_a_free_slot(
        used in prop::collection::btree_set(2u8..=254, 0..253),
        times in prop::collection::btree_map(2u8..=254, 0i64..1_000_000, 0..253),
    ) {
        let at = |n: u8| Ipv4Addr::new(10, 206, 0, n);
        let plan = plan(NETWORK, net("10.206.0.0/24"), at(1), 8).unwrap();
        let mut taken = Taken::default();
        used.iter().for_each(|n| taken.insert(at(*n), "x"));
        let last: BTreeMap<_, _> =
            times.iter().map(|(n, t)| (at(*n), Timestamp::from_second(*t))).collect();
        match allocate(&subnet(), &plan.hosts, &taken, &last) {
            Ok(choice) => {
                prop_assert!(!taken.contains(choice.ip));
                let chosen = HostEntry { mac: choice.mac, ip: choice.ip };
                prop_assert!(plan.hosts.contains(&chosen));
                let older = plan.hosts.iter().any(|h| {
                    !taken.contains(h.ip) && last.get(&h.ip) < last.get(&choice.ip)
                });
                prop_assert!(!older, "an older one was free");
            }
            Err(_) => prop_assert!(plan.hosts.iter().all(|h| taken.contains(h.ip))),
        }
    }
}
