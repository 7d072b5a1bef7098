//! Volumes of a real guest: what it sees, and what outlives it.

use std::thread;
use std::time::{Duration, Instant};

use super::host::{apply, expect_no_trace, field, guest_env, host, instance};
use crate::converge::place::was_killed;
use crate::support::{CommandOutput, Env};

/// Volumes of one test, which go with it.
pub(super) struct Volumes<'e>(&'e Env, Vec<&'static str>);

impl<'e> Volumes<'e> {
    pub(super) fn make(env: &'e Env, all: &[(&'static str, &[&str])]) -> Self {
        for (name, flags) in all {
            let mut args = vec!["volumes", "create", name];
            args.extend(*flags);
            env.kvmctl(args).ok();
        }
        Self(env, all.iter().map(|(name, _)| *name).collect())
    }
}

impl Drop for Volumes<'_> {
    fn drop(&mut self) {
        for name in &self.1 {
            self.0.kvmctl(["volumes", "delete", name]);
        }
    }
}

pub(super) fn volume(env: &Env, name: &str, path: &str) -> String {
    let format = format!("jsonpath={{{path}}}");
    env.kvmctl(["get", "volume", name, "-o", &format])
        .ok()
        .text()
        .to_owned()
}

/// Serials and sizes of the disks that a guest itself sees.
pub(super) type Disks = Vec<(String, u64)>;

/// Asks the guest which disks it has, until the answer fits.
#[track_caller]
pub(super) fn guest_says(address: &str, what: &str, fits: impl Fn(&Disks) -> bool) {
    let begin = Instant::now();
    let url = format!("http://{address}/cgi-bin/info");
    loop {
        let told = host("curl", &["-s", "--max-time", "3", &url]);
        if fits(&disks(&told)) {
            return;
        }
        let old = told.contains("disk=") && !told.contains("serial=");
        assert!(
            !old,
            "an old guest: remove tiny.qcow2, and it is built anew"
        );
        let late = begin.elapsed() > Duration::from_secs(90);
        assert!(!late, "{what}: {told:?}");
        thread::sleep(Duration::from_millis(500));
    }
}

fn disks(told: &str) -> Disks {
    let value = |key: &str| {
        told.lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix(' '))
    };
    let serials = told.lines().filter_map(|l| l.strip_prefix("serial="));
    serials
        .filter_map(|line| {
            let (name, serial) = line.split_once(' ')?;
            let bytes = value(&format!("disk={name}"))?.parse().ok()?;
            Some((serial.to_owned(), bytes))
        })
        .collect()
}

fn has(disks: &Disks, serial: &str, bytes: u64) -> bool {
    disks.contains(&(serial.to_owned(), bytes))
}

fn lacks(disks: &Disks, serial: &str) -> bool {
    !disks.is_empty() && disks.iter().all(|(s, _)| s != serial)
}

const MIB: u64 = 1 << 20;

#[test]
fn volumes_come_and_go_while_the_guest_runs_and_survive_a_restart() {
    let env = guest_env();
    let name = "t3-disks";
    let _volumes = Volumes::make(
        &env,
        &[
            ("t3-data", &["--size", "64M"]),
            ("t3-raw", &["--size", "32M", "--format", "raw"]),
        ],
    );
    let more = serde_json::json!({"memory": "96Mi", "disk": "64Mi"});
    apply(&env, &instance(name, "tiny", &more), &["--no-wait"]).ok();
    let address = field(&env, name, ".status.address");
    guest_says(&address, "its root disk", |d| d.len() == 1);
    let (data, raw) = (
        volume(&env, "t3-data", ".status.serial"),
        volume(&env, "t3-raw", ".status.serial"),
    );
    env.kvmctl(["volumes", "attach", "t3-data", name])
        .ok()
        .says(&format!("/dev/disk/by-id/virtio-{data}"));
    env.kvmctl(["volumes", "attach", "t3-raw", name]).ok();
    guest_says(&address, "both by their serials", |d| {
        has(d, &data, 64 * MIB) && has(d, &raw, 32 * MIB)
    });
    env.kvmctl(["volumes", "resize", "t3-data", "--size", "128M"])
        .ok();
    env.kvmctl(["volumes", "resize", "t3-raw", "--size", "48M"])
        .ok();
    guest_says(&address, "the new sizes", |d| {
        has(d, &data, 128 * MIB) && has(d, &raw, 48 * MIB)
    });
    env.kvmctl(["volumes", "resize", "t3-data", "--size", "64M"])
        .code(5)
        .says("--allow-shrink");
    env.kvmctl(["volumes", "delete", "t3-data"])
        .code(5)
        .says(name);
    env.kvmctl(["instances", "restart", name, "--force", "--timeout", "30s"])
        .ok();
    guest_says(&address, "both after the restart", |d| {
        has(d, &data, 128 * MIB) && has(d, &raw, 48 * MIB)
    });
    plugged_though_killed(&env, "t3-raw", name);
    env.kvmctl(["volumes", "detach", "t3-data"]).ok();
    guest_says(&address, "one of them", |d| {
        lacks(d, &data) && has(d, &raw, 48 * MIB)
    });
    for flags in [&["--inactive"][..], &[]] {
        let mut args = vec!["-q", "domblklist", name];
        args.extend(flags);
        let disks = host("virsh", &args);
        assert!(!disks.contains("t3-data"), "{disks}");
        assert!(disks.contains("t3-raw"), "{disks}");
    }
    env.kvmctl(["delete", "instance", name, "--force"])
        .ok()
        .says("volume/t3-raw (disk vdc) is kept with its data");
    assert_eq!(volume(&env, "t3-raw", ".status.phase"), "Available");
    assert_eq!(volume(&env, "t3-raw", ".status.capacity"), "48Mi");
    drop(_volumes);
    expect_no_trace("t3-raw");
    expect_no_trace("t3-data");
}

