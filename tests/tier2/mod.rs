//! The binary on a private daemon: what one command does, the next one sees.

pub(crate) mod daemon;
mod networks;

use daemon::Daemon;

use crate::support::Env;

fn start() -> (Daemon, Env) {
    let daemon = Daemon::start();
    let env = Env::new(&daemon.uri());
    (daemon, env)
}

fn jsonpath(env: &Env, path: &str) -> String {
    let format = format!("jsonpath={{{path}}}");
    env.kvmctl(["get", "instance", "test", "-o", &format])
        .ok()
        .text()
        .to_owned()
}

#[test]
fn adopting_marks_and_forgetting_leaves_no_trace() {
    let (daemon, env) = start();
    let before = daemon.virsh(&["dumpxml", "--inactive", "test"]);
    env.kvmctl(["instances", "stop", "test"]).code(5);
    env.kvmctl(["label", "instance", "test", "a=b"]).code(5);
    assert_eq!(daemon.virsh(&["dumpxml", "--inactive", "test"]), before);

    env.kvmctl(["adopt", "instance", "test"]).ok();
    env.kvmctl(["instances", "list"]).ok().prints("test");
    assert_eq!(jsonpath(&env, ".status.managed"), "true");

    env.kvmctl(["forget", "instance", "test"]).ok();
    env.kvmctl(["instances", "list"])
        .ok()
        .says("No instances found");
    assert_eq!(daemon.virsh(&["dumpxml", "--inactive", "test"]), before);
}

#[test]
fn labels_are_in_libvirt_and_survive_the_store() {
    let (daemon, env) = start();
    env.kvmctl(["adopt", "instance", "test"]).ok();
    env.kvmctl(["label", "instance", "test", "tier=front", "team=web"])
        .ok();
    let xml = daemon.virsh(&["dumpxml", "test"]);
    assert!(xml.contains("tier") && xml.contains("front"), "{xml}");
    env.kvmctl(["label", "instance", "test", "tier=back"])
        .says("overwrite")
        .code(5);
    env.kvmctl(["label", "instance", "test", "team-"]).ok();
    env.kvmctl(["get", "instances", "-l", "tier=front", "-o", "name"])
        .ok()
        .prints("instance/test");
    let none = env
        .kvmctl(["get", "instances", "-l", "team=web", "-o", "name"])
        .ok();
    assert_eq!(none.text(), "");

    std::fs::remove_dir_all(env.path("store")).unwrap();
    env.kvmctl(["store", "rebuild"]).ok();
    assert_eq!(jsonpath(&env, ".metadata.labels.tier"), "front");
    assert_eq!(jsonpath(&env, ".status.managed"), "true");
}

#[test]
fn power_goes_both_ways() {
    let (daemon, env) = start();
    env.kvmctl(["adopt", "instance", "test"]).ok();
    env.kvmctl(["instances", "pause", "test"]).ok();
    assert_eq!(daemon.virsh(&["domstate", "test"]).trim(), "paused");
    assert_eq!(jsonpath(&env, ".status.phase"), "Paused");
    env.kvmctl(["instances", "resume", "test"]).ok();
    env.kvmctl(["instances", "stop", "test"]).ok();
    assert_eq!(daemon.virsh(&["domstate", "test"]).trim(), "shut off");
    assert_eq!(jsonpath(&env, ".status.phase"), "Stopped");
    env.kvmctl(["instances", "stop", "test"]).ok();
    env.kvmctl(["instances", "start", "test", "--no-wait"]).ok();
    assert_eq!(daemon.virsh(&["domstate", "test"]).trim(), "running");
}

#[test]
fn a_domain_with_a_name_that_is_none_of_ours_is_listed_with_what_to_do() {
    let (daemon, env) = start();
    let xml = "<domain type='test'><name>Win_10 é</name><memory>65536</memory>\
        <os><type>hvm</type></os></domain>";
    let file = env.file("odd.xml", xml).display().to_string();
    daemon.virsh(&["define", &file]);
    let uid = daemon.virsh(&["domuuid", "Win_10 é"]).trim().to_owned();
    env.kvmctl(["get", "instances", "--all"])
        .ok()
        .prints(&uid)
        .says("virsh domrename 'Win_10 é' NEW-NAME");
    env.kvmctl(["describe", "instance", &uid])
        .ok()
        .prints("Win_10 é");
    env.kvmctl(["adopt", "instance", "Win_10 é"])
        .code(2)
        .says("virsh domrename 'Win_10 é' NEW-NAME");
}

