//! What comes and goes leaves nothing, and touches nothing of others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvmctl::api::Uid;
use kvmctl::host::firewall::{Firewall, Health, Privilege};
use kvmctl::net::forward::Mapping;

use super::net::{all_rules, sh};
use super::probe::{Answer, Server, Target, ask, ask_one};
use super::rig::{Backend, Rig};

#[test]
fn rules_before_are_rules_after() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        let before = all_rules(backend);
        let (one, two) = (Uid::random(), Uid::random());
        let first = rig.mapping(one, "8080:80", true);
        let second = rig.mapping(two, "8000-8010:9000-9010/udp", true);
        rig.assert(std::slice::from_ref(&first), &[]);
        let with_one = all_rules(backend);
        assert_ne!(before, with_one);
        rig.assert(&[second], &[]);
        rig.assert(&[], &[two]);
        assert_eq!(with_one, all_rules(backend), "{backend:?}");
        rig.assert(&[], &[one]);
        assert_eq!(before, all_rules(backend), "{backend:?}");
    }
}

#[test]
fn what_is_off_is_told_and_mended() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        let owner = Uid::random();
        let right = rig.mapping(owner, "8080:80", true);
        let wrong = rig.mapping_to(owner, "8080:80", "10.77.1.11", true);
        let health = |mapping: &Mapping| {
            rig.observe(std::slice::from_ref(mapping))
                .forwards
                .remove(0)
                .health
        };
        rig.assert(&[wrong], &[]);
        assert_eq!(
            health(&right),
            Health::Stale("it leads to 10.77.1.11:80".to_owned())
        );
        rig.assert(std::slice::from_ref(&right), &[]);
        assert_eq!(health(&right), Health::Active);
        let break_it = match backend {
            Backend::Iptables => "iptables -I FORWARD 1 -j ACCEPT",
            Backend::Nftables => "nft insert rule ip libvirt_network forward counter",
        };
        sh(break_it);
        assert!(matches!(health(&right), Health::Stale(why) if why.contains("not the first")));
        rig.assert(std::slice::from_ref(&right), &[]);
        assert_eq!(health(&right), Health::Active);
        sh("echo 0 > /proc/sys/net/ipv4/conf/kvmfwa/route_localnet");
        assert!(matches!(health(&right), Health::Stale(why) if why.contains("route_localnet")));
        rig.assert(std::slice::from_ref(&right), &[]);
        assert_eq!(health(&right), Health::Active);
    }
}

/// A UDP client that keeps its port follows the forward, and loses it with it.
#[test]
fn connections_follow_the_forward() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        let owner = Uid::random();
        let to = |guest: &str| rig.mapping_to(owner, "8080:80/udp", guest, true);
        let client = Client::new();
        // Before there is a forward, the host itself does not answer, and remembers.
        assert_eq!(client.ask(), None);
        rig.assert(&[to("10.77.1.10")], &[]);
        assert_eq!(client.ask().as_deref(), Some("web"), "{backend:?}");
        rig.assert(&[to("10.77.1.11")], &[]);
        assert_eq!(client.ask().as_deref(), Some("peer"), "{backend:?}");
        // A run that was killed has written the rules, and has not come to the connections.
        sh(&translate_to(backend, "10.77.1.11", "10.77.1.10"));
        assert_eq!(client.ask().as_deref(), Some("peer"), "{backend:?}");
        rig.assert(&[to("10.77.1.10")], &[]);
        assert_eq!(client.ask().as_deref(), Some("web"), "{backend:?}");
        rig.assert(&[], &[owner]);
        assert_eq!(client.ask(), None, "{backend:?}");
    }
}

/// The commands that lead all translations to another guest.
fn translate_to(backend: Backend, from: &str, to: &str) -> String {
    match backend {
        Backend::Iptables => {
            format!("iptables-save -t nat | sed 's/{from}/{to}/g' | iptables-restore")
        }
        Backend::Nftables => format!(
            "{{ echo delete table ip kvmctl; nft list table ip kvmctl | sed 's/{from}/{to}/g'; }} \
             > kvmctl.nft; nft -f kvmctl.nft; rm kvmctl.nft"
        ),
    }
}

#[test]
fn a_connection_ends_with_its_forward() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        let (ours, other) = (Uid::random(), Uid::random());
        rig.assert(
            &[
                rig.mapping(ours, "8080:80", true),
                rig.mapping(other, "8090:80", true),
            ],
            &[],
        );
        let mut ends = TcpStream::connect("203.0.113.1:8080").unwrap();
        let mut stays = TcpStream::connect("203.0.113.1:8090").unwrap();
        assert_eq!((say(&mut ends), say(&mut stays)), (true, true));
        rig.assert(&[], &[ours]);
        assert_eq!(
            (say(&mut ends), say(&mut stays)),
            (false, true),
            "{backend:?}"
        );
    }
}

