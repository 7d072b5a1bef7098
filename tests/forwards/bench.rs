//! How long it takes to put many forwards into force, against the bare loading of the same rules.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kvmctl::api::Uid;
use kvmctl::net::forward::Mapping;

use super::net::sh;
use super::rig::{Backend, Rig};

const ROUNDS: u32 = 5;

fn median(mut round: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// Loads rules and does nothing else.
fn load(tool: &[&str], rules: &str) {
    let mut child = Command::new(tool[0])
        .args(&tool[1..])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(rules.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

/// What there is of ours, as the tool itself would load it again.
fn own_rules(backend: Backend) -> (&'static [&'static str], String) {
    match backend {
        Backend::Iptables => (
            &["iptables-restore", "--noflush", "-w", "5"],
            sh("iptables-save | grep -E '^[*]|^COMMIT|KVMCTL'"),
        ),
        Backend::Nftables => {
            let own = sh("nft list table ip kvmctl");
            let libvirt = sh("nft list chain ip libvirt_network KVMCTL-FWD");
            (&["nft", "-f", "-"], format!("{own}\n{libvirt}"))
        }
    }
}

#[test]
#[ignore = "takes long: tests/bench/forwards.sh"]
fn many() {
    println!(
        "{:10} {:>9} {:>12} {:>12} {:>7} {:>12} {:>12}",
        "backend", "forwards", "bare load ms", "assert ms", "ratio", "again ms", "remove ms"
    );
    for backend in Backend::ALL {
        for count in [1u16, 100, 1000] {
            let rig = Rig::new(backend);
            let mappings: Vec<Mapping> = (0..count)
                .map(|n| rig.mapping(Uid::random(), &format!("{}:80", 20000 + n), true))
                .collect();
            let owners: Vec<Uid> = mappings.iter().map(Mapping::owner).collect();
            rig.assert(&mappings, &[]);
            let (tool, rules) = own_rules(backend);
            let mut remove = Vec::new();
            let assert = median(|| {
                remove.push(timed(|| drop(rig.assert(&[], &owners))));
                timed(|| drop(rig.assert(&mappings, &[])))
            });
            let again = median(|| timed(|| drop(rig.assert(&mappings, &[]))));
            remove.sort_unstable();
            let remove = remove[remove.len() / 2].as_secs_f64() * 1000.0;
            let bare = median(|| {
                rig.assert(&[], &owners);
                timed(|| load(tool, &rules))
            });
            rig.assert(&[], &owners);
            println!(
                "{:10} {count:>9} {bare:>12.1} {assert:>12.1} {:>7.2} {again:>12.1} {remove:>12.1}",
                backend.name(),
                assert / bare
            );
        }
    }
}
