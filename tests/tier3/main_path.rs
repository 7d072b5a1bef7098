//! The whole life of a Debian guest with cloud-init and guest agent.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::data::Data;
use super::host::{
    BOOT, Identity, apply, expect_no_trace, field, guest_env, host, instance, restart_inside,
};
use super::libvirt::agent::Listener;
use crate::support::Env;

const NAME: &str = "life";

/// Values that quoting gets wrong somewhere.
fn values() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        (
            "QUOTES",
            "it's \"quoted\" with `ticks` and \\ back\\slashes\\",
        ),
        ("DOLLAR", "$HOME ${PATH} $(id) $$ %h %%"),
        ("LINES", "first\nsecond\n\n\tfourth\n"),
        ("UTF8", "žluťoučký kůň 漢字 🦀"),
        ("SPACES", "  both ends  "),
        ("EMPTY", ""),
        ("COMMENT", "#no; no & no | no > no < no * ? [a] {b,c} ~ !x"),
    ])
}

fn manifest() -> Value {
    let env: Vec<Value> = values()
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let user_data = "#cloud-config\n\
        write_files:\n- path: /root/user-file\n  content: from the user\n\
        runcmd:\n- [sh, -c, 'echo user >> /root/user-runcmd']\n";
    let more = json!({
        "env": env,
        "userData": user_data,
        "volumes": Data::list(),
        "run": ["env -0 > /root/run.env", "echo \"$QUOTES\" | wc -l > /root/run-lines"],
        "command": ["sh", "-c", "printf '[%s]' \"$@\" > /root/argv", "sh", "one argument",
            "two  $HOME 'x' \"y\"", "", "*"],
    });
    instance(NAME, "debian-12", &more)
}

#[test]
fn a_guest_lives_and_leaves_nothing() {
    let env = guest_env();
    let data = Data::make(&env, NAME);
    let created = apply(&env, &manifest(), &["--wait", "--timeout", BOOT]).ok();
    assert!(created.stdout.contains("instance/life"), "{created}");
    assert!(created.stderr.contains("has address 192.168."), "{created}");
    assert_eq!(field(&env, NAME, ".status.cloudInit.source"), "reporter");
    medium_has_nothing_of_the_users(&env);
    assert_eq!(field(&env, NAME, ".status.phase"), "Running");
    assert_eq!(ready(&env), "True");
    assert_eq!(field(&env, NAME, ".status.accelerator"), "tcg");
    let identity = Identity::of(&env, NAME);

    answers_on_its_address(&env);
    runs_commands(&env);
    startup_ran_beside_the_users_own(&env);
    env_is_byte_equal(&env);
    files_go_both_ways(&env);
    apply_again_changes_nothing(&env);
    data.is_used();

    let keys = host_keys(&env);
    env.kvmctl(["instances", "stop", NAME, "--timeout", "5m"])
        .ok();
    assert_eq!(field(&env, NAME, ".status.phase"), "Stopped");
    let agent = Listener::on(NAME);
    env.kvmctl(["instances", "start", NAME, "--wait", "--timeout", BOOT])
        .ok();
    agent.expect_agent();
    assert_eq!(ready(&env), "True");
    answers_on_its_address(&env);
    assert_eq!(host_keys(&env), keys, "the guest was made anew");
    data.outlives_a_restart();
    exec(&env, &["test", "$(wc -l < /root/user-runcmd)", "=", "1"]);

    restarts_by_itself(&env);

    env.kvmctl(["instances", "delete", NAME, "--grace-period=120"])
        .ok();
    env.kvmctl(["get", "instance", NAME]).code(4);
    data.outlives_the_instance();
    identity.expect_gone();
    expect_no_trace(NAME);
}

/// The guest has kept what it was made with.
fn medium_has_nothing_of_the_users(env: &Env) {
    let isos = host("find", &["/var/lib/libvirt/images", "-name", "life.*.iso"]);
    assert_eq!(isos.lines().count(), 1, "{isos}");
    assert_eq!(host("grep", &["-l", "write_files", isos.trim()]), "");
    env.kvmctl(["describe", "instance", NAME])
        .ok()
        .prints("(without secrets)")
        .prints("running (booted)");
}

