//! Restores for which a guest that runs is stopped: it runs again, whatever ends them.

use std::path::Path;

use super::run;
use crate::converge::Place;
use crate::converge::place::was_killed;

/// What restores an instance that runs.
pub(super) struct Stopped<'t> {
    pub(super) place: &'t Place,
    pub(super) instance: &'t str,
    pub(super) snapshot: &'t str,
    /// Writes to its disks, with the guest off.
    pub(super) write: &'t dyn Fn(u64),
    /// Whether both disks hold what was written by a number.
    pub(super) both: &'t dyn Fn(u64) -> bool,
}

impl Stopped<'_> {
    fn state(&self) -> String {
        let state = self.place.virsh(&["domstate", self.instance]).ok();
        state.text().to_owned()
    }

    fn args(&self) -> [&str; 8] {
        let restore = ["snapshots", "restore", self.snapshot, "--discard-old"];
        let stop = ["--stop", "--force", "--timeout", "1s"];
        [restore, stop].concat().try_into().unwrap()
    }

    /// The guest runs on disks that hold what is said; then it runs on others.
    #[track_caller]
    fn runs_on(&self, seed: u64, when: &str) {
        assert_eq!(self.state(), "running", "{when}");
        self.place.virsh(&["destroy", self.instance]).ok();
        assert!((self.both)(seed), "{when}");
        let left = run(
            "ls",
            &[&self.place.store().join("intents").display().to_string()],
        );
        assert!(!left.contains("yaml"), "{when}: {left}");
    }

    fn on_new_ground(&self) {
        (self.write)(2);
        self.place.run(&["instances", "start", self.instance]).ok();
    }

    fn killed_at(&self, n: &str) {
        self.on_new_ground();
        let run = self.place.run_with(("KVMCTL_FAILPOINT", n), &self.args());
        assert!(was_killed(&run), "the failpoint {n} is gone: {run}");
        assert_eq!(self.state(), "shut off", "{n}: {run}");
    }

    /// Before the swaps, among them, and after them.
    pub(super) fn is_killed(&self) {
        self.killed_at("4");
        self.place.run(&["reconcile"]).ok();
        self.runs_on(2, "taken back");

        self.killed_at("6");
        // Somebody starts it by hand, with the new root and the old data.
        self.place.virsh(&["start", self.instance]).ok();
        let told = self.place.run(&["reconcile"]);
        assert!(told.stdout.contains("cannot go on while"), "{told}");
        assert!(!(self.both)(1), "replaced beneath a guest");
        self.place.virsh(&["destroy", self.instance]).ok();
        self.place.run(&["reconcile"]).ok();
        self.runs_on(1, "gone forward");

        self.killed_at("8");
        self.place.run(&["reconcile"]).ok();
        self.runs_on(1, "only to be started");
    }

    /// Ctrl-C while the guest goes down.
    pub(super) fn is_interrupted(&self, last: &Path) {
        self.on_new_ground();
        let mut child = self.place.spawn(&self.args());
        while !last.exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        run("kill", &["-INT", &child.id().to_string()]);
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            Some(130) => self.runs_on(2, &format!("{output:?}")),
            Some(0) => self.runs_on(1, &format!("{output:?}")),
            _ => panic!("{output:?}"),
        }
    }
}
