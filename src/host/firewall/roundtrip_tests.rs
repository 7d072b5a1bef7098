//! Rules that are written and read back are the same, and change nothing the second time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use proptest::prelude::*;

use crate::api::{Name, PortMapping, Protocol, Uid};
use crate::net::forward::{LibvirtRules, Mapping, Segment};

use super::delta::{Goal, delta, with_shared};
use super::rule::{Chain, Family, Part, Rule, found, rules_of};
use super::{iptables, nftables};

fn mapping() -> impl Strategy<Value = Mapping> {
    let ports = (
        1..60000u16,
        1..60000u16,
        1..40u16,
        any::<bool>(),
        any::<bool>(),
    );
    let address = prop::option::of(prop_oneof![Just(1), Just(127), Just(6)]);
    (
        any::<[u8; 16]>(),
        ports,
        address,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(uid, (host, guest, count, same, tcp), address, v6, localhost)| {
                let host_address: Option<IpAddr> = match (address, v6) {
                    (None, _) => None,
                    (Some(127), false) => Some("127.0.0.1".parse().unwrap()),
                    (Some(_), false) => Some("203.0.113.7".parse().unwrap()),
                    (Some(_), true) => Some("2001:db8::7".parse().unwrap()),
                };
                let ports = PortMapping {
                    address: host_address,
                    host,
                    guest: if same { host } else { guest },
                    count,
                    protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
                };
                let (guest, subnet) = match v6 {
                    true => ("fd00:1::9", "fd00:1::1/64"),
                    false => ("10.8.0.9", "10.8.0.1/24"),
                };
                let segment = Segment {
                    bridge: "kvm-blue.1".parse().unwrap(),
                    subnet: subnet.parse().unwrap(),
                    libvirt: LibvirtRules::Nat,
                };
                let uid = Uid::from_bytes(uid);
                let made = Mapping::new(uid, &ports, guest.parse().unwrap(), segment, localhost);
                made.unwrap().named(Name::new("web-8080").unwrap())
            },
        )
}

fn all_rules(mapping: &Mapping) -> BTreeSet<Rule> {
    let mut rules = rules_of(mapping, Part::Nat);
    rules.extend(rules_of(mapping, Part::Accept));
    rules
}

/// Writes rules as iptables-save prints them, jumps included.
fn saved(rules: &BTreeSet<Rule>) -> String {
    let goal = goal(rules);
    let script = iptables::script(
        &delta(&Default::default(), rules, &goal),
        &Default::default(),
    );
    script
        .replace("-I FORWARD 1", "-A FORWARD")
        .replace("-I PREROUTING 1", "-A PREROUTING")
        .replace("-I OUTPUT 1", "-A OUTPUT")
        .replace("-I POSTROUTING 1", "-A POSTROUTING")
}

/// Writes rules as `nft -a list` prints them, jumps included.
fn listed(rules: &BTreeSet<Rule>, family: Family) -> String {
    let ip = if family == Family::V4 { "ip" } else { "ip6" };
    let mut text = format!("table {ip} kvmctl {{ # handle 1\n");
    for chain in Chain::ALL {
        if chain == Chain::Fwd {
            let _ = writeln!(text, "}}\ntable {ip} libvirt_network {{ # handle 2");
        }
        let _ = writeln!(text, "\tchain {} {{ # handle 1", chain.name());
        for (n, rule) in rules.iter().filter(|r| r.chain == chain).enumerate() {
            let rule =
                nftables::render(rule, family).replace("counter", "counter packets 7 bytes 420");
            let _ = writeln!(text, "\t\t{rule} # handle {}", n + 10);
        }
        text.push_str("\t}\n");
        if chain == Chain::Fwd {
            let _ = writeln!(text, "}}\ntable {ip} kvmctl {{ # handle 1");
        }
    }
    text.push_str("}\n");
    text
}

fn goal(rules: &BTreeSet<Rule>) -> Goal {
    Goal {
        rules: rules.clone(),
        owners: rules.iter().filter_map(|r| r.tag.owner()).collect(),
    }
}

