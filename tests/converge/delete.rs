//! `delete`, killed anywhere.

use super::place::was_killed;
use super::{Place, Recovery};
use crate::support::Sweep;

#[test]
fn killed_between_engine_steps() {
    let place = Place::new("gone", 4);
    let name = place.named("web");
    let manifest = place.manifest(&name, "");
    let before = place.traces();
    let delete = ["delete", "instance", name.as_str(), "--grace-period", "0"];
    for n in 1.. {
        place.run(&["apply", "-f", &manifest, "--wait=false"]).ok();
        let when = format!("killed at boundary {n}");
        let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &delete);
        if !was_killed(&run) {
            run.ok();
            assert!(n > 4, "the failpoints are gone");
            place.is_as(&before, "the clean run");
            return;
        }
        goes_on(&place, &name, &delete, Recovery::turn(n), &when);
        place.is_as(&before, &when);
    }
}

#[test]
fn killed_at_every_rename_fsync_and_unlink() {
    let place = Place::new("unlink", 5);
    let name = place.named("web");
    let before = place.traces();
    let delete = ["delete", "instance", name.as_str(), "--grace-period", "0"];
    let create = [
        "instances",
        "create",
        name.as_str(),
        "--image",
        "tiny",
        "--type",
        "basic-1",
        "--no-wait",
    ];
    let mut sweep = Sweep::new();
    while let Some((call, n)) = sweep.place() {
        if place.run(&["get", "instance", &name]).status != 0 {
            place.run(&create).ok();
        }
        let when = format!("killed at {call} {n}");
        let run = place.tampered(call, &format!("signal=KILL:when={n}"), &delete);
        if !place.strace_log().contains("killed by SIGKILL") {
            run.ok();
            place.is_as(&before, "the clean run");
            sweep.survived();
            continue;
        }
        sweep.killed();
        if place.run(&["get", "instance", &name]).status == 0 {
            goes_on(&place, &name, &delete, Recovery::turn(sweep.kills()), &when);
        }
        if place.run(&["get", "instance", &name]).status != 0 {
            // Whoever writes next sweeps what was being written.
            place.delete(&name).code(4);
            place.is_as(&before, &when);
        }
    }
    assert!(sweep.kills() > 6, "the calls are gone: {}", sweep.kills());
}

/// It shows as Terminating with the reason where anything was begun, and each way on ends it.
#[track_caller]
fn goes_on(place: &Place, name: &str, delete: &[&str], recovery: Recovery, when: &str) {
    let listed = place.run(&["get", "instances"]).ok();
    let Some(line) = listed.stdout.lines().find(|l| l.starts_with(name)) else {
        return;
    };
    let begun = line.contains("Terminating") && line.contains("DeleteInterrupted");
    assert!(begun || line.contains("Running"), "{when}: {line}");
    match recovery {
        Recovery::Reconcile => place.run(&["reconcile"]).ok(),
        _ => place.run(delete).ok(),
    };
}
