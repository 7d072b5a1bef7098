//! Snapshots and restores, killed between engine steps and at every system call that makes something
//! last: a disk holds what it held or what was stored, never a mixture, and nothing stays behind.

mod interrupted;
mod stopped;

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::place::was_killed;
use super::{Place, Recovery};
use crate::support::{CommandOutput, Sweep};

const MIB: usize = 1 << 20;

/// Bytes that do not compress and are the same at every run.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = Vec::with_capacity(bytes);
    while all.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(bytes);
    all
}

/// A place with one raw volume of a MiB.
struct Data {
    place: Place,
    volume: String,
    snapshot: String,
    disk: PathBuf,
}

impl Data {
    fn new(name: &str, net: u8) -> Self {
        let place = Place::new(name, net);
        let (volume, snapshot) = (place.named("data"), place.named("snap"));
        let create = [
            "volumes", "create", &volume, "--size", "1Mi", "--format", "raw",
        ];
        place.run(&create).ok();
        let disk = PathBuf::from(field(&place, "volume", &volume, ".status.path"));
        let data = Self {
            place,
            volume,
            snapshot,
            disk,
        };
        data.write(1);
        data
    }

    fn write(&self, seed: u64) {
        std::fs::write(&self.disk, noise(seed, MIB)).unwrap();
    }

    fn holds(&self, seed: u64) -> bool {
        std::fs::read(&self.disk).unwrap() == noise(seed, MIB)
    }

    fn create(&self) -> [&str; 5] {
        [
            "snapshots",
            "create",
            &self.snapshot,
            "--volume",
            &self.volume,
        ]
    }

    /// The snapshot is whole: its two files, its record and nothing else, and what is in it is sound.
    #[track_caller]
    fn is_whole(&self, before: &BTreeSet<String>, when: &str) {
        let read = |path| field(&self.place, "snapshot", &self.snapshot, path);
        assert_eq!(read(".status.phase"), "Ready", "{when}");
        assert_eq!(read(".status.reason"), "", "{when}");
        let now = self.place.traces();
        let new: Vec<&String> = now.difference(before).collect();
        let whole = new.len() == 3
            && new.iter().any(|t| t.ends_with(".snap.qcow2"))
            && new.iter().any(|t| t.ends_with(".snapshot.json"))
            && new
                .iter()
                .any(|t| **t == format!("snapshots {}.yaml", self.snapshot));
        assert!(whole, "{when}: {new:#?}");
        self.place
            .run(&["snapshots", "verify", &self.snapshot])
            .ok();
    }

    fn delete(&self) -> CommandOutput {
        self.place.run(&["snapshots", "delete", &self.snapshot])
    }
}

fn field(place: &Place, kind: &str, name: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    let told = place.run(&["get", kind, name, "-o", &path]).ok();
    told.text().to_owned()
}

/// Runs at the place of the sweep; returns whether anything was killed there.
fn tampered(place: &Place, sweep: &Sweep, args: &[&str]) -> Option<(bool, String)> {
    let (call, n) = sweep.place()?;
    let run = place.tampered(call, &format!("signal=KILL:when={n}"), args);
    let killed = place.strace_log().contains("killed by SIGKILL");
    if !killed {
        run.ok();
    }
    Some((killed, format!("{args:?} killed at {call} {n}")))
}

#[test]
fn a_snapshot_that_was_killed_while_it_was_taken() {
    let data = Data::new("sn-new", 61);
    let place = &data.place;
    let before = place.traces();
    let mut sweep = Sweep::of_names();
    while let Some((killed, when)) = tampered(place, &sweep, &data.create()) {
        if !killed {
            data.is_whole(&before, &when);
            data.delete().ok();
            sweep.survived();
            continue;
        }
        sweep.killed();
        let recovery = Recovery::turn(sweep.kills());
        let when = format!("{when}, then {recovery:?}");
        let there = place.run(&["get", "snapshot", &data.snapshot]).status == 0;
        match recovery {
            Recovery::SameCommand => {
                let again = place.run(&data.create());
                assert!(again.status == 0 || again.status == 5, "{when}: {again}");
                data.is_whole(&before, &when);
                data.delete().ok();
            }
            Recovery::Delete if there => drop(data.delete().ok()),
            _ => {
                place.run(&["reconcile"]).ok();
                if place.run(&["get", "snapshot", &data.snapshot]).status == 0 {
                    data.is_whole(&before, &when);
                    data.delete().ok();
                }
            }
        }
        place.is_as(&before, &when);
    }
    assert!(sweep.kills() > 4, "the calls are gone: {}", sweep.kills());
}

#[test]
fn a_snapshot_that_was_killed_while_it_was_deleted() {
    let data = Data::new("sn-del", 62);
    let place = &data.place;
    let before = place.traces();
    place.run(&data.create()).ok();
    let delete = ["snapshots", "delete", data.snapshot.as_str()];
    let mut sweep = Sweep::of_names();
    while let Some((killed, when)) = tampered(place, &sweep, &delete) {
        if killed {
            sweep.killed();
            if place.run(&["get", "snapshot", &data.snapshot]).status == 0 {
                match Recovery::turn(sweep.kills()) {
                    Recovery::Reconcile => place.run(&["reconcile"]).ok(),
                    _ => data.delete().ok(),
                };
            }
            if place.run(&["get", "snapshot", &data.snapshot]).status == 0 {
                // It was killed before anything was begun.
                data.delete().ok();
            }
            // Of one that is seen no more the intent may be there.
            place.run(&["reconcile"]).ok();
        } else {
            sweep.survived();
        }
        place.is_as(&before, &when);
        place.run(&data.create()).ok();
    }
    assert!(sweep.kills() > 2, "the calls are gone: {}", sweep.kills());
    data.delete().ok();
}

