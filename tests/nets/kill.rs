//! A run may be killed anywhere: what is left shows itself, and each way on brings the end state of a
//! clean run.

use std::collections::BTreeSet;

use super::rig::{Rig, sh};
use crate::support::{CommandOutput, Sweep};

const CREATE: &[&str] = &["net", "create", "blue", "--cidr", "10.74.1.0/24"];
const DELETE: &[&str] = &["net", "delete", "blue"];
const RECONCILE: &[&str] = &["reconcile"];

fn was_killed(output: &CommandOutput) -> bool {
    matches!(output.status, -1 | 137)
}

fn phase(rig: &Rig) -> Option<String> {
    let told = rig.run(&["get", "net", "--no-headers"]).ok();
    let line = told.stdout.lines().find(|l| l.starts_with("blue "))?;
    line.split_whitespace().nth(1).map(str::to_owned)
}

/// One after another: the same command, the deletion, `reconcile`.
#[track_caller]
fn after_create(rig: &Rig, n: usize, before: &BTreeSet<String>, when: &str) {
    let shown = phase(rig);
    let known = ["Pending(CreateInterrupted)", "Active"];
    assert!(
        shown.iter().all(|p| known.contains(&&**p)),
        "{when}: {shown:?}"
    );
    match n % 3 {
        0 if shown.as_deref() == Some("Active") => {}
        0 => drop(rig.run(CREATE).ok()),
        1 if shown.is_none() => {}
        1 => drop(rig.run(DELETE).ok()),
        _ => drop(rig.run(RECONCILE).ok()),
    }
    match phase(rig) {
        Some(phase) => {
            assert_eq!(phase, "Active", "{when}");
            assert_eq!(rig.field("blue", ".status.autostart"), "true", "{when}");
            rig.delete(&["blue"]);
        }
        None => assert_ne!(n % 3, 0, "{when}: the same command makes it"),
    }
    assert_eq!(rig.traces(), *before, "{when}");
}

#[test]
fn a_creation_that_is_killed_is_finished_or_gone() {
    let rig = Rig::new();
    rig.run(CREATE).ok();
    rig.delete(&["blue"]);
    let before = rig.traces();
    for n in 1.. {
        let when = format!("killed at boundary {n}");
        let run = rig.run_with(("KVMCTL_FAILPOINT", &n.to_string()), CREATE);
        if !was_killed(&run) {
            run.ok();
            assert!(n > 4, "the failpoints are gone");
            break;
        }
        after_create(&rig, n, &before, &when);
    }
    rig.delete(&["blue"]);
    let mut sweep = Sweep::new();
    while let Some((call, n)) = sweep.place() {
        let (run, killed) = rig.killed_at(call, n, CREATE);
        if !killed {
            run.ok();
            rig.delete(&["blue"]);
            sweep.survived();
            continue;
        }
        sweep.killed();
        let when = format!("killed at {call} {n}");
        after_create(&rig, sweep.kills(), &before, &when);
    }
    assert!(sweep.kills() > 6, "the calls are gone: {}", sweep.kills());
}

#[test]
fn a_deletion_that_is_killed_goes_on() {
    let rig = Rig::new();
    rig.run(CREATE).ok();
    rig.delete(&["blue"]);
    let before = rig.traces();
    for n in 1.. {
        let when = format!("killed at boundary {n}");
        rig.run(CREATE).ok();
        let run = rig.run_with(("KVMCTL_FAILPOINT", &n.to_string()), DELETE);
        if !was_killed(&run) {
            run.ok();
            assert!(n > 3, "the failpoints are gone");
            break;
        }
        // At the last one nothing is left to show.
        if let Some(shown) = phase(&rig) {
            assert_eq!(shown, "Terminating(DeleteInterrupted)", "{when}");
            match n % 2 {
                0 => rig.run(DELETE).ok(),
                _ => rig.run(RECONCILE).ok(),
            };
        }
        assert_eq!(rig.traces(), before, "{when}");
    }
}

#[test]
fn a_deletion_that_is_killed_at_any_call_goes_on() {
    let rig = Rig::new();
    rig.run(CREATE).ok();
    rig.delete(&["blue"]);
    let before = rig.traces();
    let mut sweep = Sweep::new();
    while let Some((call, n)) = sweep.place() {
        rig.run(CREATE).ok();
        let (run, killed) = rig.killed_at(call, n, DELETE);
        let when = format!("killed at {call} {n}");
        if killed {
            sweep.killed();
        } else {
            run.ok();
            sweep.survived();
        }
        match phase(&rig).as_deref() {
            None => {}
            // Before anything was written down.
            Some("Active") => rig.delete(&["blue"]),
            Some("Terminating(DeleteInterrupted)") if sweep.kills().is_multiple_of(2) => {
                rig.run(RECONCILE).ok();
            }
            Some("Terminating(DeleteInterrupted)") => rig.delete(&["blue"]),
            Some(other) => panic!("{when}: {other}"),
        }
        assert_eq!(rig.traces(), before, "{when}");
    }
    assert!(sweep.kills() > 6, "the calls are gone: {}", sweep.kills());
}

#[test]
fn a_change_that_is_killed_leaves_the_network_up() {
    let rig = Rig::new();
    rig.run(CREATE).ok();
    for n in 1.. {
        let when = format!("killed at boundary {n}");
        let patch = format!("{{\"spec\":{{\"mtu\":{}}}}}", 1300 + n);
        let change = ["patch", "network", "blue", "-p", &patch];
        let run = rig.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &change);
        if !was_killed(&run) {
            run.ok();
            assert!(n > 3, "the failpoints are gone");
            break;
        }
        match n % 2 {
            0 => drop(rig.run(&change).ok()),
            _ => drop(rig.run(RECONCILE).ok()),
        }
        assert_eq!(phase(&rig).as_deref(), Some("Active"), "{when}");
        let mtu = |which: &str| {
            sh(&format!(
                "virsh -q net-dumpxml {which} blue | grep '<mtu' || true"
            ))
        };
        assert_eq!(
            mtu(""),
            mtu("--inactive"),
            "{when}: what is up is what is written"
        );
    }
    rig.delete(&["blue"]);
}