proptest! {
    #[test]
    fn iptables_reads_what_it_wrote(mapping in mapping()) {
        let rules = all_rules(&mapping);
        let saved = iptables::read(&saved(&rules));
        let read: BTreeSet<Rule> = saved.present.rules().cloned().collect();
        prop_assert_eq!(&read, &rules);
        prop_assert!(saved.others.is_empty());
        let goal = goal(&rules);
        prop_assert!(delta(&saved.present, &with_shared(&saved.present, goal.rules.clone(), &goal.owners), &goal).is_empty());
    }

    #[test]
    fn nftables_reads_what_it_wrote(mapping in mapping()) {
        let (rules, family) = (all_rules(&mapping), Family::of(mapping.guest()));
        let listed = nftables::read(&listed(&rules, family), family);
        let read: BTreeSet<Rule> = listed.present.rules().cloned().collect();
        prop_assert_eq!(&read, &rules);
        prop_assert!(listed.present.all().all(|seen| seen.packets == 7 && seen.place >= 10));
    }

    #[test]
    fn the_forward_is_found_in_its_rules(mapping in mapping()) {
        let rules = all_rules(&mapping);
        let found = found(rules.iter());
        prop_assert_eq!(found.len(), mapping.legs().count());
        prop_assert_eq!(found[0].owner, mapping.owner());
        prop_assert_eq!(found[0].name.as_ref(), mapping.name());
        prop_assert_eq!(found[0].claim.first, mapping.claim().first);
        prop_assert_eq!(found[0].claim.address, mapping.claim().address);
        prop_assert_eq!(found[0].guest_port, mapping.guest_ports().0);
        prop_assert_eq!(found[0].bridge.as_ref(), Some(&mapping.segment().bridge));
    }

    #[test]
    fn nothing_unread_becomes_a_rule(line in "\\PC*") {
        let text = format!("*nat\n:KVMCTL-DNAT - [0:0]\n[1:2] -A KVMCTL-DNAT {line}\nCOMMIT\n");
        let saved = iptables::read(&text);
        for rule in saved.present.rules() {
            prop_assert!(!iptables::render(rule).contains('\n'));
        }
        let text = format!("table ip kvmctl {{\n chain KVMCTL-DNAT {{\n {line} # handle 3\n }}\n}}\n");
        let _ = nftables::read(&text, Family::V4);
    }
}

/// Rules of others stay, and so does what they share with ours.
#[test]
fn a_forward_goes_without_those_of_others() {
    let make = |host: &str| {
        let segment = Segment {
            bridge: "virbr0".parse().unwrap(),
            subnet: "10.8.0.1/24".parse().unwrap(),
            libvirt: LibvirtRules::Nat,
        };
        let guest = "10.8.0.9".parse().unwrap();
        Mapping::new(Uid::random(), &host.parse().unwrap(), guest, segment, true).unwrap()
    };
    let (ours, other) = (make("8080:80"), make("9090:90"));
    let both: BTreeSet<Rule> = all_rules(&ours)
        .union(&all_rules(&other))
        .cloned()
        .collect();
    let saved = iptables::read(&saved(&both));
    let retire = |owners: &[Uid]| Goal {
        rules: BTreeSet::new(),
        owners: owners.iter().copied().collect(),
    };
    let one = retire(&[ours.owner()]);
    let change = delta(
        &saved.present,
        &with_shared(&saved.present, one.rules.clone(), &one.owners),
        &one,
    );
    let deleted: usize = change.values().map(|c| c.delete.len()).sum();
    assert_eq!(
        deleted,
        all_rules(&ours).len() - 2,
        "all but the shared ones"
    );
    assert!(!change.contains_key(&Chain::Raw));
    let all = retire(&[ours.owner(), other.owner()]);
    let change = delta(
        &saved.present,
        &with_shared(&saved.present, all.rules.clone(), &all.owners),
        &all,
    );
    assert!(Chain::ALL.iter().all(|chain| change[chain].drop));
}

#[test]
fn a_table_goes_only_with_nothing_but_ours_in_it() {
    let listed = |more: &str| {
        format!(
            "# Warning: table ip raw is managed by iptables-nft, do not touch!\n\
             table ip raw {{ # handle 7\n\
             \tchain PREROUTING {{ # handle 1\n\
             \t\ttype filter hook prerouting priority raw; policy accept;\n\
             \t\tip daddr 127.0.0.0/8  counter packets 0 bytes 0 jump KVMCTL-RAW # handle 4\n\
             {more}\t}}\n\n\tchain KVMCTL-RAW {{ # handle 3\n\t}}\n}}\n"
        )
    };
    let drop = |more: &str| nftables::drop_whole(&listed(more), "ip", "raw", &["KVMCTL-RAW"]);
    assert_eq!(
        drop("").as_deref(),
        Some(
            "delete rule ip raw PREROUTING handle 4\ndelete chain ip raw PREROUTING\n\
             delete chain ip raw KVMCTL-RAW\ndelete table ip raw\n"
        )
    );
    for of_others in [
        "\t\tcounter drop # handle 9\n",
        "\t\tjump OTHER # handle 9\n",
    ] {
        assert_eq!(drop(of_others), None, "{of_others}");
    }
}