/// Two disks of a guest that is off: they are both what they were, or both what was stored.
#[test]
fn a_restore_that_was_killed_leaves_the_old_or_the_new() {
    let data = Data::new("sn-back", 63);
    let place = &data.place;
    let web = place.named("web");
    let manifest = place.manifest(&web, "  disk: 64Mi\n");
    place.run(&["apply", "-f", &manifest, "--wait=false"]).ok();
    place.run(&["instances", "stop", &web, "--force", "--timeout", "0s"]);
    place.run(&["volumes", "attach", &data.volume, &web]).ok();
    let uid = field(place, "instance", &web, ".metadata.uid");
    let root = place.pool().join(format!("{web}.{}.qcow2", &uid[..8]));
    let root = root.display().to_string();
    let write = |seed: u64| {
        data.write(seed);
        let pattern = format!("write -P {seed} 60M 1M");
        run("qemu-io", &["-f", "qcow2", "-c", &pattern, &root]);
    };
    let root_holds = |seed: u64| {
        let pattern = format!("read -P {seed} 60M 1M");
        let told = run("qemu-io", &["-f", "qcow2", "-c", &pattern, &root]);
        !told.contains("verification failed")
    };
    let both = |seed: u64| data.holds(seed) && root_holds(seed);
    write(1);
    let create = ["snapshots", "create", &data.snapshot, "--instance", &web];
    place.run(&create).ok();
    let before = place.traces();
    let restore = [
        "snapshots",
        "restore",
        data.snapshot.as_str(),
        "--discard-old",
    ];
    let mut sweep = Sweep::of_names();
    write(2);
    while let Some((killed, when)) = tampered(place, &sweep, &restore) {
        let one = |old: bool, new: bool| assert!(old != new, "{when}: a disk is neither");
        one(data.holds(2), data.holds(1));
        one(root_holds(2), root_holds(1));
        if killed {
            sweep.killed();
            let recovery = Recovery::turn(sweep.kills());
            let when = format!("{when}, then {recovery:?}");
            match recovery {
                Recovery::Reconcile => {
                    place.run(&["reconcile"]).ok();
                    assert!(both(1) || both(2), "{when}: a mixture");
                }
                Recovery::SameCommand => {
                    place.run(&restore).ok();
                    assert!(both(1), "{when}: not restored");
                }
                // A guest never starts from a mixture.
                Recovery::Delete => {
                    place.run(&["instances", "start", &web]).ok();
                    place.virsh(&["destroy", &web]).ok();
                    assert!(both(1) || both(2), "{when}: a mixture");
                    place.run(&["reconcile"]).ok();
                }
            }
        } else {
            assert!(both(1), "{when}: not restored");
            sweep.survived();
        }
        let mut now = place.traces();
        now.retain(|t| !t.starts_with("lease"));
        let mut wanted = before.clone();
        wanted.retain(|t| !t.starts_with("lease"));
        assert_eq!(now, wanted, "{when}");
        write(2);
    }
    assert!(sweep.kills() > 4, "the calls are gone: {}", sweep.kills());
    let stopped = stopped::Stopped {
        place,
        instance: &web,
        snapshot: &data.snapshot,
        write: &write,
        both: &both,
    };
    stopped.is_killed();
    let uid = field(place, "snapshot", &data.snapshot, ".metadata.uid");
    let beside = format!("{}.restore-{}", data.disk.display(), &uid[..8]);
    stopped.is_interrupted(beside.as_ref());
    place.delete(&web).ok();
    data.delete().ok();
}

#[test]
fn a_volume_from_a_snapshot_that_was_killed() {
    let data = Data::new("sn-to", 64);
    let place = &data.place;
    place.run(&data.create()).ok();
    let new = place.named("copy");
    let restore = ["snapshots", "restore", &data.snapshot, "--to", &new];
    let before = place.traces();
    for n in 1.. {
        let when = format!("killed at boundary {n}");
        let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &restore);
        let finished = !was_killed(&run);
        if !finished {
            match Recovery::turn(n) {
                Recovery::SameCommand => drop(place.run(&restore)),
                _ => drop(place.run(&["reconcile"]).ok()),
            }
        } else {
            run.ok();
            assert!(n > 2, "the failpoints are gone");
        }
        if place.run(&["get", "volume", &new]).status == 0 {
            let path = field(place, "volume", &new, ".status.path");
            assert_eq!(std::fs::read(path).unwrap(), noise(1, MIB), "{when}");
            place.run(&["volumes", "delete", &new]).ok();
        }
        place.is_as(&before, &when);
        if finished {
            break;
        }
    }
    data.delete().ok();
}

fn run(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program).args(args).output();
    let output = output.unwrap();
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}
