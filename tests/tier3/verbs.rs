//! Points 70, 71, 84 and 97 of kubectl's conventions, which need a guest that runs.

use std::time::{Duration, Instant};

use super::host::{apply, field, guest_env, tiny};
use crate::support::Env;

/// 70, 71, 97: what waits says when it waited in vain, and what does not wait is gone later.
#[test]
fn deleting_and_stopping_wait_as_long_as_they_are_told() {
    let env = guest_env();
    let name = "vb-wait";
    // Paused, no guest hears the power button.
    let make = || {
        apply(&env, &tiny(name), &["--no-wait"]).ok();
        env.kvmctl(["instances", "pause", name]).ok();
    };
    make();
    env.kvmctl(["delete", "instance", name, "--force", "--grace-period=5"])
        .code(2);
    let begin = Instant::now();
    env.kvmctl([
        "delete",
        "instance",
        name,
        "--timeout=1s",
        "--grace-period=600",
    ])
    .code(6)
    .says("timed out waiting for the condition on instance/vb-wait");
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(field(&env, name, ".status.phase"), "Terminating");
    env.run("virsh", &["-q", "dominfo", name]).ok();
    // What was begun is finished by a delete that does not wait for the guest.
    env.kvmctl(["delete", "instance", name, "--force"])
        .ok()
        .prints("instance \"vb-wait\" deleted");
    assert_ne!(env.run("virsh", &["-q", "dominfo", name]).status, 0);

    make();
    env.kvmctl([
        "delete",
        "instance",
        name,
        "--wait=false",
        "--grace-period=600",
    ])
    .ok();
    assert_eq!(field(&env, name, ".status.phase"), "Terminating");
    env.kvmctl(["instances", "stop", name, "--timeout", "1s"])
        .code(6)
        .says("it is still running");
    env.kvmctl(["delete", "instance", name, "--force"]).ok();
    env.kvmctl(["get", "instance", name]).code(4);
}

/// 84: the console's last lines, and as they come until somebody has seen enough.
#[test]
fn logs_have_an_end_and_are_followed_until_interrupted() {
    let env = guest_env();
    let name = "vb-logs";
    apply(&env, &tiny(name), &["--no-wait"]).ok();
    for _ in 0..240 {
        if env.kvmctl(["logs", name]).stdout.lines().count() > 20 {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let tail = env.kvmctl(["logs", name, "--tail", "5"]).ok();
    assert_eq!(tail.stdout.lines().count(), 5, "{tail}");
    let whole = env.kvmctl(["logs", name]).ok();
    assert!(whole.stdout.lines().count() > 20, "{whole}");
    followed(&env, name);
    env.kvmctl(["delete", "instance", name, "--force"]).ok();
}

fn followed(env: &Env, name: &str) {
    let program = env!("CARGO_BIN_EXE_kvmctl");
    let mut args = vec!["--preserve-status", "-s", "INT", "3", program];
    args.extend(["logs", name, "-f", "--tail", "2"]);
    let followed = env.run("timeout", &args).code(130);
    assert!(followed.stdout.lines().count() >= 2, "{followed}");
}
