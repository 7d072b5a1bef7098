//! What guests of networks can do.

use super::rig::{Guest, Rig, sh, slot};

/// 31 characters: no bridge could be named after it.
const LONG: &str = "a-network-with-quite-a-long-name";

#[test]
fn guests_find_each_other_by_name_and_no_other_network() {
    let rig = Rig::new();
    let before = rig.traces();
    rig.run(&[
        "net",
        "create",
        "blue",
        "--cidr",
        "10.71.1.0/24",
        "--mtu",
        "1400",
    ])
    .ok();
    rig.run(&["net", "create", LONG, "--cidr", "10.71.2.0/24"])
        .ok();
    {
        let web = Guest::on(&rig, "blue", "web", &slot("blue", "10.71.1.10"));
        let db = Guest::on(&rig, "blue", "db", &slot("blue", "10.71.1.11"));
        let far = Guest::on(&rig, LONG, "far", &slot(LONG, "10.71.2.10"));
        // Whom kvmctl knows nothing of gets an address outside the slots.
        let stray = Guest::on(&rig, "blue", "stray", "52:54:00:aa:bb:cc");
        assert_eq!(
            (&*web.ip, &*db.ip, &*far.ip),
            ("10.71.1.10", "10.71.1.11", "10.71.2.10")
        );
        let last: u8 = stray.ip.rsplit('.').next().unwrap().parse().unwrap();
        assert!((2..10).contains(&last), "{}", stray.ip);

        assert_eq!(
            web.resolves("db.blue.internal", "10.71.1.1").as_deref(),
            Some("10.71.1.11")
        );
        assert_eq!(
            web.resolves("db", "10.71.1.1").as_deref(),
            Some("10.71.1.11")
        );
        assert_eq!(far.resolves("db.blue.internal", "10.71.2.1"), None);
        assert!(web.pings("10.71.1.11") && web.pings("10.71.1.1"));

        let _served = (db.serves(7777), far.serves(7777));
        assert!(web.connects("10.71.1.11", 7777));
        assert!(!web.connects("10.71.2.10", 7777) && !web.pings("10.71.2.10"));
        assert!(!far.connects("10.71.1.11", 7777) && !far.pings("10.71.1.11"));

        let mtu =
            sh("cat /sys/class/net/$(virsh -q net-info blue | awk '/Bridge/ {print $2}')/mtu");
        assert_eq!(mtu.trim(), "1400");
        let told = rig.run(&["net", "describe", "blue"]).ok();
        let told = told
            .prints("Firewall backend:    iptables")
            .prints("Rules of libvirt:    present");
        assert!(
            told.stdout.contains("10.71.1.10") && told.stdout.contains("web"),
            "{told}"
        );
        let names = rig.field("blue", ".status.leases[*].hostname");
        assert!(
            ["web", "db", "stray"].iter().all(|n| names.contains(n)),
            "{names}"
        );
    }
    rig.delete(&["blue", LONG]);
    assert_eq!(rig.traces(), before);
}

/// libvirt allows dnsmasq only as many leases as its ranges have addresses.
#[test]
fn every_slot_gets_its_lease() {
    let rig = Rig::new();
    rig.run(&["net", "create", "blue", "--cidr", "10.71.3.0/24"])
        .ok();
    let guests: Vec<Guest> = (0..12)
        .map(|n| {
            let ip = format!("10.71.3.{}", 100 + n);
            let guest = Guest::on(&rig, "blue", &format!("g{n}"), &slot("blue", &ip));
            assert_eq!(guest.ip, ip);
            guest
        })
        .collect();
    drop(guests);
    rig.delete(&["blue"]);
}

#[test]
fn an_isolated_network_has_no_way_out() {
    let rig = Rig::new();
    sh(
        "ip link add out0 type veth peer name out1; ip addr add 198.51.100.1/24 dev out0; ip link set out0 up; ip link set out1 up",
    );
    let nat = ["net", "create", "blue", "--cidr", "10.71.4.0/24"];
    let isolated = [
        "net",
        "create",
        "red",
        "--cidr",
        "10.71.5.0/24",
        "--mode",
        "isolated",
    ];
    rig.run(&nat).ok();
    rig.run(&isolated).ok();
    {
        let inside = Guest::on(&rig, "red", "inside", &slot("red", "10.71.5.10"));
        let routes = sh("ip -n inside route show default");
        assert_eq!(routes.trim(), "", "no router is named to it");
        assert!(inside.pings("10.71.5.1"));
        sh("ip -n inside route add default via 10.71.5.1");
        let nat = Guest::on(&rig, "blue", "nat", &slot("blue", "10.71.4.10"));
        assert!(!inside.pings(&nat.ip));
        assert!(nat.pings("198.51.100.1"));
    }
    sh("ip link del out0");
    rig.delete(&["blue", "red"]);
}