#[test]
fn secrets_are_kept_and_never_printed() {
    let (_daemon, env) = start();
    let file = env.file(
        "secret.yaml",
        "apiVersion: kvmctl/v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  PASSWORD: canary-7531\n",
    );
    let applied = env.kvmctl(["apply", "-f", &file.display().to_string()]);
    let applied = applied.ok();
    assert!(!applied.stdout.contains("canary-7531"), "{applied}");
    for format in ["yaml", "json", "wide"] {
        let shown = env.kvmctl(["get", "secret", "s", "-o", format]).ok();
        assert!(
            !shown.stdout.contains("canary-7531") && !shown.stdout.contains("Y2FuYXJ5LTc1MzE"),
            "{shown}"
        );
    }
    let shown = env.kvmctl(["describe", "secret", "s"]).ok();
    assert!(!shown.stdout.contains("canary-7531"), "{shown}");
    env.kvmctl(["delete", "secret", "s"]).ok();
    env.kvmctl(["get", "secret", "s"]).code(4);
}

#[test]
fn a_printed_secret_can_be_applied_again_and_a_diff_hides_its_values() {
    let (_daemon, env) = start();
    let secret = |value: &str| {
        format!(
            "apiVersion: kvmctl/v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  A: one\n  B: {value}\n"
        )
    };
    let apply = |text: &str| {
        let file = env.file("secret.yaml", text).display().to_string();
        (
            env.kvmctl(["diff", "-f", &file]),
            env.kvmctl(["apply", "-f", &file]),
        )
    };
    apply(&secret("canary-1")).1.ok();
    let printed = env.kvmctl(["get", "secret", "s", "-o", "yaml"]).ok();
    let (diff, again) = apply(&printed.stdout);
    diff.code(0);
    again.ok().prints("secret/s unchanged");
    let (diff, _) = apply(&secret("canary-2"));
    let diff = diff.code(1).prints("-  B: \"*** (before)\"");
    assert!(
        !diff.stdout.contains("canary") && !diff.stdout.contains("sha256"),
        "{diff}"
    );
    env.kvmctl(["delete", "secret", "s"]).ok();
    apply(&printed.stdout).1.code(2).says("data.A is masked");
    env.kvmctl(["secrets", "create", "s", "--from-literal", "A=canary-3"])
        .code(2)
        .says("kvmctl secrets create s --from-file A=-");
}

#[test]
fn waiting_for_what_is_not_there_says_so_and_does_not_pass() {
    let (_daemon, env) = start();
    env.kvmctl(["adopt", "instance", "test"]).ok();
    let wait = |goal: &str, rest: &[&str]| {
        let goal = format!("--for={goal}");
        let args = [&["wait", &goal, "--timeout=200ms"][..], rest].concat();
        env.kvmctl(args)
    };
    wait("condition=Ready", &["instances", "-l", "a=b"])
        .code(4)
        .says("no matching resources found");
    wait("delete", &["instances", "-l", "a=b"]).ok();
    wait("condition=Ready", &["instances"])
        .code(2)
        .says("--all");
    wait("jsonpath={.status.phase}=Running", &["instances", "--all"])
        .ok()
        .prints("instance/test condition met");
    for (phase, found) in [("Running", "instance/test"), ("Stopped", "")] {
        let phase = format!("status.phase={phase}");
        let listed = env.kvmctl(["get", "instances", "--field-selector", &phase, "-o", "name"]);
        assert_eq!(listed.ok().text(), found);
    }
    wait("jsonpath={.status.phase=Running", &["instance", "test"]).code(2);
    wait(
        "jsonpath={.status.phase}=Stopped",
        &["instance", "test", "none"],
    )
    .code(6)
    .says("last seen: Running")
    .says("instance \"none\" does not exist");
    env.kvmctl(["get", "instance", "test", "-l", "a=b"])
        .code(2)
        .says("selector");
    env.kvmctl(["delete", "instances", "-l", "a=b"])
        .ok()
        .says("No resources found");
}

#[test]
fn a_store_that_depends_on_where_one_stands_is_refused() {
    let env = Env::new("test:///default").with("KVMCTL_STORE", "here");
    env.kvmctl(["get", "secrets"]).code(2).says("KVMCTL_STORE");
    assert!(!env.path("here").exists());
}

