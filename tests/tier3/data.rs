//! The data volumes of a Debian guest: mounted by its first boot, written to, and grown under it.

use serde_json::{Value, json};

use super::host::host;
use crate::support::Env;

/// Two volumes, one of which the first boot mounts.
pub(super) struct Data<'e>(&'e Env, &'static str);

const FIRST: &str = "life-data";
const SECOND: &str = "life-more";

impl<'e> Data<'e> {
    pub(super) fn make(env: &'e Env, instance: &'static str) -> Self {
        for (name, size) in [(FIRST, "64M"), (SECOND, "96M")] {
            env.kvmctl(["volumes", "create", name, "--size", size]).ok();
        }
        Self(env, instance)
    }

    /// What the manifest says of them.
    pub(super) fn list() -> Value {
        json!([{"name": FIRST, "mountPath": "/data", "iothread": "own"}])
    }

    #[track_caller]
    fn guest(&self, line: &str) -> String {
        self.0
            .kvmctl(["exec", self.1, "--", "sh", "-c", line])
            .ok()
            .stdout
    }

    fn serial(&self, name: &str) -> String {
        let format = "jsonpath={.status.serial}";
        let args = ["get", "volume", name, "-o", format];
        self.0.kvmctl(args).ok().text().to_owned()
    }

    /// The second is attached while the guest runs; something is written on both, and the first grows
    /// with its file system.
    pub(super) fn is_used(&self) {
        let env = self.0;
        env.kvmctl(["volumes", "attach", SECOND, self.1]).ok();
        let by_id = format!("/dev/disk/by-id/virtio-{}", self.serial(SECOND));
        self.guest("echo first > /data/marker && sync");
        self.guest(&format!(
            "udevadm settle; mkfs.ext4 -q {by_id} && mkdir -p /more && mount {by_id} /more && \
             echo second > /more/marker && umount /more"
        ));
        env.kvmctl(["volumes", "detach", FIRST])
            .code(5)
            .says("is mounted at /data");
        let blocks = "stat -f -c %b /data";
        let before: u64 = self.guest(blocks).trim().parse().unwrap();
        env.kvmctl(["volumes", "resize", FIRST, "--size", "128M", "--grow-fs"])
            .ok();
        let after: u64 = self.guest(blocks).trim().parse().unwrap();
        assert!(after > before * 3 / 2, "{before} to {after}");
        // Again is fine: there is nothing to grow.
        env.kvmctl(["volumes", "resize", FIRST, "--size", "128M", "--grow-fs"])
            .ok();
    }

    /// What was written is there after a restart, on both, wherever they are now.
    pub(super) fn outlives_a_restart(&self) {
        assert_eq!(self.guest("cat /data/marker"), "first\n");
        let by_id = format!("/dev/disk/by-id/virtio-{}", self.serial(SECOND));
        let line =
            format!("mkdir -p /more && mount {by_id} /more && cat /more/marker && umount /more");
        assert_eq!(self.guest(&line), "second\n");
    }

    /// They outlive the instance, and go when they are deleted.
    pub(super) fn outlives_the_instance(self) {
        let env = self.0;
        for name in [FIRST, SECOND] {
            let format = "jsonpath={.status.phase}";
            let args = ["get", "volume", name, "-o", format];
            assert_eq!(env.kvmctl(args).ok().text(), "Available");
        }
        let format = "jsonpath={.status.path}";
        let path = env.kvmctl(["get", "volume", FIRST, "-o", format]).ok();
        let out = env.path("data.raw").display().to_string();
        env.kvmctl(["volumes", "export", FIRST, &out, "--format", "raw"])
            .ok();
        assert!(host("e2fsck", &["-fn", &out]).contains("Pass 5"), "{path}");
    }
}

impl Drop for Data<'_> {
    fn drop(&mut self) {
        self.0.kvmctl(["volumes", "delete", FIRST, SECOND]);
    }
}
