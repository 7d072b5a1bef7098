//! Copies that a signal ends.

use super::{Data, MIB, field, noise, run};
use crate::converge::Place;

/// Ctrl-C in the middle of a copy leaves nothing, nor does a kill leave the tool that copies.
#[test]
fn a_copy_that_is_interrupted_leaves_nothing() {
    let data = Data::new("sn-int", 65);
    let place = &data.place;
    let large = place.named("large");
    let create = [
        "volumes", "create", &large, "--size", "512Mi", "--format", "raw",
    ];
    place.run(&create).ok();
    let disk = field(place, "volume", &large, ".status.path");
    std::fs::write(&disk, noise(7, 256 * MIB)).unwrap();
    let before = place.traces();
    let take = ["snapshots", "create", &data.snapshot, "--volume", &large];
    for signal in ["-INT", "-TERM", "-KILL"] {
        let child = place.spawn(&take);
        let pid = copying(&large);
        let parent = parent_of(&pid);
        run("kill", &[signal, &parent]);
        let output = child.wait_with_output().unwrap();
        let code = output.status.code();
        match signal {
            "-INT" => assert_eq!(code, Some(130), "{output:?}"),
            "-TERM" => assert_eq!(code, Some(143), "{output:?}"),
            _ => drop(place.run(&["reconcile"]).ok()),
        }
        gone(&pid);
        place.is_as(&before, signal);
    }
    // A clone is ended as promptly where the daemon makes it, as without qemu-img at hand; but what it
    // still writes goes only when it has ended.
    let new = place.named("clone");
    let clone = [
        "volumes",
        "create",
        &new,
        "--from-volume",
        &large,
        "--format",
        "qcow2",
    ];
    let path = std::env::var("PATH").unwrap();
    for (path, by_daemon) in [(path.as_str(), false), ("/nowhere", true)] {
        let (child, pid) = held(place, path, &clone, &large);
        run("kill", &["-INT", &child.id().to_string()]);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        let mut told = format!("a clone, made by the daemon: {by_daemon}; {output:?}");
        if by_daemon {
            assert_eq!(field(place, "volume", &new, ".status.phase"), "Pending");
            run("kill", &["-CONT", &pid]);
            told.push_str(&place.run(&["reconcile"]).ok().to_string());
        }
        gone(&pid);
        place.is_as(&before, &told);
    }
    place.run(&["volumes", "delete", &large]).ok();
}

/// Begins a copy of a volume and halts the tool that makes it, in the middle.
fn held(
    place: &Place,
    path: &str,
    args: &[&str; 7],
    volume: &str,
) -> (std::process::Child, String) {
    for _ in 0..5 {
        let mut child = place.spawn_with(&[("PATH", path)], args);
        while child.try_wait().unwrap().is_none() {
            let pattern = format!("^[^ ]*qemu-img convert .*{volume}");
            let pid = run("pgrep", &["-f", &pattern]).trim().to_owned();
            if !pid.is_empty() {
                run("kill", &["-STOP", &pid]);
                // It may have come to its end before.
                std::thread::sleep(std::time::Duration::from_millis(20));
                if child.try_wait().unwrap().is_none() && !is_gone(&pid) {
                    return (child, pid);
                }
            }
        }
        child.wait().unwrap();
        place.run(&["volumes", "delete", args[2]]).ok();
    }
    panic!("nothing copies {volume} for long enough");
}

/// Returns the process that copies a volume, once it does.
fn copying(volume: &str) -> String {
    for _ in 0..600 {
        let found = run(
            "pgrep",
            &["-f", &format!("^[^ ]*qemu-img convert .*{volume}")],
        );
        if let Some(pid) = found.lines().next() {
            return pid.to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("nothing copies {volume}");
}

fn parent_of(pid: &str) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after) = stat.rsplit_once(") ").unwrap();
    after.split(' ').nth(1).unwrap().to_owned()
}

fn is_gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |s| s.contains(") Z "))
}

fn gone(pid: &str) {
    for _ in 0..250 {
        if is_gone(pid) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the copy outlives who asked for it");
}
