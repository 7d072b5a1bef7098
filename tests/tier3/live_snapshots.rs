//! Snapshots of a guest that writes all the time: the freeze as the guest itself sees it, and what a
//! restored disk holds.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::host::{BOOT, Identity, apply, guest_env, host, instance};
use crate::converge::place::was_killed;
use crate::support::{CommandOutput, Env};

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
    let dead = Dead::is_asked(&env);
    let more = json!({"volumes": [{"name": DATA}]});
    apply(
        &env,
        &instance(NAME, "debian-12", &more),
        &["--wait", "--timeout", BOOT],
    )
    .ok();
    let identity = Identity::of(&env, NAME);
    dead.keeps_its_disk();
    inside(&env, LOAD);
    let before = until(&env, 5);
    inside(&env, "echo 0 > /run/pause; sleep 3");
    let usual = millis(&inside(&env, "cat /run/pause"));

    let create = ["snapshots", "create", "live", "--instance", NAME];
    thawed_though_killed(&env);
    inside(&env, "echo 0 > /run/pause");
    let before = before.max(until(&env, before));
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

    restored_is_whole(&env, before, after);
    env.kvmctl(["snapshots", "delete", "live"]).ok();
    env.kvmctl(["delete", "instance", NAME, "--grace-period", "0"])
        .ok();
    identity.expect_gone();
    env.kvmctl(["delete", "volume", DATA]).ok();
}

/// Killed before, while and after the guest is frozen: it goes on writing, and nobody had to ask for it.
fn thawed_though_killed(env: &Env) {
    let create = ["snapshots", "create", "cut", "--volume", DATA];
    for n in 1..=3 {
        let mut command = env.command(env!("CARGO_BIN_EXE_kvmctl"), &create);
        let run = command.env("KVMCTL_FAILPOINT", n.to_string()).output();
        let run = CommandOutput::new("kvmctl", &create, &run.unwrap());
        assert!(was_killed(&run), "boundary {n}: {run}");
        // The agent of a frozen guest answers nothing else.
        let asks = || {
            let told = env.kvmctl(["exec", NAME, "--", "cat", "/mnt/marker"]);
            told.text().parse::<u64>().ok()
        };
        let begun = Instant::now();
        let mut first = None;
        loop {
            let now = asks();
            first = first.or(now);
            if now > first.map(|n| n + 1) {
                break;
            }
            let late = begun.elapsed() > Duration::from_secs(60);
            assert!(!late, "boundary {n}: the guest stands still");
            thread::sleep(Duration::from_millis(200));
        }
    }
    env.kvmctl(["reconcile"]).ok();
    env.kvmctl(["get", "snapshot", "cut"]).code(4);
}

/// A guest that has nothing to boot, and so does not let go of anything, while it is asked to: that takes
/// a minute, in which another one boots.
struct Dead<'e>(&'e Env, std::process::Child);

impl<'e> Dead<'e> {
    fn is_asked(env: &'e Env) -> Self {
        let blank = env.path("blank.qcow2").display().to_string();
        env.run("qemu-img", &["create", "-q", "-f", "qcow2", &blank, "1M"])
            .ok();
        env.kvmctl(["images", "import", &blank, "--name", "blank"])
            .ok();
        env.kvmctl(["volumes", "create", "dead-data", "--size", "1M"])
            .ok();
        let more = json!({"memory": "96Mi", "disk": "1Mi", "volumes": [{"name": "dead-data"}]});
        apply(env, &instance("dead", "blank", &more), &["--no-wait"]).ok();
        let args = ["volumes", "detach", "dead-data", "dead"];
        let mut command = env.command(env!("CARGO_BIN_EXE_kvmctl"), &args);
        command.stderr(std::process::Stdio::piped());
        Self(env, command.spawn().unwrap())
    }

    fn keeps_its_disk(self) {
        let Self(env, asked) = self;
        let output = asked.wait_with_output().unwrap();
        let told = CommandOutput::new("kvmctl", &["volumes", "detach"], &output);
        told.code(6)
            .says("the guest of instance/dead has not let go of volume dead-data (disk vdb)")
            .says("hint: kvmctl instances stop dead");
        for flags in [&["--inactive"][..], &[]] {
            let disks = host("virsh", &[&["-q", "domblklist", "dead"], flags].concat());
            assert!(disks.contains("dead-data"), "{disks}");
        }
        let attached = ["get", "volume", "dead-data", "-o"];
        let path = "jsonpath={.status.attachedTo[*].domain} {.status.reason}";
        let now = env.kvmctl([&attached[..], &[path]].concat()).ok();
        assert_eq!(now.text(), "dead");
        env.kvmctl(["instances", "stop", "dead", "--force", "--timeout", "0s"])
            .ok();
        env.kvmctl(["volumes", "detach", "dead-data"]).ok();
        env.kvmctl(["delete", "instance", "dead", "--grace-period", "0"])
            .ok();
        env.kvmctl(["delete", "volume/dead-data", "image/blank"])
            .ok();
    }
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
        thread::sleep(Duration::from_millis(500));
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
