//! What is said of a boot: well, failed with its module, or without cloud-init.

use std::io::Write as _;

use serde_json::json;

use crate::support::Env;

use super::host::{
    BOOT, Background, Identity, apply, field, guest_env, host, instance, restart_inside, tiny,
};

/// A key of the user's own.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHvJ0sX0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0 me@home";

#[test]
fn a_failing_module_is_named_at_once() {
    let env = guest_env();
    let user_data = "#cloud-config\nruncmd:\n- [sh, -c, 'echo broken on purpose >&2; exit 3']\n";
    let manifest = instance("broken", "debian-12", &json!({"userData": user_data}));
    let output = apply(&env, &manifest, &["--wait", "--timeout", BOOT]).code(1);
    assert!(
        output.stderr.contains("scripts_user") || output.stderr.contains("runcmd"),
        "{output}"
    );
    assert!(output.stderr.contains("hint: "), "{output}");
    let reason = ".status.conditions[?(@.type==\"Ready\")].reason";
    assert_eq!(field(&env, "broken", reason), "CloudInitFailed");
    env.kvmctl([
        "wait",
        "--for=condition=Ready",
        "instance/broken",
        "--timeout=5m",
    ])
    .code(1);
    // Nothing repeats what failed: a second boot that goes well makes it no better.
    restart_inside(&env, "broken");
    let wait = ["wait", "--for=condition=Ready", "instance/broken"];
    let wait = env.kvmctl([&wait[..], &["--timeout", BOOT]].concat());
    wait.code(1).says("at the first boot: ");
    assert_eq!(field(&env, "broken", reason), "CloudInitFailed");
    let identity = Identity::of(&env, "broken");
    env.kvmctl(["delete", "instance", "broken", "--force"]).ok();
    identity.expect_gone();
}

#[test]
fn without_an_agent_a_guest_is_ready_and_reached_all_the_same() {
    let env = guest_env();
    let user_data = "#!/bin/sh\necho \"shell script with $1\" > /root/from-script\n";
    let more = json!({
        "userData": user_data,
        "run": ["echo ours > /root/from-run"],
        "sshKeys": [KEY],
        "env": [{"name": "GREETING", "value": "it's \"$HOME\" "}],
    });
    let manifest = instance("agentless", "debian-12-noagent", &more);
    apply(&env, &manifest, &["--wait", "--timeout", BOOT]).ok();
    let identity = Identity::of(&env, "agentless");
    env.kvmctl([
        "exec",
        "agentless",
        "--",
        "sudo",
        "cat",
        "/root/from-script",
        "/root/from-run",
    ])
    .ok()
    .prints("shell script with \nours\n");
    env.kvmctl(["exec", "agentless", "--", "cat", ".ssh/authorized_keys"])
        .ok()
        .prints(KEY);
    env.kvmctl(["exec", "agentless", "--", "sh", "-c", "exit 9"])
        .code(9);
    env.kvmctl(["exec", "agentless", "--", "sh", "-c", "exit 255"])
        .code(255);
    // A command has no login shell, and the environment all the same.
    env.kvmctl([
        "ssh",
        "agentless",
        "--",
        "printf '[%s]' \"$GREETING\"; exit 4",
    ])
    .code(4)
    .prints("[it's \"$HOME\" ]");
    files_go_both_ways_by_ssh(&env);
    another_host_key_is_refused(&env);
    a_key_that_the_guest_does_not_know_is_told(&env);
    env.kvmctl(["delete", "instance", "agentless", "--force"])
        .ok();
    identity.expect_gone();
}

fn files_go_both_ways_by_ssh(env: &Env) {
    let content: Vec<u8> = (0..400_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ 0x5a)
        .collect();
    let there = env.path("there");
    std::fs::write(&there, &content).unwrap();
    let (there, back) = (there.display().to_string(), env.path("back"));
    let guest = "agentless:/tmp/it's there";
    env.kvmctl(["cp", &there, guest]).ok();
    env.kvmctl(["cp", guest, &back.display().to_string()]).ok();
    assert!(std::fs::read(back).unwrap() == content);
    let nowhere = env.kvmctl(["cp", &there, "agentless:/nonexistent/x"]);
    nowhere.code(1).says("/nonexistent/x");
}