/// Killed between any two steps while the guest runs: given again, or mended, it is there or gone in what
/// runs and in the definition alike.
fn plugged_though_killed(env: &Env, volume: &str, name: &str) {
    for n in 1.. {
        let mut killed = false;
        for verb in ["detach", "attach"] {
            let (args, when) = (["volumes", verb, volume, name], format!("{verb}, {n}"));
            let mut command = env.command(env!("CARGO_BIN_EXE_kvmctl"), &args);
            let run = command.env("KVMCTL_FAILPOINT", n.to_string()).output();
            let run = CommandOutput::new("kvmctl", &args, &run.unwrap());
            if was_killed(&run) {
                killed = true;
                let again = if n % 2 == 0 {
                    &["reconcile"][..]
                } else {
                    &args
                };
                env.kvmctl(again).ok();
            } else {
                run.ok();
            }
            for flags in [&["--inactive"][..], &[]] {
                let disks = host("virsh", &[&["-q", "domblklist", name], flags].concat());
                assert_eq!(disks.contains(volume), verb == "attach", "{when}: {disks}");
            }
        }
        if !killed {
            assert!(n > 2, "the failpoints are gone");
            return;
        }
    }
}

#[test]
fn a_volume_has_one_holder_unless_all_share_it() {
    let env = guest_env();
    let _volumes = Volumes::make(
        &env,
        &[
            ("t3-one", &["--size", "8M"]),
            ("t3-many", &["--size", "8M", "--format", "raw"]),
        ],
    );
    let more = serde_json::json!({"memory": "96Mi", "disk": "64Mi"});
    for name in ["t3-holder", "t3-other"] {
        apply(&env, &instance(name, "tiny", &more), &["--no-wait"]).ok();
    }
    env.kvmctl(["volumes", "attach", "t3-one", "t3-holder"])
        .ok();
    env.kvmctl(["volumes", "attach", "t3-one", "t3-other"])
        .code(5)
        .says("instance/t3-holder");
    env.kvmctl(["volumes", "attach", "t3-one", "t3-other", "--shared"])
        .code(5)
        .says("raw");
    env.kvmctl(["volumes", "attach", "t3-many", "t3-holder", "--shared"])
        .ok();
    env.kvmctl(["volumes", "attach", "t3-many", "t3-other"])
        .code(5);
    env.kvmctl(["volumes", "attach", "t3-many", "t3-other", "--shared"])
        .ok();
    env.kvmctl(["volumes", "detach", "t3-many"])
        .code(2)
        .says("several");
    let both = volume(&env, "t3-many", ".status.attachedTo[*].domain");
    assert_eq!(both, "t3-holder t3-other");
    env.kvmctl(["delete", "instance", "t3-holder", "t3-other", "--force"])
        .ok();
}

