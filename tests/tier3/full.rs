//! A pool, or a place to export to, that fills up in the middle of a copy: an error, the old content,
//! and nothing left behind.

use std::fs;
use std::path::PathBuf;

use super::host::{apply, guest_env, host, tiny};
use crate::support::Env;

const SMALL: &str = "t3-small";

/// A pool of a few MiB: its folder and its name.
struct Small(PathBuf, &'static str);

impl Small {
    fn new(env: &Env, name: &'static str, size: &str) -> Self {
        let at = env.path("small");
        fs::create_dir(&at).unwrap();
        let path = at.display().to_string();
        let size = format!("size={size}");
        env.run("mount", &["-t", "tmpfs", "-o", &size, "none", &path])
            .ok();
        env.run(
            "virsh",
            &["-q", "pool-define-as", name, "dir", "--target", &path],
        )
        .ok();
        env.run("virsh", &["-q", "pool-start", name]).ok();
        Self(at, name)
    }

    fn files(&self) -> String {
        host("ls", &["-A", &self.0.display().to_string()])
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        host("virsh", &["-q", "pool-destroy", self.1]);
        host("virsh", &["-q", "pool-undefine", self.1]);
        host("umount", &[&self.0.display().to_string()]);
    }
}

fn path_of(env: &Env, name: &str) -> String {
    let format = "jsonpath={.status.path}";
    env.kvmctl(["get", "volume", name, "-o", format])
        .ok()
        .text()
        .to_owned()
}

#[test]
fn what_does_not_fit_leaves_nothing_behind() {
    let env = guest_env();
    let small = Small::new(&env, SMALL, "16m");
    let random = env.path("random").display().to_string();
    let make = format!("head -c 24M /dev/urandom > {random}");
    env.run("sh", &["-c", &make]).ok();
    let import = ["volumes", "import", &random, "--format", "raw", "--name"];
    let with = |more: &[&str]| {
        let mut args = import.to_vec();
        args.extend(more);
        env.kvmctl(args)
    };
    with(&["t3-source"]).ok();
    with(&["t3-no", "--pool", SMALL]).code(2).says("room");
    with(&["t3-no", "--pool", SMALL, "--sparse"])
        .code(1)
        .says("error:");
    assert_eq!(small.files(), "", "after the import");
    env.kvmctl(["volumes", "clone", "t3-source", "t3-no", "--pool", SMALL])
        .code(1)
        .says("error:");
    assert_eq!(small.files(), "", "after the clone");
    let full = [
        "--preallocation",
        "full",
        "--format",
        "raw",
        "--pool",
        SMALL,
    ];
    let mut args = vec!["volumes", "create", "t3-no", "--size", "24M"];
    args.extend(full);
    env.kvmctl(args).code(1).says("room");
    let tar = env.path("some.tar").display().to_string();
    let pack = format!("cd $(dirname {random}) && head -c 17M random > some && tar -cf {tar} some");
    env.run("sh", &["-c", &pack]).ok();
    let args = [
        "volumes",
        "create",
        "t3-no",
        "--from-tar",
        &tar,
        "--pool",
        SMALL,
    ];
    env.kvmctl(args).code(1).says("error:");
    assert_eq!(small.files(), "", "after the archive");
    env.kvmctl(["get", "volume", "t3-no"]).code(4);

    let target = small.0.join("out.raw").display().to_string();
    env.kvmctl(["volumes", "export", "t3-source", &target])
        .code(1)
        .says("error:");
    env.kvmctl(["volumes", "download", "t3-source", &target])
        .code(1)
        .says("No space left");
    assert_eq!(small.files(), "", "after the export");

    // There is room for one of them, not for the old and the new.
    let ten = env.path("ten").display().to_string();
    env.run("sh", &["-c", &format!("head -c 10M {random} > {ten}")])
        .ok();
    let args = [
        "volumes", "import", &ten, "--name", "t3-ten", "--format", "raw", "--pool", SMALL,
    ];
    env.kvmctl(args).ok();
    let before = small.files();
    let args = [
        "volumes", "upload", "t3-ten", &ten, "--format", "raw", "--sparse",
    ];
    env.kvmctl(args).code(1).says("error:");
    assert_eq!(small.files(), before, "after the upload");
    env.run("cmp", &[&path_of(&env, "t3-ten"), &ten]).ok();
    env.kvmctl(["volumes", "delete", "t3-ten", "t3-source"])
        .ok();
    assert_eq!(small.files(), "", "at the end");
}

#[test]
fn preallocation_is_what_the_disk_says() {
    use std::os::unix::fs::MetadataExt;
    let env = guest_env();
    const SIZE: u64 = 16 << 20;
    for (format, kind, whole) in [
        ("raw", "off", false),
        ("raw", "falloc", true),
        ("raw", "full", true),
        ("qcow2", "off", false),
        ("qcow2", "metadata", false),
        ("qcow2", "falloc", true),
    ] {
        let args = [
            "volumes", "create", "t3-pre", "--size", "16M", "--format", format,
        ];
        let mut all = args.to_vec();
        all.extend(["--preallocation", kind]);
        env.kvmctl(all).ok();
        let path = path_of(&env, "t3-pre");
        let file = fs::metadata(&path).unwrap();
        let taken = file.blocks() * 512 >= SIZE;
        assert_eq!(taken, whole, "{format} {kind}: {}", file.blocks() * 512);
        assert_eq!(file.mode() & 0o777, 0o600, "{format} {kind}");
        if kind == "metadata" {
            assert!(file.len() >= SIZE, "the tables are there: {}", file.len());
        }
        env.kvmctl(["volumes", "delete", "t3-pre"]).ok();
    }
    let args = [
        "volumes",
        "create",
        "t3-pre",
        "--size",
        "16M",
        "--preallocation",
        "full",
    ];
    env.kvmctl(args).code(2).says("raw");
}

/// What has changed is not known before it is copied, and so the pool can be full in the middle of it.
#[test]
fn a_guest_goes_on_when_the_pool_of_its_snapshot_is_full() {
    let env = guest_env();
    let small = Small::new(&env, "t3-live-small", "40m");
    let (name, data) = ("t3-fills", "t3-fills-data");
    env.kvmctl([
        "volumes", "create", data, "--size", "16M", "--pool", small.1,
    ])
    .ok();
    let mut manifest = tiny(name);
    manifest["spec"]["volumes"] = serde_json::json!([{"name": data}]);
    apply(&env, &manifest, &["--no-wait"]).ok();
    let writes = |what: &str| {
        let disk = "/machine/peripheral/virtio-disk1/virtio-backend";
        let line = format!("qemu-io -d {disk} \"{what}\"");
        let told = host(
            "virsh",
            &["-q", "qemu-monitor-command", name, "--hmp", &line],
        );
        assert!(!told.contains("rror"), "{told}");
    };
    writes("write -P 1 0 4M");
    let snapshot = |name: &str, more: &[&str]| {
        let args = ["snapshots", "create", name, "--volume", data];
        env.kvmctl([&args[..], more].concat())
    };
    snapshot("t3-fills-0", &[]).ok();
    writes("write -P 2 0 12M");
    writes("flush");
    let before = small.files();
    let path = small.0.join("filler").display().to_string();
    let free = host(
        "df",
        &["--output=avail", "-B1", &small.0.display().to_string()],
    );
    let free: u64 = free.lines().last().unwrap().trim().parse().unwrap();
    let most = (free - (4 << 20)).to_string();
    host("fallocate", &["-l", &most, &path]);
    let base = ["--base", "t3-fills-0"];
    snapshot("t3-fills-1", &base)
        .code(1)
        .says("No space left on device");
    env.kvmctl(["get", "snapshot", "t3-fills-1"]).code(4);
    fs::remove_file(&path).unwrap();
    assert_eq!(small.files(), before, "after the snapshot");
    assert_eq!(host("virsh", &["domstate", name]).trim(), "running");
    assert!(host("virsh", &["domjobinfo", name]).contains("None"));
    snapshot("t3-fills-1", &base).ok();
    env.kvmctl(["snapshots", "verify", "t3-fills-1"]).ok();
    env.kvmctl(["delete", "instance", name, "--force"]).ok();
    env.kvmctl(["snapshots", "delete", "t3-fills-0", "t3-fills-1"])
        .ok();
    env.kvmctl(["volumes", "delete", data]).ok();
    assert_eq!(small.files(), "", "at the end");
}