/// Returns whether there is an answer.
fn say(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut buffer = [0; 16];
    stream.write_all(b"?").is_ok() && stream.read(&mut buffer).is_ok_and(|length| length > 0)
}

/// A UDP client on the host that always asks from the same port.
struct Client(std::net::UdpSocket);

impl Client {
    fn new() -> Self {
        let socket = std::net::UdpSocket::bind("203.0.113.1:40000").unwrap();
        let patience = std::time::Duration::from_millis(700);
        socket.set_read_timeout(Some(patience)).unwrap();
        Self(socket)
    }

    fn ask(&self) -> Option<String> {
        let mut buffer = [0; 64];
        for _ in 0..2 {
            // What an earlier refusal left behind is reported once.
            if self.0.send_to(b"?", "203.0.113.1:8080").is_ok()
                && let Ok((length, _)) = self.0.recv_from(&mut buffer)
            {
                return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        }
        None
    }
}

/// Two that write at the same time do not undo each other.
#[test]
fn twenty_at_once_all_hold() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        let mappings: Vec<Mapping> = (0..20)
            .map(|n| rig.mapping(Uid::random(), &format!("{}:80", 8100 + n), true))
            .collect();
        std::thread::scope(|scope| {
            for mapping in &mappings {
                let rig = &rig;
                scope.spawn(move || rig.assert(std::slice::from_ref(mapping), &[]));
            }
        });
        let observed = rig.observe(&mappings);
        assert!(
            observed.forwards.iter().all(|f| f.health == Health::Active),
            "{observed:?}"
        );
        assert!(observed.drift.is_empty(), "{:?}", observed.drift);
    }
}

#[test]
fn a_range_reaches_each_port_of_its_own() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        let _more = Server::start(Some("web"), "second", &["tcp/0.0.0.0:9001"]);
        let _same = Server::start(Some("web"), "same", &["tcp/0.0.0.0:8501"]);
        let owner = Uid::random();
        let wanted = [
            rig.mapping(owner, "8300-8302:9000-9002", true),
            rig.mapping(owner, "8500-8502:8500-8502", true),
        ];
        rig.assert(&wanted, &[]);
        let target = |port: u16| Target {
            udp: false,
            to: ([203, 0, 113, 1], port).into(),
        };
        let from = Answer::from;
        let got = ask(
            Some("out"),
            &[target(8301), target(8302), target(8501), target(8503)],
        );
        assert_eq!(
            got,
            [from("second"), Answer::None, from("same"), Answer::None]
        );
        let observed = rig.observe(&wanted);
        assert!(observed.forwards[1].connections >= 1, "{observed:?}");
        assert!(observed.forwards[1].packets >= 1, "{observed:?}");
    }
}

/// Rules that are in force stay it, whatever libvirt does, until somebody looks again.
#[test]
fn forwards_survive_by_themselves() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        rig.assert(&[rig.mapping(Uid::random(), "8080:80", true)], &[]);
        let expect = |when: &str| {
            let got = ask_one(Some("out"), "203.0.113.1:8080");
            assert_eq!(got, Answer::from("web"), "{backend:?}: {when}");
        };
        expect("made");
        rig.restart_daemon();
        expect("libvirtd restarted");
        rig.reload_daemon();
        expect("SIGHUP");
        rig.restart_network();
        expect("network restarted");
        rig.start_another_network();
        expect("another network started");
    }
}

#[test]
fn a_forward_to_a_network_that_does_not_run_waits_for_it() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        rig.stop_network();
        let wanted = [rig.mapping(Uid::random(), "8080:80", true)];
        rig.assert(&wanted, &[]);
        let health = rig.observe(&wanted).forwards.remove(0).health;
        assert!(
            matches!(&health, Health::Stale(why) if why.contains("not running")),
            "{health:?}"
        );
        assert!(rig.assert(&wanted, &[]).changed.is_empty());
        rig.start_network();
        rig.assert(&wanted, &[]);
        assert_eq!(
            rig.observe(&wanted).forwards[0].health,
            Health::Active,
            "{backend:?}"
        );
        assert_eq!(
            ask_one(Some("out"), "203.0.113.1:8080"),
            Answer::from("web")
        );
    }
}

/// Docker lets nothing be forwarded that it does not know.
#[test]
fn a_host_that_forwards_nothing_else_forwards_ours() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        sh("iptables -P FORWARD DROP");
        let owner = Uid::random();
        rig.assert(&[rig.mapping(owner, "8080:80", true)], &[]);
        let got = ask_one(Some("out"), "203.0.113.1:8080");
        rig.assert(&[], &[owner]);
        sh("iptables -P FORWARD ACCEPT");
        assert_eq!(got, Answer::from("web"), "{backend:?}");
    }
}