/// A guest that restarts by itself is not Ready until it says so again.
fn restarts_by_itself(env: &Env) {
    // Under load the agent may come up later than cloud-init ends.
    let boot = || {
        let args = ["exec", NAME, "--", "cat", "/proc/sys/kernel/random/boot_id"];
        let mut tries = (0..10).map(|_| env.kvmctl(args));
        tries.find(|tried| tried.status == 0).unwrap().stdout
    };
    let before = boot();
    restart_inside(env, NAME);
    env.kvmctl([
        "wait",
        "--for=condition=Ready",
        "instance/life",
        "--timeout",
        BOOT,
    ])
    .ok();
    assert_ne!(boot(), before);
    assert_eq!(ready(env), "True");
    env.kvmctl(["events", "--for", "instance/life"])
        .ok()
        .prints("Restarted");
}

fn ready(env: &Env) -> String {
    field(env, NAME, ".status.conditions[?(@.type==\"Ready\")].status")
}

/// Runs a shell line of words in the guest and returns its output.
#[track_caller]
fn exec(env: &Env, words: &[&str]) -> String {
    env.kvmctl(["exec", NAME, "--", "sh", "-c", &words.join(" ")])
        .ok()
        .stdout
}

fn host_keys(env: &Env) -> String {
    exec(env, &["cat /etc/ssh/ssh_host_ed25519_key.pub"])
}

#[track_caller]
fn answers_on_its_address(env: &Env) {
    let address = env.kvmctl(["instances", "ip", NAME]).ok().text().to_owned();
    assert!(address.starts_with("192.168."), "{address}");
    env.run("ping", &["-c1", "-W10", &address]);
    let connect = format!("exec 3<>/dev/tcp/{address}/22 && head -c 4 <&3");
    env.run("bash", &["-c", &connect]).ok().prints("SSH-");
    let reserved = host("virsh", &["-q", "net-dumpxml", "default"]);
    assert!(reserved.contains(&format!("ip='{address}'")), "{reserved}");
}

#[track_caller]
fn runs_commands(env: &Env) {
    let output = env.kvmctl([
        "exec",
        NAME,
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ]);
    let output = output.code(7);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    // More than the agent takes in one request.
    let much = env.file("much", &"0123456789abcde\n".repeat(20_000));
    let line = format!(
        "{} exec -i {NAME} -- sh -c 'wc -c; exit 3' < {}",
        env!("CARGO_BIN_EXE_kvmctl"),
        much.display()
    );
    let output = env.run("bash", &["-c", &line]).code(3);
    assert_eq!(output.text(), "320000");
    // No terminal, no known hosts, and no question asked.
    let output = env
        .kvmctl(["ssh", NAME, "--", "echo", "out;", "exit", "5"])
        .code(5);
    assert_eq!(output.stdout, "out\n", "{output}");
    env.kvmctl(["logs", NAME]).ok().prints("Linux version");
    env.kvmctl(["logs", NAME, "--cloud-init"])
        .ok()
        .prints("finished at");
}

#[track_caller]
fn startup_ran_beside_the_users_own(env: &Env) {
    assert_eq!(exec(env, &["cat /root/user-file"]), "from the user");
    assert_eq!(exec(env, &["cat /root/user-runcmd"]), "user\n");
    assert_eq!(
        exec(env, &["cat /root/argv"]),
        "[one argument][two  $HOME 'x' \"y\"][][*]"
    );
    assert_eq!(exec(env, &["cat /root/run-lines"]).trim(), "1");
}

#[track_caller]
fn env_is_byte_equal(env: &Env) {
    let service =
        "systemd-run --quiet --wait sh -c 'env -0 > /root/service.env'; cat /root/service.env";
    for (place, line) in [
        ("startup", "cat /root/run.env"),
        ("login shell", "su -l debian -c 'env -0'"),
        ("service", service),
    ] {
        let printed = exec(env, &[line]);
        let seen: BTreeMap<&str, &str> = printed
            .split('\0')
            .filter_map(|v| v.split_once('='))
            .collect();
        for (name, value) in values() {
            assert_eq!(seen.get(name), Some(&value), "{name} in the {place}");
        }
    }
}

#[track_caller]
fn files_go_both_ways(env: &Env) {
    let content: String = (0..50_000).map(|n| format!("{n}\n")).collect();
    let there = env.file("there", &content).display().to_string();
    let back = env.path("back").display().to_string();
    env.kvmctl(["cp", &there, &format!("{NAME}:/root/there")])
        .ok();
    env.kvmctl(["cp", &format!("{NAME}:/root/there"), &back])
        .ok();
    assert!(std::fs::read_to_string(back).unwrap() == content);
}

#[track_caller]
fn apply_again_changes_nothing(env: &Env) {
    apply(env, &manifest(), &[]).ok().prints("unchanged");
    let file = env.path("life.json").display().to_string();
    env.kvmctl(["diff", "-f", &file]).ok();
}