/// A guest that writes the header of an image onto its raw disk gains nothing by it (CVE-2026-24708).
#[test]
fn a_raw_volume_stays_raw_whatever_a_guest_writes() {
    let env = guest_env();
    let _volumes = Volumes::make(&env, &[("t3-evil", &["--size", "16M", "--format", "raw"])]);
    let path = volume(&env, "t3-evil", ".status.path");
    let header = env.path("header").display().to_string();
    let create = [
        "create",
        "-q",
        "-u",
        "-f",
        "qcow2",
        "-b",
        "/etc/passwd",
        "-F",
        "raw",
        &header,
        "1G",
    ];
    env.run("qemu-img", &create).ok();
    let of = format!("of={path}");
    let input = format!("if={header}");
    let dd = [
        "bs=64K",
        "count=1",
        "conv=notrunc",
        "status=none",
        &input,
        &of,
    ];
    env.run("dd", &dd).ok();
    host("virsh", &["-q", "pool-refresh", "default"]);
    let sum = |file: &str| host("sha256sum", &[file])[..64].to_owned();
    assert_eq!(volume(&env, "t3-evil", ".status.capacity"), "16Mi");
    assert_eq!(volume(&env, "t3-evil", ".status.format"), "raw");
    env.kvmctl(["volumes", "resize", "t3-evil", "--size", "24M"])
        .ok();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 24 * MIB);
    let content = sum(&path);
    env.kvmctl(["volumes", "clone", "t3-evil", "t3-evil-2"])
        .ok();
    let copy = volume(&env, "t3-evil-2", ".status.path");
    assert_eq!(sum(&copy), content);
    let file = env.path("out.raw").display().to_string();
    env.kvmctl(["volumes", "export", "t3-evil", &file]).ok();
    assert_eq!(sum(&file), content);
    for file in [&path, &copy, &file] {
        let mode = host("stat", &["-c", "%a", file]);
        assert_eq!(mode.trim(), "600", "{file}");
    }
    env.kvmctl(["volumes", "delete", "t3-evil-2"]).ok();
}

#[test]
fn hostile_files_are_not_imported() {
    let env = guest_env();
    let make = |name: &str, args: &[&str]| {
        let path = env.path(name).display().to_string();
        let mut all = vec!["create", "-q", "-f", "qcow2"];
        all.extend(args);
        all.insert(all.len() - 1, &path);
        env.run("qemu-img", &all).ok();
        path
    };
    let backed = make("backed", &["-u", "-b", "/etc/passwd", "-F", "raw", "1G"]);
    let huge = make("huge", &["50T"]);
    for (file, says) in [(&backed, "backing file"), (&huge, "room")] {
        env.kvmctl(["volumes", "import", file, "--name", "t3-bad"])
            .code(2)
            .says(says);
    }
    env.kvmctl(["get", "volume", "t3-bad"]).code(4);
    // Other tests use the pool at the same time.
    let left = ["/var/lib/libvirt/images", "-name", "t3-bad*"];
    assert_eq!(host("find", &left), "");
}

#[test]
fn what_is_exported_can_be_imported() {
    let env = guest_env();
    let _volumes = Volumes::make(&env, &[("t3-base", &["--from-image", "tiny"])]);
    let chain = volume(&env, "t3-base", ".status.backing[0]");
    assert!(chain.contains("kvmctl-image-"), "{chain}");
    let file = env.path("out.qcow2").display().to_string();
    env.kvmctl(["volumes", "export", "t3-base", &file, "--compress"])
        .ok();
    let info = host("qemu-img", &["info", "-f", "qcow2", &file]);
    assert!(!info.contains("backing file"), "{info}");
    let checked = host("qemu-img", &["check", "-f", "qcow2", &file]);
    assert!(!checked.contains(" 0.00% compressed"), "{checked}");
    let path = volume(&env, "t3-base", ".status.path");
    let same = env.run(
        "qemu-img",
        &["compare", "-f", "qcow2", "-F", "qcow2", &path, &file],
    );
    same.ok().prints("identical");
    env.kvmctl(["volumes", "export", "t3-base", &file])
        .code(2)
        .says("--overwrite");
    env.kvmctl(["volumes", "import", &file, "--name", "t3-back"])
        .ok();
    let back = volume(&env, "t3-back", ".status.path");
    let same = env.run(
        "qemu-img",
        &["compare", "-f", "qcow2", "-F", "qcow2", &back, &file],
    );
    same.ok().prints("identical");
    env.kvmctl(["volumes", "delete", "t3-back"]).ok();
}
