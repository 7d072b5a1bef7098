//! Images that must not be taken.

use super::host::{guest_env, host};

fn files() -> String {
    host(
        "find",
        &[
            "/var/lib/libvirt/images",
            "/var/lib/kvmctl/images",
            "-type",
            "f",
        ],
    )
    .lines()
    .filter(|l| l.contains("image") && !l.contains(".seed."))
    .filter(|l| l.contains("kvmctl-image") || l.contains("/var/lib/kvmctl/images"))
    .map(|l| format!("{l}\n"))
    .collect()
}

#[test]
fn an_image_with_a_backing_file_is_refused_and_nothing_made() {
    let env = guest_env();
    let before = files();
    let path = env.path("evil.qcow2").display().to_string();
    let create = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "/etc/passwd",
        "-F",
        "raw",
        &path,
    ];
    env.run("qemu-img", &create).ok();
    let output = env.kvmctl(["images", "import", &path, "--name", "evil"]);
    assert!((1..=2).contains(&output.status), "{output}");
    let output = output.says("backing file");
    assert!(!output.stderr.contains("root:"), "{output}");
    env.kvmctl(["get", "image", "evil"]).code(4);
    assert_eq!(files(), before);
}

#[test]
fn an_image_in_use_is_not_deleted() {
    let env = guest_env();
    super::host::apply(&env, &super::host::tiny("user-of-image"), &["--no-wait"]).ok();
    env.kvmctl(["images", "delete", "tiny"])
        .code(5)
        .says("user-of-image");
    env.kvmctl(["delete", "instance", "user-of-image", "--force"])
        .ok();
    env.kvmctl(["get", "image", "tiny"]).ok();
}