#[test]
fn names_complete_after_a_kind() {
    let (_daemon, env) = start();
    env.kvmctl(["adopt", "instance", "test"]).ok();
    env.kvmctl(["get", "instances"]).ok();
    for (line, offered) in [
        ("get instance ", "test"),
        ("delete instances t", "test"),
        ("get i", "instances"),
        ("instances stop ", "test"),
        ("instances create x --type t2.mi", "t2.micro"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let index = format!("_CLAP_COMPLETE_INDEX={}", words.len());
        let kvmctl = env!("CARGO_BIN_EXE_kvmctl");
        let start = ["KVMCTL_COMPLETE=bash", &index, kvmctl, "--", "kvmctl"];
        env.run("env", &[&start[..], &words[..]].concat())
            .ok()
            .prints(offered);
    }
}

#[test]
fn a_daemon_that_dies_is_an_error_and_not_an_empty_world() {
    let (daemon, env) = start();
    env.kvmctl(["get", "instances", "--all"])
        .ok()
        .prints("test");
    drop(daemon);
    let output = env.kvmctl(["get", "instances", "--all"]).code(8);
    assert!(output.stdout.is_empty(), "{output}");
}

#[test]
fn what_virsh_undefined_is_shown_until_it_is_deleted() {
    let (daemon, env) = start();
    env.kvmctl(["adopt", "instance", "test"]).ok();
    let wide = env.kvmctl(["get", "instances", "-o", "wide"]).ok();
    let row: Vec<&str> = wide
        .stdout
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(row[7..11], ["2", "2Gi", "<none>", "tcg"], "{wide}");
    daemon.virsh(&["destroy", "test"]);
    daemon.virsh(&["undefine", "test"]);
    assert_eq!(jsonpath(&env, ".status.phase"), "Failed");
    assert_eq!(jsonpath(&env, ".status.reason"), "DomainMissing");
    for args in [
        vec!["get", "instances"],
        vec!["get", "instances", "-o", "yaml"],
        vec!["get", "instance", "test"],
        vec!["describe", "instance", "test"],
    ] {
        env.kvmctl(args).ok().prints("DomainMissing");
    }
    env.kvmctl(["instances", "start", "test"])
        .code(5)
        .says("removed by hand");
    env.kvmctl(["delete", "instance", "test"]).ok();
    env.kvmctl(["get", "instances"])
        .ok()
        .says("No instances found");
    env.kvmctl(["get", "instance", "test"]).code(4);
}

/// Where no files can lie, as in a volume group of LVM, the name holds the identity.
#[test]
fn volumes_of_a_logical_pool_are_raw_and_are_found_again() {
    let (daemon, env) = start();
    let pool = "<pool type='logical'><name>vg</name><source><name>vg</name></source>\
                <target><path>/dev/vg</path></target></pool>";
    let file = env.file("pool.xml", pool).display().to_string();
    daemon.virsh(&["pool-define", &file]);
    daemon.virsh(&["pool-start", "vg"]);
    let create = ["volumes", "create", "lv", "--size", "8M", "--pool", "vg"];
    env.kvmctl([&create[..], &["--format", "qcow2"]].concat())
        .code(2)
        .says("raw");
    env.kvmctl(create).ok();
    let told = |path: &str| {
        let format = format!("jsonpath={{{path}}}");
        let args = ["get", "volume", "lv", "-o", &format];
        env.kvmctl(args).ok().text().to_owned()
    };
    let (uid, volume) = (told(".metadata.uid"), told(".status.volume"));
    assert_eq!(volume, format!("lv.{uid}.raw"));
    assert_eq!(told(".status.path"), format!("/dev/vg/{volume}"));
    let xml = daemon.virsh(&["vol-dumpxml", &volume, "--pool", "vg"]);
    let all = "<allocation unit='bytes'>8388608</allocation>";
    assert!(xml.contains(all), "all of its room is taken: {xml}");
    env.kvmctl(["volumes", "resize", "lv", "--size", "16M"])
        .code(5)
        .says("lvextend");
    env.kvmctl(["pools", "describe", "vg"])
        .ok()
        .prints("logical volumes");
    std::fs::remove_dir_all(env.path("store")).unwrap();
    env.kvmctl(["store", "rebuild"])
        .ok()
        .prints("volume/lv rebuilt");
    assert_eq!(told(".metadata.uid"), uid);
    env.kvmctl(["volumes", "delete", "lv"]).ok();
    let left = daemon.virsh(&["vol-list", "vg"]);
    assert!(!left.contains("lv"), "{left}");
}
