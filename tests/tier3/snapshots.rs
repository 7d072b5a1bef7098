//! Snapshots of disks at rest: what is stored, what is restored, and what is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::host::{apply, field, guest_env, host, tiny};
use super::pool::Pool;
use crate::support::Env;

/// Volumes and snapshots of one test, which go with it.
struct Things<'e>(&'e Env, Vec<String>);

impl Drop for Things<'_> {
    fn drop(&mut self) {
        for thing in &self.1 {
            self.0.kvmctl(["delete", thing]);
        }
    }
}

fn things<'e>(env: &'e Env, names: &[&str]) -> Things<'e> {
    Things(env, names.iter().map(ToString::to_string).collect())
}

fn get(env: &Env, thing: &str, path: &str) -> String {
    let format = format!("jsonpath={{{path}}}");
    env.kvmctl(["get", thing, "-o", &format])
        .ok()
        .text()
        .to_owned()
}

fn volume(env: &Env, name: &str, size: &str, format: &str) -> String {
    let create = [
        "volumes", "create", name, "--size", size, "--format", format,
    ];
    env.kvmctl(create).ok();
    get(env, &format!("volume/{name}"), ".status.path")
}

fn sum(path: &str) -> String {
    let told = host("sha256sum", &[path]);
    told.split(' ').next().unwrap().to_owned()
}

fn write(path: &str, format: &str, what: &str) {
    host("qemu-io", &["-f", format, "-c", what, path]);
}

/// A guest has written the header of a qcow2 image with a base of its choice on its raw disk: nobody
/// follows it, whatever is done with the volume, and its bytes stay what they are.
#[test]
fn a_raw_volume_stays_raw_whatever_is_in_it() {
    let env = guest_env();
    let _things = things(
        &env,
        &[
            "snapshot/sn-raw",
            "volume/sn-raw",
            "volume/sn-raw-2",
            "volume/sn-raw-3",
        ],
    );
    let path = volume(&env, "sn-raw", "4Mi", "raw");
    let evil = env.path("evil.qcow2").display().to_string();
    let secret = env.file("secret", "the host's own").display().to_string();
    let make = [
        "create", "-q", "-u", "-f", "qcow2", "-b", &secret, "-F", "raw", &evil, "1G",
    ];
    host("qemu-img", &make);
    let mut bytes = std::fs::read(&evil).unwrap();
    bytes.resize(4 << 20, 0);
    std::fs::write(&path, &bytes).unwrap();

    let log = env.path("strace.log").display().to_string();
    let traced = |args: &[&str]| {
        let mut all = vec!["-f", "-qq", "-o", &log, "-e", "trace=?open,openat,openat2"];
        all.push(env!("CARGO_BIN_EXE_kvmctl"));
        all.extend(args);
        env.run("strace", &all).ok();
        let opened = std::fs::read_to_string(&log).unwrap();
        assert!(
            opened.contains("qcow2") && !opened.contains(&secret),
            "{args:?}"
        );
    };
    traced(&["snapshots", "create", "sn-raw", "--volume", "sn-raw"]);
    assert_eq!(get(&env, "snapshot/sn-raw", ".status.virtualSize"), "4Mi");
    assert_eq!(
        get(&env, "snapshot/sn-raw", ".status.disks[0].format"),
        "raw"
    );
    std::fs::write(&path, vec![1; 4 << 20]).unwrap();
    traced(&["snapshots", "restore", "sn-raw", "--discard-old"]);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    traced(&["snapshots", "restore", "sn-raw", "--to", "sn-raw-2"]);
    let copy = get(&env, "volume/sn-raw-2", ".status.path");
    assert_eq!(std::fs::read(copy).unwrap(), bytes);
    assert_eq!(get(&env, "volume/sn-raw-2", ".status.format"), "raw");
    let out = env.path("out.raw").display().to_string();
    env.kvmctl(["snapshots", "export", "sn-raw", &out, "--format", "raw"])
        .ok();
    assert_eq!(std::fs::read(&out).unwrap(), bytes);
    // Nor is the header followed where a copy gets another format.
    let copy = ["volumes", "create", "sn-raw-3", "--from-volume", "sn-raw"];
    traced(&[&copy[..], &["--format", "qcow2"]].concat());
    let export = ["volumes", "export", "sn-raw-3", &out, "--overwrite"];
    traced(&[&export[..], &["--format", "raw"]].concat());
    assert_eq!(std::fs::read(&out).unwrap(), bytes);
}

