//! Snapshots of a guest that writes all the time: the freeze as the guest itself sees it, and what a
//! restored disk holds.

use serde_json::json;

use super::host::{BOOT, Identity, apply, guest_env, host, instance};
use crate::support::Env;

const NAME: &str = "busy";
const DATA: &str = "busy-data";

/// Counts up in a file, synced each time, and notes the longest pause between two.
const LOAD: &str = "cat > /root/load.sh <<'END'\n\
    n=0; last=$(date +%s%N)\n\
    while :; do n=$((n+1)); echo $n > /mnt/new; sync /mnt/new; mv /mnt/new /mnt/marker; sync /mnt\n\
    now=$(date +%s%N); pause=$((now-last)); last=$now\n\
    [ $pause -gt $(cat /run/pause) ] && echo $pause > /run/pause; done\n\
    END\n\
    mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && echo 0 > /run/pause\n\
    nohup sh /root/load.sh >/dev/null 2>&1 &\n";

#[test]
fn a_busy_guest_is_frozen_for_a_moment_and_its_file_system_is_whole() {
    let env = guest_env();
    env.kvmctl(["volumes", "create", DATA, "--size", "256M"])
        .ok();
    let more = json!({"volumes": [{"name": DATA}]});
    apply(
        &env,
        &instance(NAME, "debian-12", &more),
        &["--wait", "--timeout", BOOT],
    )
    .ok();
    let identity = Identity::of(&env, NAME);
    inside(&env, LOAD);
    let before = until(&env, 5);
    inside(&env, "echo 0 > /run/pause; sleep 3");
    let usual = millis(&inside(&env, "cat /run/pause"));

    let create = ["snapshots", "create", "live", "--instance", NAME];
    env.kvmctl([&create[..], &["--consistency", "filesystem"]].concat())
        .ok();
    let after = until(&env, 0);
    let pause = millis(&inside(&env, "cat /run/pause"));
    let frozen: u64 = status(&env, "live", ".status.frozenMs").parse().unwrap();
    assert_eq!(status(&env, "live", ".status.consistency"), "filesystem");
    assert!(frozen < 10_000, "frozen for {frozen} ms");
    // It stood still for no longer than the freeze, beside what it always waits for.
    let most = frozen + 5 * usual + 1_000;
    assert!(pause < most, "{pause} ms; frozen {frozen}, usual {usual}");
    // It goes on writing.
    until(&env, after + 3);

    // Without an agent there is no freezing, and it is said.
    inside(
        &env,
        "systemctl stop qemu-guest-agent.socket qemu-guest-agent || true",
    );

    restored_is_whole(&env, before, after);
    env.kvmctl(["snapshots", "delete", "live"]).ok();
    env.kvmctl(["delete", "instance", NAME, "--grace-period", "0"])
        .ok();
    identity.expect_gone();
    env.kvmctl(["delete", "volume", DATA]).ok();
}

fn restored_is_whole(env: &Env, before: u64, after: u64) {
    env.kvmctl([
        "volumes",
        "create",
        "busy-back",
        "--from-snapshot",
        "live",
        "--disk",
        DATA,
    ])
    .ok();
    let raw = env.path("back.raw").display().to_string();
    env.kvmctl(["volumes", "export", "busy-back", &raw, "--format", "raw"])
        .ok();
    env.kvmctl(["delete", "volume", "busy-back"]).ok();
    env.run("fsck.ext4", &["-n", "-f", &raw]).ok();
    let marker = host("debugfs", &["-R", "cat /marker", &raw]);
    let marker: u64 = marker.trim().parse().unwrap();
    assert!(
        (before..=after).contains(&marker),
        "{marker} is not in {before}..={after}"
    );
}

#[track_caller]
fn inside(env: &Env, script: &str) -> String {
    env.kvmctl(["exec", NAME, "--", "sh", "-c", script])
        .ok()
        .text()
        .to_owned()
}

/// Returns the marker once it is at least `least`.
#[track_caller]
fn until(env: &Env, least: u64) -> u64 {
    for _ in 0..120 {
        let told = inside(env, "cat /mnt/marker || echo 0");
        let marker = told.trim().parse().unwrap_or(0);
        if marker >= least {
            return marker;
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    panic!("the guest does not write");
}

fn millis(nanos: &str) -> u64 {
    nanos.trim().parse::<u64>().unwrap() / 1_000_000
}

fn status(env: &Env, name: &str, path: &str) -> String {
    let format = format!("jsonpath={{{path}}}");
    env.kvmctl(["get", "snapshot", name, "-o", &format])
        .ok()
        .text()
        .to_owned()
}
