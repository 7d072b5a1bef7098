//! Snapshots of a guest that runs: chains, kills, memory, and jobs of somebody else's.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::Recovery;
use super::live_guest::{Guest, MIB};
use super::place::was_killed;

#[test]
fn each_of_a_chain_of_five_holds_its_own_moment() {
    let mut guest = Guest::start("chain", 51);
    guest.writes(1, 0, 8 * MIB);
    guest.snapshot("s0", &[]).ok();
    let mut moments = vec![guest.model.clone()];
    for n in 1..=5u8 {
        // Over what the one before wrote, on new ground, and zeroes over what was there.
        let at = usize::from(n) * MIB;
        guest.writes(10 + n, at, MIB + 512);
        guest.writes(20 + n, 20 * MIB + at, 64 << 10);
        guest.writes(0, at / 2, 4096);
        let base = format!("s{}", n - 1);
        let (name, asked) = (format!("s{n}"), ["--base", base.as_str()]);
        guest.snapshot(&name, &asked).ok();
        assert_eq!(guest.status(&name, "parent"), base);
        assert_eq!(guest.status(&name, "disks[0].incremental"), "true");
        moments.push(guest.model.clone());
    }
    for (n, model) in moments.iter().enumerate() {
        guest.holds(&format!("s{n}"), model, "the whole chain");
    }
    guest.run(&["snapshots", "verify", "s5"]).ok();
    guest.is_at_peace(6, "the whole chain");
    let entries: Vec<String> = guest.files().into_iter().collect();
    for file in &entries {
        use std::os::unix::fs::PermissionsExt as _;
        let found = fs::metadata(guest.place.pool().join(file)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{file}");
    }

    // From the middle, from the root, from the end.
    let mut left: Vec<usize> = (0..=5).collect();
    // Of two that go at once the upper one begins.
    for gone in [&[3, 2][..], &[0], &[5]] {
        let delete = |n: &usize| {
            guest
                .place
                .spawn(&["snapshots", "delete", &format!("s{n}")])
        };
        let runs: Vec<_> = gone.iter().map(delete).collect();
        for run in runs {
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{gone:?}: {output:?}");
        }
        left.retain(|n| !gone.contains(n));
        for n in &left {
            let when = format!("without {gone:?}");
            guest.gives(&format!("s{n}"), &moments[*n], &when);
        }
        guest.is_at_peace(left.len(), "after a deletion");
    }
    assert_eq!(guest.status("s1", "parent"), "");
    assert_eq!(guest.status("s4", "parent"), "s1");
    guest.run(&["snapshots", "verify", "s4"]).ok();

    lost_notes_make_it_full(&mut guest);
    for name in ["s1", "s4", "s6"] {
        guest.run(&["snapshots", "delete", name]).ok();
    }
    // The ground of the newest goes at once.
    guest.snapshot("r0", &["--retain", "1"]).ok();
    let on_it = ["--base", "r0", "--retain", "1"];
    let told = guest.snapshot("r1", &on_it).ok();
    told.says("snapshot/r0 was deleted");
    let model = guest.model.clone();
    guest.gives("r1", &model, "without its ground");
    guest.run(&["snapshots", "delete", "r1"]).ok();
    assert!(guest.files().is_empty(), "{:?}", guest.files());
    guest.end();
}

/// A QEMU that is killed cannot write down what has changed.
fn lost_notes_make_it_full(guest: &mut Guest) {
    let pid = fs::read_to_string(format!("/run/libvirt/qemu/{}.pid", guest.name)).unwrap();
    Command::new("kill")
        .args(["-9", pid.trim()])
        .status()
        .unwrap();
    for _ in 0..100 {
        let state = guest.place.virsh(&["domstate", &guest.name]).ok();
        if state.text() == "shut off" {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    guest.run(&["instances", "start", &guest.name]).ok();
    guest.writes(99, 30 * MIB, 4096);
    guest
        .snapshot("s6", &["--base", "s4"])
        .ok()
        .says("everything is stored");
    assert_eq!(guest.status("s6", "parent"), "");
    let model = guest.model.clone();
    guest.holds("s6", &model, "in full");
}

#[test]
fn a_making_that_was_killed_leaves_the_guest_as_it_was() {
    let mut guest = Guest::start("live", 52);
    guest.writes(1, 0, 24 * MIB);
    guest.snapshot("s0", &[]).ok();
    guest.writes(2, MIB, 2 * MIB);
    let create = ["snapshots", "create", "s1", "--base", "s0", "--volume"];
    let create = [&create[..], &[guest.volume.as_str()]].concat();
    let files = guest.files();
    let recover = |recovery: Recovery, when: &str| {
        match recovery {
            Recovery::SameCommand => {
                let again = guest.run(&create);
                let done = again.status == 5 && again.stderr.contains("AlreadyExists");
                assert!(again.status == 0 || done, "{when}: {again}");
                guest.is_at_peace(2, when);
                guest.holds("s1", &guest.model, when);
            }
            Recovery::Delete => {}
            Recovery::Reconcile => {
                guest.run(&["reconcile"]).ok();
            }
        }
        if guest.run(&["get", "snapshot", "s1"]).status == 0 {
            guest.run(&["snapshots", "delete", "s1"]).ok();
        }
        guest.is_at_peace(1, when);
        assert_eq!(guest.files(), files, "{when}");
        assert_eq!(guest.run(&["reconcile", "--check"]).status, 0, "{when}");
    };
    for n in 1.. {
        let run = guest
            .place
            .run_with(("KVMCTL_FAILPOINT", &n.to_string()), &create);
        let when = format!("killed at boundary {n}");
        if !was_killed(&run) {
            run.ok();
            assert!(n > 4, "the failpoints are gone");
            guest.is_at_peace(2, "the clean run");
            recover(Recovery::Delete, "the clean run");
            break;
        }
        recover(Recovery::turn(n), &when);
    }
    for (n, pause) in [30, 80, 130, 200, 300, 450].into_iter().enumerate() {
        let mut run = guest.place.spawn(&create);
        thread::sleep(Duration::from_millis(pause));
        // `timeout` stands between, and ends with it.
        let children = format!("/proc/{0}/task/{0}/children", run.id());
        for pid in fs::read_to_string(children).unwrap_or_default().split(' ') {
            Command::new("kill").args(["-9", pid]).output().unwrap();
        }
        run.wait().unwrap();
        recover(Recovery::turn(n), &format!("killed after {pause} ms"));
    }
    guest.run(&["snapshots", "delete", "s0"]).ok();
    guest.end();
}

#[test]
fn a_deletion_from_a_chain_that_was_killed_keeps_every_other() {
    let mut guest = Guest::start("lift", 53);
    guest.writes(1, 0, 4 * MIB);
    let before = guest.model.clone();
    guest.snapshot("s0", &[]).ok();
    guest.writes(2, MIB, MIB);
    guest.snapshot("s1", &["--base", "s0"]).ok();
    guest.writes(3, 2 * MIB, MIB);
    guest.snapshot("s2", &["--base", "s1"]).ok();
    let after = guest.model.clone();
    let files = guest.files().len();
    for n in 1.. {
        let (number, delete) = (n.to_string(), ["snapshots", "delete", "s1"]);
        let run = guest.place.run_with(("KVMCTL_FAILPOINT", &number), &delete);
        assert!(was_killed(&run), "the failpoints are gone: {run}");
        let when = format!("killed at boundary {n}");
        guest.gives("s0", &before, &when);
        guest.gives("s2", &after, &when);
        guest.run(&["get", "snapshot", "s1"]).ok();
        if guest.files().len() < files {
            // The rest of it goes with the root.
            break;
        }
    }
    let calls = ["rename", "renameat", "?renameat2", "fsync", "unlink"];
    guest.holds("s0", &before, "without s1");
    guest.holds("s2", &after, "without s1");
    // The root goes, too, and is killed at every call that makes something last.
    for call in calls {
        for n in 1..40 {
            let what = format!("signal=KILL:when={n}");
            let run = guest
                .place
                .tampered(call, &what, &["snapshots", "delete", "s0"]);
            if guest.run(&["get", "snapshot", "s0"]).status != 0 {
                break;
            }
            if !was_killed(&run) {
                break;
            }
        }
    }
    if guest.run(&["get", "snapshot", "s0"]).status == 0 {
        guest.run(&["snapshots", "delete", "s0"]).ok();
    }
    guest.run(&["reconcile"]).ok();
    guest.holds("s2", &after, "alone");
    guest.run(&["snapshots", "verify", "s2"]).ok();
    guest.is_at_peace(1, "alone");
    guest.run(&["snapshots", "delete", "s2"]).ok();
    assert!(guest.files().is_empty(), "{:?}", guest.files());
    guest.end();
}

#[test]
fn a_job_of_somebody_elses_is_left_alone() {
    let guest = Guest::start("pull", 54);
    let scratch = guest.place.pool().join("scratch");
    let xml = format!(
        "<domainbackup mode='pull'><server transport='tcp' name='127.0.0.1' port='10854'/><disks>\
         <disk name='vda' backup='no'/><disk name='vdb' backup='yes' type='file'>\
         <scratch file='{}'/></disk><disk name='sda' backup='no'/></disks></domainbackup>",
        scratch.display()
    );
    let file = guest.place.file("pull.xml", &xml);
    guest
        .place
        .virsh(&["backup-begin", &guest.name, &file])
        .ok();
    guest
        .snapshot("s0", &[])
        .code(5)
        .says("somebody else's")
        .says("virsh domjobinfo");
    let job = guest.place.virsh(&["domjobinfo", &guest.name]).ok();
    assert!(job.stdout.contains("Backup"), "{job}");
    guest.run(&["reconcile"]).ok();
    let job = guest.place.virsh(&["domjobinfo", &guest.name]).ok();
    assert!(job.stdout.contains("Backup"), "{job}");
    guest.place.virsh(&["domjobabort", &guest.name]).ok();
    guest
        .snapshot("s0", &["--consistency", "filesystem"])
        .code(5)
        .says("no guest agent");
    guest.is_at_peace(0, "refused");
    assert!(guest.files().is_empty());
    guest.end();
}

#[test]
fn an_instance_becomes_what_it_was() {
    let mut guest = Guest::start("mem", 55);
    guest.writes(1, 0, MIB);
    let then = guest.model.clone();
    let args = ["snapshots", "create", "m0", "--memory", "--instance"];
    guest
        .run(&[&args[..], &[guest.name.as_str()]].concat())
        .ok();
    assert_eq!(guest.status("m0", "memory"), "true");
    guest
        .run(&["snapshots", "restore", "m0"])
        .code(5)
        .says("revert");
    guest.writes(2, 0, 2 * MIB);
    // Notes of changes would end the guest when it goes back.
    guest.snapshot("s0", &[]).ok();
    guest
        .run(&["label", "instance", &guest.name, "now=later"])
        .ok();
    guest
        .run(&["instances", "revert", &guest.name, "--to", "m0"])
        .ok()
        .says("the next snapshot stores everything");
    guest.is_at_peace(0, "reverted");
    let label = guest.place.field(&guest.name, ".metadata.labels.now");
    assert_eq!(label, "later");
    guest.model = then;
    lost_memory_is_none(&guest);
    guest
        .snapshot("s1", &["--base", "s0"])
        .ok()
        .says("everything is stored");
    let model = guest.model.clone();
    guest.holds("s1", &model, "reverted");
    guest
        .run(&["instances", "revert", &guest.name, "--to", "s1"])
        .code(2)
        .says("was taken of");
    // A volume that was detached since holds a part of them.
    let args = ["snapshots", "create", "m2", "--memory", "--instance"];
    guest
        .run(&[&args[..], &[guest.name.as_str()]].concat())
        .ok();
    guest.run(&["volumes", "detach", &guest.volume]).ok();
    guest
        .run(&["volumes", "delete", &guest.volume])
        .code(5)
        .says("snapshot/m0, snapshot/m2");
    guest
        .run(&["snapshots", "restore", "s0"])
        .code(5)
        .says("keeps a part of snapshot/m0, snapshot/m2");
    guest.run(&["snapshots", "delete", "m2"]).ok();
    guest
        .run(&["volumes", "attach", &guest.volume, &guest.name])
        .ok();
    // The instance goes, and what it kept in the volume with it.
    guest
        .run(&["delete", "instance", &guest.name, "--grace-period", "0"])
        .ok()
        .says("snapshot/m0 goes with it");
    guest.run(&["get", "snapshot", "m0"]).code(4);
    let entries = fs::read_dir(guest.place.pool()).unwrap();
    let disk = entries
        .map(|e| e.unwrap().path())
        .find(|p| {
            p.to_string_lossy().contains("data.")
                && p.extension().is_some_and(|e| e == "qcow2")
                && !p.to_string_lossy().contains(".snap.")
        })
        .unwrap();
    let told = Command::new("qemu-img")
        .arg("info")
        .arg(&disk)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(!told.contains("kvmctl-"), "{told}");
    for name in ["s0", "s1"] {
        guest.run(&["snapshots", "delete", name]).ok();
    }
    guest.run(&["delete", "volume", &guest.volume]).ok();
}

/// What libvirt has lost cannot be gone back to, and says so.
fn lost_memory_is_none(guest: &Guest) {
    let args = ["snapshots", "create", "m1", "--memory", "--instance"];
    guest
        .run(&[&args[..], &[guest.name.as_str()]].concat())
        .ok();
    let all = ["snapshot-list", &guest.name, "--name", "--leaves"];
    let known = guest.place.virsh(&all).ok();
    let lost = ["snapshot-delete", &guest.name, known.text(), "--metadata"];
    guest.place.virsh(&lost).ok();
    assert_eq!(guest.status("m1", "phase"), "Failed");
    assert_eq!(guest.status("m1", "reason"), "MemoryMissing");
    assert_eq!(guest.status("m0", "phase"), "Ready");
    guest.run(&["snapshots", "verify", "m0"]).ok();
    let verify = guest.run(&["snapshots", "verify", "m1"]);
    verify.code(1).says("is lost");
    guest
        .run(&["instances", "revert", &guest.name, "--to", "m1"])
        .code(4)
        .says("any more");
    // The disks are free of it nevertheless.
    let kept = || {
        let at = [
            "get",
            "volume",
            &guest.volume,
            "-o",
            "jsonpath={.status.path}",
        ];
        let at = guest.run(&at).ok().text().to_owned();
        let list = ["snapshot", "-U", "-l", &at];
        let listed = Command::new("qemu-img").args(list).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).into_owned()
    };
    assert!(kept().contains(known.text()));
    guest.run(&["snapshots", "delete", "m1"]).ok();
    assert!(!kept().contains(known.text()));
}
