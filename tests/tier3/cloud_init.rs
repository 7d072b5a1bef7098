//! What is said of a boot: well, failed with its module, or without cloud-init.

use serde_json::json;

use crate::support::Env;

use super::host::{BOOT, Identity, apply, field, guest_env, instance, restart_inside, tiny};

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

#[test]
fn an_image_without_cloud_init_is_told_as_such() {
    let env = guest_env();
    let output = apply(&env, &tiny("bare"), &["--wait", "--timeout", "5m"]).code(1);
    assert!(output.stderr.contains("cloud-init"), "{output}");
    let reason = ".status.conditions[?(@.type==\"Ready\")].reason";
    assert_eq!(field(&env, "bare", reason), "NoCloudInit");
    let identity = Identity::of(&env, "bare");
    env.kvmctl(["delete", "instance", "bare", "--force"]).ok();
    identity.expect_gone();
}
