//! Snapshots of a guest that runs: chains, kills, memory, and jobs of somebody else's.
//!
//! The guest need not boot: what it would write, QEMU is told to write in its place, through the same
//! layers, so that changes are noted as a guest's are.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::place::was_killed;
use super::{Place, Recovery};
use crate::support::CommandOutput;

const MIB: usize = 1 << 20;
const SIZE: usize = 32 * MIB;

/// A running instance with a data volume, and what the volume must hold.
struct Guest {
    place: Place,
    name: String,
    volume: String,
    model: Vec<u8>,
}

impl Guest {
    fn start(test: &str, net: u8) -> Self {
        let place = Place::new(test, net);
        let (name, volume) = (place.named("vm"), place.named("data"));
        place
            .run(&["volumes", "create", &volume, "--size", "32M"])
            .ok();
        let mut create = vec!["instances", "create", &name, "--image", "tiny"];
        create.extend(["--cpus", "1", "--memory", "96Mi", "--disk", "64Mi"]);
        create.extend(["--volume", &volume, "--no-wait"]);
        place.run(&create).ok();
        Self {
            place,
            name,
            volume,
            model: vec![0; SIZE],
        }
    }

    /// Writes as the guest would, and lets it reach the disk.
    fn writes(&mut self, byte: u8, at: usize, length: usize) {
        self.to_disk(&format!("write -P {byte} {at} {length}"));
        self.to_disk("flush");
        self.model[at..at + length].fill(byte);
    }

    fn to_disk(&self, command: &str) {
        let disk = "/machine/peripheral/virtio-disk1/virtio-backend";
        let line = format!("qemu-io -d {disk} \"{command}\"");
        let told = self
            .place
            .virsh(&["qemu-monitor-command", &self.name, "--hmp", &line])
            .ok();
        assert!(!told.stdout.contains("rror"), "{told}");
    }

    fn run(&self, args: &[&str]) -> CommandOutput {
        self.place.run(args)
    }

    fn snapshot(&self, name: &str, more: &[&str]) -> CommandOutput {
        let mut args = vec!["snapshots", "create", name, "--volume", &self.volume];
        args.extend(more);
        self.run(&args)
    }

    fn status(&self, snapshot: &str, path: &str) -> String {
        let path = format!("jsonpath={{.status.{path}}}");
        self.run(&["get", "snapshot", snapshot, "-o", &path])
            .ok()
            .text()
            .to_owned()
    }

    /// Returns what a snapshot holds, as a volume made of it does.
    fn content(&self, snapshot: &str) -> Vec<u8> {
        let made = self.place.named("made");
        self.run(&["snapshots", "restore", snapshot, "--to", &made])
            .ok();
        let file = self.place.store().with_file_name("made.raw");
        let path = file.display().to_string();
        let _ = fs::remove_file(&file);
        self.run(&["volumes", "export", &made, &path, "--format", "raw"])
            .ok();
        self.run(&["volumes", "delete", &made]).ok();
        fs::read(&file).unwrap()
    }

    #[track_caller]
    fn holds(&self, snapshot: &str, model: &[u8], when: &str) {
        let content = self.content(snapshot);
        assert!(content == model, "{when}: {snapshot} holds something else");
    }

    /// Nothing of a snapshot is going on or left over in the guest.
    #[track_caller]
    fn is_at_peace(&self, checkpoints: usize, when: &str) {
        let job = self.place.virsh(&["domjobinfo", &self.name]).ok();
        assert!(job.stdout.contains("None"), "{when}: {job}");
        let state = self.place.virsh(&["domstate", &self.name]).ok();
        assert_eq!(state.text(), "running", "{when}");
        let noted = self.checkpoints();
        assert_eq!(noted.len(), checkpoints, "{when}: {noted:?}");
        let staged: Vec<_> = self
            .files()
            .into_iter()
            .filter(|f| f.ends_with(".raw") || f.ends_with(".part"))
            .collect();
        assert!(staged.is_empty(), "{when}: {staged:?}");
    }

    fn checkpoints(&self) -> Vec<String> {
        let told = self
            .place
            .virsh(&["checkpoint-list", &self.name, "--name"])
            .ok();
        let names = told.stdout.lines().filter(|l| !l.is_empty());
        names.map(str::to_owned).collect()
    }

    fn files(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.place.pool()).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|n| n.contains(".snap")).collect()
    }

    fn end(self) {
        self.run(&["delete", "instance", &self.name, "--grace-period", "0"])
            .ok();
        self.run(&["delete", "volume", &self.volume]).ok();
    }
}

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
    for gone in [2, 3, 0, 5] {
        guest
            .run(&["snapshots", "delete", &format!("s{gone}")])
            .ok();
        left.retain(|n| *n != gone);
        for n in &left {
            let when = format!("without s{gone}");
            guest.holds(&format!("s{n}"), &moments[*n], &when);
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
        let _ = run.kill();
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
    for n in 1.. {
        let (number, delete) = (n.to_string(), ["snapshots", "delete", "s1"]);
        let run = guest.place.run_with(("KVMCTL_FAILPOINT", &number), &delete);
        if !was_killed(&run) {
            run.ok();
            assert!(n > 2, "the failpoints are gone");
            break;
        }
        let when = format!("killed at boundary {n}");
        guest.holds("s0", &before, &when);
        guest.holds("s2", &after, &when);
        if guest.run(&["get", "snapshot", "s1"]).status != 0 {
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