/// What is not the very file that was stored is not restored, and the volume stays as it is.
#[test]
fn what_is_no_snapshot_of_ours_is_refused() {
    let env = guest_env();
    let _things = things(&env, &["snapshot/sn-fake", "volume/sn-fake"]);
    let path = volume(&env, "sn-fake", "4Mi", "qcow2");
    write(&path, "qcow2", "write -P 5 0 1M");
    env.kvmctl(["snapshots", "create", "sn-fake", "--volume", "sn-fake"])
        .ok();
    let stored = get(&env, "snapshot/sn-fake", ".status.disks[0].path");
    assert_eq!(
        std::fs::metadata(&stored).unwrap().permissions().mode() & 0o777,
        0o600
    );
    write(&path, "qcow2", "write -P 6 0 1M");
    let before = sum(&path);
    let kept = std::fs::read(&stored).unwrap();
    let mut flipped = kept.clone();
    let last = flipped.len() - 70_000;
    flipped[last] ^= 1;
    let tar = env.path("volume.tar.gz").display().to_string();
    host("tar", &["czf", &tar, "/etc/hostname"]);
    let other = env.path("other.qcow2").display().to_string();
    host("qemu-img", &["create", "-q", "-f", "qcow2", &other, "4M"]);
    for (what, bytes) in [
        ("a tarball", std::fs::read(&tar).unwrap()),
        ("another image", std::fs::read(&other).unwrap()),
        ("a bit that flipped", flipped),
        ("nothing", Vec::new()),
    ] {
        std::fs::write(&stored, bytes).unwrap();
        for args in [
            &["snapshots", "restore", "sn-fake"][..],
            &["snapshots", "restore", "sn-fake", "--to", "sn-fake-2"],
            &["snapshots", "verify", "sn-fake"],
        ] {
            let told = env.kvmctl(args).code(1).says("snapshot/sn-fake is damaged");
            assert_eq!(sum(&path), before, "{what}: {told}");
        }
        env.kvmctl(["get", "volume", "sn-fake-2"]).code(4);
    }
    env.kvmctl(["snapshots", "restore", &tar])
        .code(2)
        .says("is not the name of a snapshot");
    std::fs::write(&stored, kept).unwrap();
    env.kvmctl(["snapshots", "verify", "sn-fake"]).ok();
    env.kvmctl(["snapshots", "restore", "sn-fake"]).ok();
    let read = host("qemu-io", &["-f", "qcow2", "-c", "read -P 5 0 1M", &path]);
    assert!(!read.contains("verification failed"), "{read}");
    // Nobody has started with it: the disk as it was is still there.
    let old = format!("{path}.pre-restore");
    assert_eq!(sum(&old), before);
    env.kvmctl(["delete", "volume", "sn-fake"])
        .ok()
        .says("snapshot/sn-fake of it stays");
    assert!(!Path::new(&old).exists());
    env.kvmctl(["snapshots", "restore", "sn-fake"])
        .code(5)
        .says("volume/sn-fake, which snapshot/sn-fake was taken of, is gone")
        .says("--to NEW");
}

/// All disks of a guest come back together, it starts with them, and only then the old ones go.
#[test]
fn an_instance_gets_all_its_disks_back_and_starts_with_them() {
    let env = guest_env();
    let _things = things(&env, &["snapshot/sn-all", "volume/sn-disk"]);
    apply(&env, &tiny("sn-web"), &["--wait=false"]).ok();
    let disk = volume(&env, "sn-disk", "4Mi", "raw");
    env.kvmctl(["volumes", "attach", "sn-disk", "sn-web"]).ok();
    env.kvmctl(["instances", "stop", "sn-web", "--force", "--timeout", "0s"])
        .ok();
    std::fs::write(&disk, vec![3; 4 << 20]).unwrap();
    env.kvmctl(["snapshots", "create", "sn-all", "--instance", "sn-web"])
        .ok();
    assert_eq!(
        get(&env, "snapshot/sn-all", ".status.disks[*].name"),
        "root vol-sn-disk"
    );
    // Its power was cut.
    assert_eq!(get(&env, "snapshot/sn-all", ".status.consistency"), "crash");
    let refused = ["snapshots", "create", "sn-no", "--instance", "sn-web"];
    env.kvmctl([&refused[..], &["--consistency", "filesystem"]].concat())
        .code(5)
        .says("powered off by itself");
    let uid = field(&env, "sn-web", ".metadata.uid");
    let root = format!("{}/sn-web.{}.qcow2", parent(&disk), &uid[..8]);
    let info = host(
        "qemu-img",
        &["info", "--output=json", "-U", "-f", "qcow2", &root],
    );
    assert!(info.contains("backing-filename"), "{info}");
    std::fs::write(&disk, vec![4; 4 << 20]).unwrap();
    env.kvmctl(["instances", "start", "sn-web"]).ok();
    env.kvmctl(["snapshots", "restore", "sn-all"])
        .code(5)
        .says("it is in use by \"sn-web\", which runs")
        .says("--stop");
    let stop = ["--stop", "--force", "--timeout", "1s"];
    env.kvmctl([&["snapshots", "restore", "sn-all"][..], &stop].concat())
        .ok();
    assert_eq!(field(&env, "sn-web", ".status.phase"), "Running");
    assert_eq!(std::fs::read(&disk).unwrap(), vec![3; 4 << 20]);
    // It stands alone now, which describe says.
    let info = host(
        "qemu-img",
        &["info", "--output=json", "-U", "-f", "qcow2", &root],
    );
    assert!(!info.contains("backing-filename"), "{info}");
    for path in [&disk, &root] {
        assert!(
            !Path::new(&format!("{path}.pre-restore")).exists(),
            "{path}"
        );
    }
    env.kvmctl(["delete", "instance", "sn-web", "--force"])
        .ok()
        .says("snapshot/sn-all of it stays");
}

