//! The same table through the commands that people use, as far as they have to do with it.

use super::net::sh;
use super::rig::{Backend, Rig};
use super::table::{Cell, FOREIGN, ISOLATED, OPEN, SHUT, Table, closed};
use crate::support::Env;

fn run_by_command(backend: Backend) {
    let rig = Rig::new(backend);
    let env = Env::bare();
    env.kvmctl(["setup", "--yes", "--no-probe"]).ok();
    let images = std::env::var("KVMCTL_TEST_IMAGES").unwrap();
    if env.kvmctl(["get", "image", "tiny"]).status != 0 {
        let image = format!("{images}/tiny.qcow2");
        env.kvmctl(["images", "import", &image, "--name", "tiny"])
            .ok();
    }
    // The guest in the namespace stands in for it: forwards hold before an instance has booted.
    let size = ["--cpus", "1", "--memory", "96Mi", "--disk", "64Mi"];
    let place = ["instances", "create", "web", "--image", "tiny", "--no-wait"];
    let net = [
        "--network",
        "fwa,ip=10.77.1.10",
        "-p",
        "8080:80",
        "-p",
        "8080:80/udp",
    ];
    let create: Vec<&str> = place.iter().chain(&size).chain(&net).copied().collect();
    env.kvmctl(create).ok();
    sh("virsh -q destroy web");
    for (name, ports, flag) in [
        ("hidden", "8082:80", "--no-localhost"),
        ("hidden-udp", "8082:80/udp", "--no-localhost"),
        ("local", "127.0.0.1:8083:80", "--quiet"),
        ("local-udp", "127.0.0.1:8083:80/udp", "--quiet"),
    ] {
        env.kvmctl([
            "forwards",
            "create",
            name,
            "--instance",
            "web",
            "-p",
            ports,
            flag,
        ])
        .ok();
    }
    let reconcile = |code| {
        env.kvmctl(["reconcile"]).code(code);
        env.kvmctl(["reconcile", "--check"]).code(code);
    };
    let mut table = Table::default();
    let everything: &[&[Cell]] = &[&OPEN, &FOREIGN, &SHUT];
    reconcile(0);
    table.try_all("made", everything);

    rig.restart_daemon();
    reconcile(0);
    table.try_all("libvirtd restarted", everything);

    rig.restart_network();
    env.kvmctl(["reconcile", "--check"])
        .code(1)
        .prints("route_localnet");
    reconcile(0);
    table.try_all("network restarted", everything);

    // Its stand-in is not plugged in while it runs; what the commands do to the rules is what counts.
    rig.unplug("web");
    env.kvmctl(["instances", "start", "web", "--wait=false"])
        .ok();
    sh("virsh -q destroy web");
    rig.restart_guest("web");
    reconcile(0);
    table.try_all("guest restarted", everything);

    rig.flush();
    reconcile(1);
    table.try_all("rules flushed, then reconciled", &[&OPEN]);

    rig.restart_daemon();
    reconcile(0);
    table.try_all("libvirtd restarted after that", everything);

    env.kvmctl(["delete", "instance", "web", "--force"]).ok();
    table.try_all("instance deleted", &[&closed(), &FOREIGN, &SHUT]);
    for name in ["hidden", "hidden-udp", "local", "local-udp"] {
        env.kvmctl(["forwards", "delete", name]).ok();
    }
    assert_eq!(
        sh("{ iptables-save; nft list ruleset; } | grep -c KVMCTL || true").trim(),
        "0"
    );

    println!("\n{} backend, by command\n{}", backend.name(), table.text());
    assert!(table.wrong.is_empty(), "{}", table.wrong.join("\n"));
}

#[test]
fn by_command_with_iptables() {
    run_by_command(Backend::Iptables);
}

#[test]
fn by_command_with_nftables() {
    run_by_command(Backend::Nftables);
}

#[test]
fn a_guest_of_an_isolated_network_answers_whom_it_is_published_to() {
    for backend in Backend::ALL {
        let rig = Rig::new(backend);
        let isolated = rig.isolate();
        let owner = kvmctl::api::Uid::random();
        let wanted = [
            isolated.mapping(owner, "8090:80"),
            isolated.mapping(owner, "8090:80/udp"),
        ];
        rig.assert(&wanted, &[]);
        assert!(rig.assert(&wanted, &[]).changed.is_empty());
        let mut table = Table::default();
        table.try_all("isolated", &[&ISOLATED]);
        sh("ip -n alone route add default via 10.77.4.1");
        table.try_all("a guest that looks for a way out", &[&ISOLATED]);
        rig.assert(&[], &[owner]);
        println!("\n{} backend, isolated\n{}", backend.name(), table.text());
        assert!(table.wrong.is_empty(), "{}", table.wrong.join("\n"));
    }
}