#[test]
fn ipv6_is_forwarded_like_ipv4() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        let before = all_rules(backend);
        let owner = Uid::random();
        let ports = ["8080:80", "8080:80/udp"];
        let wanted = ports.map(|ports| rig.mapping_to(owner, ports, "fd00:77:1::10", true));
        assert!(!rig.assert(&wanted, &[]).changed.is_empty());
        assert!(rig.assert(&wanted, &[]).changed.is_empty(), "{backend:?}");
        let to = "[2001:db8::1]:8080".parse().unwrap();
        let targets = [Target { udp: false, to }, Target { udp: true, to }];
        let web = || Answer::from("web6");
        for from in [Some("out"), None, Some("peer"), Some("far")] {
            assert_eq!(
                ask(from, &targets),
                [web(), web()],
                "{backend:?} from {from:?}"
            );
        }
        assert_eq!(
            ask_one(None, "127.0.0.1:8080"),
            Answer::None,
            "IPv4 was not asked for"
        );
        rig.assert(&[], &[owner]);
        assert_eq!(ask(Some("out"), &targets), [Answer::None, Answer::None]);
        assert_eq!(before, all_rules(backend), "{backend:?}");
    }
}

#[test]
fn rules_of_others_are_seen_and_left() {
    let rig = Rig::new(Backend::Iptables);
    let owner = Uid::random();
    rig.assert(&[rig.mapping(owner, "8080:80", true)], &[]);
    sh(
        "iptables -t nat -A PREROUTING -p tcp --dport 8888 -j DNAT --to-destination 10.9.9.9:80
        nft add table ip other
        nft 'add chain ip other pre { type nat hook prerouting priority -90; }'
        nft 'add rule ip other pre ip daddr 203.0.113.1 udp dport 7777-7778 dnat to 10.9.9.9:80'
        nft add table inet nat
        nft 'add chain inet nat pre { type nat hook prerouting priority -80; }'
        nft 'add rule inet nat pre tcp dport { 9443, 9500-9510 } dnat ip to 10.9.9.9'
        iptables -A KVMCTL-FWD -s 192.0.2.9 -j DROP",
    );
    let foreign = Firewall::new(Privilege::Own).foreign().unwrap();
    let mut claims: Vec<String> = foreign.iter().map(|f| f.claim.to_string()).collect();
    claims.sort();
    let theirs = [
        "203.0.113.1:7777-7778/udp",
        "8888/tcp",
        "9443/tcp",
        "9500-9510/tcp",
    ];
    assert_eq!(claims, theirs);
    rig.assert(&[], &[owner]);
    assert_eq!(sh("iptables -S KVMCTL-FWD | grep -c DROP").trim(), "1");
    assert_eq!(sh("iptables-save | grep -c kvmctl: || true").trim(), "0");
    sh(
        "nft delete table ip other; nft delete table inet nat; iptables -t nat -D PREROUTING 1
        iptables -F FORWARD; iptables -F KVMCTL-FWD; iptables -X KVMCTL-FWD",
    );
}

/// Between the reading and the writing of rules another program may put its own in their place.
#[test]
fn who_writes_rules_at_the_same_time_loses_none() {
    let rig = Rig::new(Backend::Iptables);
    let wanted = [rig.mapping(Uid::random(), "8080:80", true)];
    let done = AtomicBool::new(false);
    let inserted = std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let mut inserted = 0;
            while !done.load(Ordering::Relaxed) {
                inserted += 1;
                let rule = format!("-m comment --comment stranger-{inserted} ");
                sh(&format!("iptables -w 5 -I FORWARD 1 {rule}"));
            }
            inserted
        });
        for _ in 0..15 {
            // One that is always overtaken says so.
            let _ = rig.try_assert(&wanted);
        }
        done.store(true, Ordering::Relaxed);
        stranger.join().unwrap()
    });
    let rules = sh("iptables -S FORWARD");
    assert_eq!(rules.matches("stranger-").count(), inserted, "{rules}");
    assert!(inserted > 5, "{inserted}");
    rig.assert(&wanted, &[]);
    let rules = sh("iptables -S FORWARD");
    assert_eq!(rules.matches("-j KVMCTL-FWD").count(), 1, "{rules}");
    assert!(
        rules.lines().nth(1).unwrap().contains("KVMCTL-FWD"),
        "{rules}"
    );
    sh("iptables -S FORWARD | sed -n 's/^-A \\(.*stranger.*\\)/iptables -D \\1/p' | sh");
    assert_eq!(
        ask_one(Some("out"), "203.0.113.1:8080"),
        Answer::from("web")
    );
}
