//! Tools, stores and pools that fail: one clear error each, and nothing half made.

use std::os::unix::fs::PermissionsExt;

use super::host::{apply, expect_no_trace, guest_env, host, tiny};
use super::pool::{Mounted, Pool};
use crate::support::{CommandOutput, Env};

/// Makes an instance with a maker of seeds that is this script, or with none at all.
fn make_with(tool: Option<&str>, name: &str) -> CommandOutput {
    let env = guest_env();
    let folder = env.path("bin");
    std::fs::create_dir(&folder).unwrap();
    let which = host("sh", &["-c", "command -v timeout"]);
    std::os::unix::fs::symlink(which.trim(), folder.join("timeout")).unwrap();
    let mut path = folder.display().to_string();
    if let Some(script) = tool {
        let file = folder.join("genisoimage");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        path = format!("{path}:{}", std::env::var("PATH").unwrap());
    }
    let env = env.with("PATH", &path);
    let output = apply(&env, &tiny(name), &["--no-wait"]);
    guest_env().kvmctl(["get", "instance", name]).code(4);
    expect_no_trace(name);
    output
}

#[test]
fn a_seed_tool_that_fails_hangs_or_is_missing_is_named() {
    make_with(None, "fa-missing")
        .code(8)
        .says("genisoimage or mkisofs or xorriso not found on PATH")
        .says("apt-get install genisoimage");
    make_with(Some("echo no room left >&2; exit 3"), "fa-fails")
        .code(1)
        .says("genisoimage failed (exit status: 3): no room left");
    make_with(Some("exit 0"), "fa-empty")
        .code(1)
        .says("genisoimage");
    // Its child holds the output, as a shell script's does.
    make_with(Some("sleep 600; true"), "fa-hangs")
        .code(6)
        .says("genisoimage did not end within 30 s and was killed");
}

#[test]
fn a_store_that_cannot_be_written_is_told() {
    let env = guest_env();
    let store = env.path("store").display().to_string();
    let env = env.with("KVMCTL_STORE", &store);
    import(&env, "tiny", &[]).ok();
    env.run("mount", &["--bind", &store, &store]).ok();
    let mounted = Mounted::at(&store);
    env.run("mount", &["-o", "remount,bind,ro", &store]).ok();
    env.kvmctl(["get", "images", "-o", "name"])
        .ok()
        .prints("image/tiny");
    let output = apply(&env, &tiny("fa-read-only"), &["--no-wait"])
        .code(1)
        .says("the store is read-only: cannot write");
    assert!(output.stderr.contains(&store), "{output}");
    expect_no_trace("fa-read-only");
    drop(mounted);
    apply(&env, &tiny("fa-read-only"), &["--no-wait"]).ok();
    env.kvmctl(["delete", "instance", "fa-read-only", "--force"])
        .ok();
    expect_no_trace("fa-read-only");
}

#[test]
fn a_full_pool_is_told_before_anything_is_made() {
    let env = guest_env();
    let small = Pool::new(&env, "fa-small", "8M");
    let files = || small.files();
    import(&env, "fa-image", &[]).code(2).says("free");
    // libvirtd 11.3 dies of a disk that fills up in the middle.
    import(&env, "fa-image", &["--sparse"])
        .code(1)
        .says("pool \"fa-small\" is full: 8 MiB are free, the image needs 14");
    assert_eq!(files(), "");
    env.kvmctl(["get", "image", "fa-image"]).code(4);

    env.run("mount", &["-o", "remount,size=40M", &small.path])
        .ok();
    import(&env, "fa-image", &["--sparse"]).ok();
    let before = files();
    let create = [
        "instances",
        "create",
        "fa-full",
        "--image",
        "fa-image",
        "--cpus",
        "1",
    ];
    let create = [
        &create[..],
        &["--memory", "96Mi", "--disk", "64Mi", "--no-wait"],
    ]
    .concat();
    env.kvmctl(create)
        .code(1)
        .says("pool \"fa-small\" is full")
        .says("hint: kvmctl images prune");
    env.kvmctl(["get", "instance", "fa-full"]).code(4);
    assert_eq!(files(), before);
    expect_no_trace("fa-full");
    env.kvmctl(["delete", "image", "fa-image"]).ok();
    assert_eq!(files(), "");
}

fn import(env: &Env, name: &str, flags: &[&str]) -> CommandOutput {
    let images = std::env::var("KVMCTL_TEST_IMAGES").expect("tests/run.sh tells the images");
    let file = format!("{images}/tiny.qcow2");
    let args = ["images", "import", &file, "--name", name];
    env.kvmctl([&args[..], flags].concat())
}
