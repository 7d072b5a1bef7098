//! `create` and `apply` of a new instance, killed between engine steps and at every system call that
//! makes something last.

use super::place::was_killed;
use super::{Place, Recovery};
use crate::support::Sweep;

#[test]
fn killed_between_engine_steps() {
    let place = Place::new("step", 1);
    let name = place.named("web");
    let manifest = place.manifest(&name, "");
    let apply = ["apply", "-f", manifest.as_str(), "--wait=false"];
    for recovery in Recovery::ALL {
        let before = place.traces();
        for n in 1.. {
            let when = format!("killed at boundary {n}, then {recovery:?}");
            let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &apply);
            if !was_killed(&run) {
                run.ok();
                assert!(n > 4, "the failpoints are gone");
                place.delete(&name).ok();
                break;
            }
            shows_itself(&place, &name, &when);
            recover(&place, &name, &apply, recovery);
            if recovery == Recovery::Delete {
                place.is_as(&before, &when);
            } else {
                place.is_whole(&name, &before, &when);
                place.delete(&name).ok();
                place.is_as(&before, &format!("{when}, then deleted"));
            }
        }
    }
}

#[test]
fn killed_at_every_rename_fsync_and_unlink() {
    let place = Place::new("call", 2);
    let name = place.named("web");
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
    let before = place.traces();
    let mut sweep = Sweep::new();
    while let Some((call, n)) = sweep.place() {
        let recovery = Recovery::turn(sweep.kills());
        let when = format!("killed at {call} {n}, then {recovery:?}");
        let run = place.tampered(call, &format!("signal=KILL:when={n}"), &create);
        if !place.strace_log().contains("killed by SIGKILL") {
            run.ok();
            place.delete(&name).ok();
            place.is_as(&before, "the clean run, deleted");
            sweep.survived();
            continue;
        }
        sweep.killed();
        let there = place.run(&["get", "instance", &name]).status == 0;
        if there {
            shows_itself(&place, &name, &when);
        }
        match recovery {
            Recovery::SameCommand => {
                let again = place.run(&create);
                if again.status == 5 {
                    again.says("AlreadyExists");
                } else {
                    again.ok();
                }
                place.is_whole(&name, &before, &when);
                place.delete(&name).ok();
            }
            Recovery::Delete if !there => {
                place.delete(&name).code(4);
            }
            _ => {
                recover(&place, &name, &create, recovery);
                if place.run(&["get", "instance", &name]).status == 0 {
                    place.is_whole(&name, &before, &when);
                    place.delete(&name).ok();
                }
            }
        }
        place.is_as(&before, &when);
    }
    assert!(sweep.kills() > 10, "the calls are gone: {}", sweep.kills());
}

/// A running guest is never given another disk: its file is the same after the creation is finished.
#[test]
fn a_guest_that_runs_keeps_its_disk() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new("keep", 3);
    let name = place.named("web");
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
    // Started, and the record not written.
    let run = place.run_with(("KVMCTL_FAILPOINT", "4"), &create);
    assert!(was_killed(&run), "{run}");
    let uid = place.virsh(&["domuuid", &name]).ok().text().to_owned();
    let disk = place.pool().join(format!("{name}.{}.qcow2", &uid[..8]));
    // Nobody is at it: it does not become Ready however long one waits.
    let instance = format!("instance/{name}");
    let wait = ["wait", "--for=condition=Ready", &instance, "--timeout=1h"];
    place
        .run(&wait)
        .code(1)
        .says("its creation was interrupted")
        .says("hint: kvmctl reconcile");
    let inode = std::fs::metadata(&disk).unwrap().ino();
    let started = place.virsh(&["domid", &name]).ok().text().to_owned();
    place.run(&create).ok();
    assert_eq!(std::fs::metadata(&disk).unwrap().ino(), inode);
    assert_eq!(place.virsh(&["domid", &name]).ok().text(), started);
}

/// What was begun is listed as Pending with the reason; what was done is Running.
#[track_caller]
fn shows_itself(place: &Place, name: &str, when: &str) {
    let listed = place.run(&["get", "instances"]).ok();
    let line = listed.stdout.lines().find(|l| l.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{when}: not listed: {listed}"));
    let pending = line.contains("Pending") && line.contains("CreateInterrupted");
    assert!(pending || line.contains("Running"), "{when}: {line}");
    if pending {
        let why = place.field(name, ".status.message");
        assert!(why.contains("kvmctl reconcile"), "{when}: {why}");
    }
}

fn recover(place: &Place, name: &str, command: &[&str], recovery: Recovery) {
    match recovery {
        Recovery::SameCommand => place.run(command).ok(),
        Recovery::Delete => place.delete(name).ok(),
        Recovery::Reconcile => place.run(&["reconcile"]).ok(),
    };
}
