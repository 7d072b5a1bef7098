//! Who reaches what, before and after everything that happens to a firewall.

use kvmctl::api::Uid;
use kvmctl::host::firewall::Health;
use kvmctl::net::forward::Mapping;

use super::net::sh;
use super::probe::{Answer, Target, ask};
use super::rig::{Backend, Rig};
use super::table::{Cell, FOREIGN, OPEN, SHUT, Table, closed};

fn all_mappings(rig: &Rig, owner: Uid, hidden: Uid) -> Vec<Mapping> {
    vec![
        rig.mapping(owner, "8080:80", true),
        rig.mapping(owner, "8080:80/udp", true),
        rig.mapping(hidden, "8082:80", false),
        rig.mapping(hidden, "8082:80/udp", false),
        rig.mapping(hidden, "127.0.0.1:8083:80", true),
        rig.mapping(hidden, "127.0.0.1:8083:80/udp", true),
    ]
}

#[track_caller]
fn expect_active(rig: &Rig, mappings: &[Mapping]) {
    let observed = rig.observe(mappings);
    for (mapping, state) in mappings.iter().zip(&observed.forwards) {
        assert_eq!(state.health, Health::Active, "{mapping}");
    }
    assert!(observed.drift.is_empty(), "{:?}", observed.drift);
}

fn run(backend: Backend) {
    let rig = Rig::new(backend);
    let mut table = Table::default();
    let (owner, hidden) = (Uid::random(), Uid::random());
    let wanted = all_mappings(&rig, owner, hidden);
    let before = rig.observe(&wanted);
    assert!(
        before
            .forwards
            .iter()
            .all(|f| matches!(f.health, Health::Missing(_)))
    );
    assert_eq!(before.bridges[0].backend.to_string(), backend.name());

    let changes = rig.assert(&wanted, &[]);
    assert!(
        !changes.changed.is_empty() && changes.warnings.is_empty(),
        "{changes:?}"
    );
    expect_active(&rig, &wanted);
    let again = rig.assert(&wanted, &[]);
    assert!(again.changed.is_empty(), "{:?}", again.changed);
    let everything: &[&[Cell]] = &[&OPEN, &FOREIGN, &SHUT];
    table.try_all("made", everything);

    rig.restart_daemon();
    rig.assert(&wanted, &[]);
    expect_active(&rig, &wanted);
    table.try_all("libvirtd restarted", everything);

    rig.restart_network();
    let stale = rig.observe(&wanted).forwards;
    assert!(matches!(&stale[0].health, Health::Stale(_)), "{stale:?}");
    rig.assert(&wanted, &[]);
    expect_active(&rig, &wanted);
    table.try_all("network restarted", everything);

    rig.reload_daemon();
    rig.assert(&wanted, &[]);
    table.try_all("SIGHUP", everything);

    rig.start_another_network();
    rig.assert(&wanted, &[]);
    table.try_all("another network started", everything);

    // Its port of the bridge is another one, which lets nothing back.
    rig.restart_guest("web");
    rig.assert(&wanted, &[]);
    expect_active(&rig, &wanted);
    table.try_all("guest restarted", everything);

    rig.flush();
    let changes = rig.assert(&wanted, &[]);
    assert_eq!(changes.warnings.len(), 1, "{changes:?}");
    assert!(changes.warnings[0].contains("libvirtd"), "{changes:?}");
    table.try_all("rules flushed, then asserted", &[&OPEN]);

    rig.restart_daemon();
    let changes = rig.assert(&wanted, &[]);
    assert!(changes.warnings.is_empty(), "{changes:?}");
    expect_active(&rig, &wanted);
    table.try_all("libvirtd restarted after that", everything);

    rig.assert(&[], &[owner]);
    table.try_all("forward removed", &[&closed(), &FOREIGN, &SHUT]);

    println!("\n{} backend\n{}", backend.name(), table.text());
    assert!(table.wrong.is_empty(), "{}", table.wrong.join("\n"));
}

#[test]
fn with_iptables() {
    run(Backend::Iptables);
}

#[test]
fn with_nftables() {
    run(Backend::Nftables);
}

/// The rule that keeps guests out of the host's 127.0.0.0/8 is what does it.
#[test]
fn without_the_drop_rule_a_guest_would_get_in() {
    let rig = Rig::new(Backend::Iptables);
    rig.assert(&[rig.mapping(Uid::random(), "8080:80", true)], &[]);
    let target = [Target {
        udp: false,
        to: "127.0.0.1:9999".parse().unwrap(),
    }];
    assert_eq!(ask(Some("evil"), &target), [Answer::None]);
    sh("iptables -t raw -F KVMCTL-RAW");
    assert_eq!(
        ask(Some("evil"), &target),
        [Answer::From("secret".to_owned())]
    );
}