/// Whoever answers on the address with another key is not the guest.
fn another_host_key_is_refused(env: &Env) {
    let replace = "ssh-keygen -q -t ed25519 -N '' -f /tmp/k && \
                   cp /tmp/k /etc/ssh/ssh_host_ed25519_key && systemctl restart ssh";
    env.kvmctl(["exec", "agentless", "--", "sudo", "sh", "-c", replace])
        .ok();
    let back = env.path("stolen").display().to_string();
    for command in [
        vec!["exec", "agentless", "--", "true"],
        vec!["ssh", "agentless", "--", "true"],
        vec!["cp", "agentless:/etc/hostname", &back],
    ] {
        env.kvmctl(command)
            .code(5)
            .says("shows another SSH host key")
            .says("hint: kvmctl console agentless")
            .says("kvmctl ssh agentless --accept-new-host-key");
    }
    assert!(!env.path("stolen").exists());
    let accept = ["ssh", "agentless", "--accept-new-host-key", "--", "true"];
    env.kvmctl(accept)
        .ok()
        .says("trusts the host key ssh-ed25519");
    env.kvmctl(["exec", "agentless", "--", "true"]).ok();
}

/// As after a store was lost: no agent could add the new key.
fn a_key_that_the_guest_does_not_know_is_told(env: &Env) {
    let forget = ": > ~/.ssh/authorized_keys";
    env.kvmctl(["exec", "agentless", "--", "sh", "-c", forget])
        .ok();
    for verb in ["exec", "ssh"] {
        env.kvmctl([verb, "agentless", "--", "true"])
            .code(8)
            .says("Permission denied")
            .says("the store was made anew")
            .says("hint: there, as debian: echo 'ssh-ed25519 ");
    }
}

/// A log is followed past the moment when it is put aside, and is shown from its oldest piece on. The
/// pieces go with the instance, also those that libvirt does not know of.
fn logs_are_followed(env: &Env) {
    let log = host(
        "sh",
        &["-c", "ls /var/lib/libvirt/images/bare.*.serial.log"],
    );
    let log = log.trim();
    let serial = Background::start(env, "serial.out", &["logs", "bare", "-f"]);
    serial.says("tiny ready");
    let console = host("virsh", &["-q", "ttyconsole", "bare"]);
    let mut options = std::fs::File::options();
    let mut console = options.read(true).write(true).open(console.trim()).unwrap();
    console.write_all(b"echo new $((6*7))\n").unwrap();
    serial.says("new 42");
    drop(console);
    std::fs::rename(log, format!("{log}.0")).unwrap();
    std::fs::write(log, "after the turn\n").unwrap();
    serial.says("after the turn");
    let whole = env.kvmctl(["logs", "bare"]).ok().stdout;
    let (older, newer) = whole.split_once("after the turn").unwrap();
    assert!(older.contains("new 42") && newer == "\n", "{whole}");
    std::fs::write(format!("{log}.1"), "the oldest\n").unwrap();

    let qemu = Background::start(env, "qemu.out", &["logs", "bare", "--qemu", "-f"]);
    qemu.says("-name");
    let mut file = std::fs::File::options()
        .append(true)
        .open("/var/log/libvirt/qemu/bare.log")
        .unwrap();
    file.write_all(b"one more line\n").unwrap();
    qemu.says("one more line");
}

#[test]
fn an_image_without_cloud_init_is_told_as_such() {
    let env = guest_env();
    let output = apply(&env, &tiny("bare"), &["--wait", "--timeout", "5m"]).code(1);
    assert!(output.stderr.contains("cloud-init"), "{output}");
    let reason = ".status.conditions[?(@.type==\"Ready\")].reason";
    assert_eq!(field(&env, "bare", reason), "NoCloudInit");
    assert_eq!(field(&env, "bare", ".status.cloudInit.source"), "serial");
    logs_are_followed(&env);
    let identity = Identity::of(&env, "bare");
    env.kvmctl(["delete", "instance", "bare", "--force"]).ok();
    identity.expect_gone();
}
