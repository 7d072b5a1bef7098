//! A guest that runs and need not boot: what it would write, QEMU is told to write in its place, through
//! the same layers, so that changes are noted as a guest's are.

use std::collections::BTreeSet;
use std::fs;

use super::Place;
use crate::support::CommandOutput;

pub(super) const MIB: usize = 1 << 20;
const SIZE: usize = 32 * MIB;

/// A running instance with a data volume, and what the volume must hold.
pub(super) struct Guest {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) volume: String,
    pub(super) model: Vec<u8>,
}

impl Guest {
    pub(super) fn start(test: &str, net: u8) -> Self {
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
    pub(super) fn writes(&mut self, byte: u8, at: usize, length: usize) {
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

    pub(super) fn run(&self, args: &[&str]) -> CommandOutput {
        self.place.run(args)
    }

    pub(super) fn snapshot(&self, name: &str, more: &[&str]) -> CommandOutput {
        let mut args = vec!["snapshots", "create", name, "--volume", &self.volume];
        args.extend(more);
        self.run(&args)
    }

    pub(super) fn status(&self, snapshot: &str, path: &str) -> String {
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

    /// As [`Self::holds`], by the quicker way out.
    #[track_caller]
    pub(super) fn gives(&self, snapshot: &str, model: &[u8], when: &str) {
        let file = self.place.store().with_file_name("given.raw");
        let path = file.display().to_string();
        let export = ["snapshots", "export", snapshot, &path, "--overwrite"];
        self.run(&[&export[..], &["--format", "raw"]].concat()).ok();
        let content = fs::read(&file).unwrap();
        assert!(content == model, "{when}: {snapshot} holds something else");
    }

    #[track_caller]
    pub(super) fn holds(&self, snapshot: &str, model: &[u8], when: &str) {
        let content = self.content(snapshot);
        assert!(content == model, "{when}: {snapshot} holds something else");
    }

    /// Nothing of a snapshot is going on or left over in the guest.
    #[track_caller]
    pub(super) fn is_at_peace(&self, checkpoints: usize, when: &str) {
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

    pub(super) fn files(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.place.pool()).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|n| n.contains(".snap")).collect()
    }

    pub(super) fn end(self) {
        self.run(&["delete", "instance", &self.name, "--grace-period", "0"])
            .ok();
        self.run(&["delete", "volume", &self.volume]).ok();
    }
}
