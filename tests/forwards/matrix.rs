//! Who reaches what, before and after everything that happens to a firewall.

use std::fmt::Write as _;

use kvmctl::api::Uid;
use kvmctl::host::firewall::Health;
use kvmctl::net::forward::Mapping;

use super::net::sh;
use super::probe::{Answer, Target, ask};
use super::rig::{Backend, Rig};
use crate::support::Env;

/// From where, in which namespace, to which address and port, and who must answer.
struct Cell {
    from: &'static str,
    namespace: Option<&'static str>,
    to: &'static str,
    what: &'static str,
    expected: Option<&'static str>,
}

const fn cell(
    from: &'static str,
    namespace: Option<&'static str>,
    to: &'static str,
    what: &'static str,
    expected: Option<&'static str>,
) -> Cell {
    Cell {
        from,
        namespace,
        to,
        what,
        expected,
    }
}

/// What a published port is for.
const OPEN: [Cell; 8] = [
    cell(
        "external",
        Some("out"),
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "host address",
        None,
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "localhost",
        None,
        "127.0.0.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "same bridge",
        Some("peer"),
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "same bridge",
        Some("peer"),
        "10.77.1.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "guest itself",
        Some("web"),
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "other network",
        Some("far"),
        "203.0.113.1:8080",
        "published",
        Some("web"),
    ),
    cell(
        "other network",
        Some("far"),
        "10.77.2.1:8080",
        "published",
        Some("web"),
    ),
];

/// What nobody may have taken: ports of the same number on other machines.
const FOREIGN: [Cell; 4] = [
    cell(
        "host address",
        None,
        "203.0.113.2:8080",
        "foreign",
        Some("foreign"),
    ),
    cell(
        "same bridge",
        Some("peer"),
        "203.0.113.2:8080",
        "foreign",
        Some("foreign"),
    ),
    cell(
        "guest itself",
        Some("web"),
        "203.0.113.2:8080",
        "foreign",
        Some("foreign"),
    ),
    cell(
        "other network",
        Some("far"),
        "203.0.113.2:8080",
        "foreign",
        Some("foreign"),
    ),
];

/// What must stay shut.
const SHUT: [Cell; 8] = [
    cell(
        "external",
        Some("out"),
        "203.0.113.1:8081",
        "unpublished",
        None,
    ),
    cell(
        "external",
        Some("out"),
        "10.77.1.10:80",
        "guest by route",
        None,
    ),
    cell(
        "external",
        Some("out"),
        "10.77.1.10:81",
        "guest by route",
        None,
    ),
    cell(
        "other network",
        Some("far"),
        "10.77.1.10:80",
        "guest directly",
        None,
    ),
    cell(
        "same bridge",
        Some("evil"),
        "127.0.0.1:9999",
        "host's 127/8",
        None,
    ),
    cell(
        "external",
        Some("out"),
        "203.0.113.1:9999",
        "host's 127/8",
        None,
    ),
    cell(
        "localhost",
        None,
        "127.0.0.1:8082",
        "not by localhost",
        None,
    ),
    cell(
        "localhost",
        None,
        "203.0.113.1:8083",
        "only by localhost",
        None,
    ),
];

/// The columns of the table, in which a test says what has happened.
#[derive(Default)]
struct Table {
    columns: Vec<String>,
    rows: Vec<(String, Vec<&'static str>)>,
    wrong: Vec<String>,
}

impl Table {
    /// Tries cells by both protocols.
    fn try_all(&mut self, when: &str, cells: &[&[Cell]]) {
        let column = self.columns.len();
        self.columns.push(when.to_owned());
        let cells: Vec<&Cell> = cells.iter().copied().flatten().collect();
        let mut namespaces: Vec<_> = cells.iter().map(|c| c.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        std::thread::scope(|scope| {
            let asked: Vec<_> = namespaces
                .iter()
                .map(|namespace| {
                    let mine: Vec<&Cell> = cells
                        .iter()
                        .copied()
                        .filter(|c| c.namespace == *namespace)
                        .collect();
                    scope.spawn(move || {
                        let targets: Vec<Target> = mine.iter().flat_map(|c| both(c)).collect();
                        let answers = ask(*namespace, &targets);
                        (mine, answers)
                    })
                })
                .collect();
            for thread in asked {
                let (mine, answers) = thread.join().unwrap();
                for (cell, got) in mine.iter().zip(answers.chunks(2)) {
                    for (protocol, got) in ["tcp", "udp"].iter().zip(got) {
                        self.note(column, cell, protocol, got);
                    }
                }
            }
        });
    }

    fn note(&mut self, column: usize, cell: &Cell, protocol: &str, got: &Answer) {
        let expected = cell
            .expected
            .map_or(Answer::None, |name| Answer::From(name.to_owned()));
        let mark = match (*got == expected, got) {
            (true, Answer::From(_)) => "yes",
            (true, Answer::None) => "no",
            (false, _) => "WRONG",
        };
        let name = format!(
            "{:14} {:18} {:17} {protocol}",
            cell.from, cell.to, cell.what
        );
        if mark == "WRONG" {
            let when = &self.columns[column];
            self.wrong
                .push(format!("{when}: {name}: {got:?} instead of {expected:?}"));
        }
        let row = match self.rows.iter().position(|(row, _)| *row == name) {
            Some(row) => row,
            None => {
                self.rows.push((name, Vec::new()));
                self.rows.len() - 1
            }
        };
        let marks = &mut self.rows[row].1;
        marks.resize(column, "");
        marks.push(mark);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (number, when) in self.columns.iter().enumerate() {
            let _ = writeln!(text, "  {}: {when}", number + 1);
        }
        let numbers: String = (1..=self.columns.len())
            .map(|n| format!("{n:>6}"))
            .collect();
        let _ = writeln!(text, "{:54}{numbers}", "");
        for (row, marks) in &self.rows {
            let marks: String = marks.iter().map(|mark| format!("{mark:>6}")).collect();
            let _ = writeln!(text, "{row:54}{marks}");
        }
        text
    }
}

fn both(cell: &Cell) -> [Target; 2] {
    let to = cell.to.parse().unwrap();
    [Target { udp: false, to }, Target { udp: true, to }]
}

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
    let closed = OPEN.map(|c| Cell {
        expected: None,
        ..c
    });
    table.try_all("forward removed", &[&closed, &FOREIGN, &SHUT]);

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

/// The same through the commands that people use, as far as they have to do with it.
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

    rig.flush();
    reconcile(1);
    table.try_all("rules flushed, then reconciled", &[&OPEN]);

    rig.restart_daemon();
    reconcile(0);
    table.try_all("libvirtd restarted after that", everything);

    env.kvmctl(["delete", "instance", "web", "--force"]).ok();
    let closed = OPEN.map(|c| Cell {
        expected: None,
        ..c
    });
    table.try_all("instance deleted", &[&closed, &FOREIGN, &SHUT]);
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