fn parent(path: &str) -> String {
    Path::new(path).parent().unwrap().display().to_string()
}

/// A pool that fills up in the middle of a copy is told, and nothing of the copy stays.
#[test]
fn a_pool_that_fills_up_in_the_middle_keeps_nothing_of_the_copy() {
    let env = guest_env();
    let pool = Pool::new(&env, "sn-small", "48M");
    let _things = things(&env, &["volume/sn-big"]);
    let path = volume(&env, "sn-big", "28Mi", "raw");
    host(
        "dd",
        &[
            "if=/dev/urandom",
            &format!("of={path}"),
            "bs=1M",
            "count=28",
            "conv=notrunc",
        ],
    );
    let before = (pool.files(), sum(&path));
    env.kvmctl(["snapshots", "create", "sn-full", "--volume", "sn-big"])
        .code(1)
        .says("pool \"sn-small\" is full");
    env.kvmctl(["get", "snapshot", "sn-full"]).code(4);
    assert_eq!((pool.files(), sum(&path)), before);

    env.run("mount", &["-o", "remount,size=64M", &pool.path])
        .ok();
    env.kvmctl(["snapshots", "create", "sn-full", "--volume", "sn-big"])
        .ok();
    let before = (pool.files(), sum(&path));
    env.kvmctl(["snapshots", "restore", "sn-full"])
        .code(1)
        .says("the disks as they are stay until the new ones are whole");
    env.kvmctl(["snapshots", "restore", "sn-full", "--to", "sn-copy"])
        .code(1)
        .says("pool \"sn-small\" is full");
    env.kvmctl(["get", "volume", "sn-copy"]).code(4);
    assert_eq!((pool.files(), sum(&path)), before);
    env.kvmctl(["delete", "snapshot", "sn-full"]).ok();
}

/// A job that runs by the clock: a new name each time, and only so many are kept.
#[test]
fn a_row_of_snapshots_keeps_the_newest() {
    let env = guest_env();
    let _things = things(&env, &["snapshot/sn-mine", "volume/sn-row"]);
    volume(&env, "sn-row", "1Mi", "qcow2");
    env.kvmctl(["snapshots", "create", "sn-mine", "--volume", "sn-row"])
        .ok();
    for _ in 0..3 {
        env.kvmctl(["snapshots", "create", "--volume", "sn-row", "--retain", "2"])
            .ok();
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let names = || {
        let list = [
            "get",
            "snapshots",
            "-o",
            "name",
            "--field-selector",
            "spec.volume=sn-row",
        ];
        let told = env.kvmctl(list).ok().stdout;
        told.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let kept = names();
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept.contains(&"snapshot/sn-mine".to_owned()), "{kept:?}");
    let prune = [
        "snapshots",
        "prune",
        "--volume",
        "sn-row",
        "--keep-last",
        "1",
    ];
    env.kvmctl([&prune[..], &["--dry-run"]].concat()).ok();
    assert_eq!(names(), kept);
    env.kvmctl(["snapshots", "prune", "--volume", "sn-row", "--yes"])
        .code(2)
        .says("nothing says what to keep");
    env.kvmctl([&prune[..], &["--yes"]].concat()).ok();
    let left = names();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_ne!(left[0], "snapshot/sn-mine", "the newest is kept");
    env.kvmctl(["delete", &left[0]]).ok();
}
