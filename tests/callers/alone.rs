//! A user with only a session daemon: nothing of the main path needs a right.

use super::host::{PrivateHost, Socket, Who, guest_turn};

const POOL: &str = "home/kt-alone/.local/share/libvirt/images";

#[test]
fn the_whole_main_path_without_any_right() {
    let host = PrivateHost::start(Socket::Group);
    let _turn = guest_turn();
    let run = |args: &[&str]| host.kvmctl(Who::Alone, args);

    let first = run(&["get", "instances"]).ok();
    first
        .says("Using qemu:///session from now on")
        .says("No instances found");
    let again = run(&["get", "instances"]).ok();
    again.never_says("qemu:///session");

    run(&["setup", "--yes"])
        .ok()
        .prints("made pool \"default\"");
    run(&["setup", "--yes"])
        .ok()
        .says("Everything is set up: pool \"default\", network \"user\"");
    let image = host.path("images/debian-12.qcow2").display().to_string();
    run(&[
        "images",
        "import",
        &image,
        "--name",
        "debian",
        "--default-user",
        "debian",
    ])
    .ok();
    // Checks that hold for the system daemon only are not made.
    run(&["doctor"]).ok();

    let create = [
        "instances",
        "create",
        "solo",
        "--image",
        "debian",
        "--type",
        "basic-1",
        "-e",
        "GREETING=it's $HOME",
        "--wait",
        "--timeout",
        "10m",
    ];
    run(&create).ok().prints("instance/solo created");
    run(&[
        "get",
        "instance",
        "solo",
        "-o",
        "jsonpath={.status.conditions[?(@.type=='Ready')].status}",
    ])
    .ok()
    .prints("True");

    let inside = [
        "exec",
        "solo",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ];
    let inside = run(&inside).code(7);
    assert_eq!(
        (inside.out.as_str(), inside.err.as_str()),
        ("out\n", "err\n")
    );
    run(&["exec", "solo", "--", "sh", "-lc", "printf %s \"$GREETING\""])
        .ok()
        .prints("it's $HOME");
    run(&["ssh", "solo", "--", "true"])
        .code(5)
        .says("user-mode network")
        .says("kvmctl exec solo -- COMMAND");
    run(&["logs", "solo"]).ok().prints("Linux version");
    run(&["logs", "solo", "--cloud-init"])
        .ok()
        .prints("finished");
    run(&["logs", "solo", "--qemu"]).ok().prints("-netdev");
    run(&["instances", "seed", "solo"]).ok();

    run(&["instances", "stop", "solo", "--timeout", "120s"]).ok();
    run(&["instances", "start", "solo"]).ok();
    run(&["delete", "instance", "solo", "--now"]).ok();
    assert_eq!(host.guest_files(POOL), Vec::<String>::new());
    let domains = host.run(
        Who::Alone,
        &["virsh", "-c", "qemu:///session", "list", "--all", "--name"],
    );
    assert_eq!(domains.ok().out.trim(), "");
    run(&["get", "instances"]).ok().says("No instances found");
    // The host's own world never heard of it.
    host.kvmctl(Who::Root, &["get", "instances", "--all"])
        .ok()
        .says("No instances found");
    assert!(!host.path("varlib/kvmctl").exists());
}

#[test]
fn a_network_that_a_session_cannot_have_is_named() {
    let host = PrivateHost::start(Socket::Group);
    let run = |args: &[&str]| host.kvmctl(Who::Alone, args);
    run(&["setup", "--yes"]).ok();
    let image = host.path("images/tiny.qcow2").display().to_string();
    run(&["images", "import", &image, "--name", "tiny"]).ok();
    let create = [
        "instances",
        "create",
        "net",
        "--image",
        "tiny",
        "--cpus",
        "1",
        "--memory",
        "128Mi",
        "--no-wait",
        "--network",
    ];
    let named = |network: &str| run(&[create.as_slice(), &[network]].concat());
    named("blue").code(2).says("there is no network \"blue\"");
    let _turn = guest_turn();
    named("user").ok();
    run(&["delete", "instance", "net", "--now"]).ok();
    assert_eq!(host.guest_files(POOL), Vec::<String>::new());
}
