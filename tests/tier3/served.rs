//! How volumes are served to a guest, and what goes in and out of them by stream.

use super::host::{apply, expect_no_trace, field, guest_env, host, instance};
use super::volumes::{Volumes, guest_says, volume};

/// Asks the domain of an instance, running and defined, what it says.
fn domain_says(name: &str, parts: &[&str]) {
    for flags in [&[][..], &["--inactive"]] {
        let mut args = vec!["-q", "dumpxml", name];
        args.extend(flags);
        let xml = host("virsh", &args);
        for part in parts {
            assert!(xml.contains(part), "{part}: {xml}");
        }
    }
}

#[test]
fn a_volume_is_served_as_is_asked_for() {
    let env = guest_env();
    let name = "t3-served";
    let raw = ["--size", "8M", "--format", "raw"];
    let _volumes = Volumes::make(
        &env,
        &[
            ("t3-own", &["--size", "8M"]),
            ("t3-sh", &raw),
            ("t3-ro", &raw),
        ],
    );
    let more = serde_json::json!({"memory": "96Mi", "disk": "64Mi"});
    apply(&env, &instance(name, "tiny", &more), &["--no-wait"]).ok();
    let address = field(&env, name, ".status.address");
    guest_says(&address, "its root disk", |d| d.len() == 1);
    let attach = |volume: &str, how: &[&str]| {
        let mut args = vec!["volumes", "attach", volume, name];
        args.extend(how);
        env.kvmctl(args)
    };
    attach("t3-own", &["--io", "native"])
        .code(2)
        .says("cache none");
    attach("t3-own", &["--cache", "zstd -o /etc/x"]).code(2);
    let how = ["--iothread", "own", "--io", "native", "--cache", "none"];
    attach("t3-own", &how).ok();
    let how = [
        "--iothread",
        "shared",
        "--cache",
        "writeback",
        "--discard",
        "ignore",
    ];
    attach("t3-sh", &how).ok();
    attach(
        "t3-ro",
        &["--iothread", "shared", "--io", "threads", "--read-only"],
    )
    .ok();
    domain_says(
        name,
        &[
            "cache='none' io='native' discard='unmap' iothread='1001'",
            "cache='writeback' discard='ignore' iothread='1000'",
            "io='threads' discard='unmap' iothread='1000'",
            "<iothread id='1001'",
        ],
    );
    let other = attach("t3-own", &["--iothread", "shared"]);
    other.code(5).says("in another way");
    env.kvmctl(["instances", "pause", name]).ok();
    env.kvmctl(["volumes", "detach", "t3-own"])
        .code(5)
        .says("is paused")
        .says("kvmctl instances resume");
    env.kvmctl(["instances", "resume", name]).ok();
    for volume in ["t3-own", "t3-sh", "t3-ro"] {
        env.kvmctl(["volumes", "detach", volume]).ok();
        // Again is fine.
        env.kvmctl(["volumes", "detach", volume, name]).ok();
        env.kvmctl(["volumes", "detach", volume]).ok();
    }
    for flags in [&[][..], &["--inactive"]] {
        let mut args = vec!["-q", "dumpxml", name];
        args.extend(flags);
        let xml = host("virsh", &args);
        assert!(!xml.contains("<iothread"), "threads are left: {xml}");
    }
    env.kvmctl(["delete", "instance", name, "--force"]).ok();
}

/// A volume whose content is replaced is whole at any time, and refuses what does not fit.
#[test]
fn a_volume_gets_other_content_and_gives_it_back() {
    let env = guest_env();
    let raw = ["--size", "8M", "--format", "raw"];
    let _volumes = Volumes::make(&env, &[("t3-up", &raw), ("t3-up-q", &["--size", "8M"])]);
    let data = env.path("data").display().to_string();
    env.run("sh", &["-c", &format!("head -c 5M /dev/urandom > {data}")])
        .ok();
    let uid = volume(&env, "t3-up", ".metadata.uid");
    env.kvmctl(["volumes", "upload", "t3-up", &data, "--format", "raw"])
        .ok();
    assert_eq!(volume(&env, "t3-up", ".metadata.uid"), uid);
    assert_eq!(volume(&env, "t3-up", ".status.capacity"), "8Mi");
    let path = volume(&env, "t3-up", ".status.path");
    assert_eq!(host("stat", &["-c", "%a", &path]).trim(), "600");
    let back = env.path("back").display().to_string();
    env.kvmctl(["volumes", "download", "t3-up", &back]).ok();
    env.run("cmp", &["-n", "5242880", &back, &data]).ok();
    env.kvmctl(["volumes", "download", "t3-up", &back])
        .code(2)
        .says("--overwrite");
    env.kvmctl(["volumes", "upload", "t3-up-q", &data, "--format", "raw"])
        .code(2)
        .says("qcow2");
    let large = env.path("large").display().to_string();
    env.run("qemu-img", &["create", "-q", "-f", "qcow2", &large, "9M"])
        .ok();
    env.kvmctl(["volumes", "upload", "t3-up-q", &large])
        .code(2)
        .says("volumes resize");
    let sum = "0".repeat(64);
    env.kvmctl(["volumes", "upload", "t3-up-q", &large, "--checksum", &sum])
        .code(2)
        .says("checksum");
    let _overlay = Volumes::make(&env, &[("t3-up-o", &["--from-image", "tiny"])]);
    env.kvmctl(["volumes", "download", "t3-up-o", &large, "--overwrite"])
        .code(5)
        .says("volumes export");
    drop((_overlay, _volumes));
    expect_no_trace("t3-up");
}
