//! Points 36, 64 to 83 and 96: changes of one instance, on a daemon that keeps them.

use super::{SMALL, fake, kvmctl, shell, silent};
use crate::support::Env;
use crate::tier2::daemon::Daemon;

fn adopted() -> (Daemon, Env) {
    let daemon = Daemon::start();
    let env = Env::new(&daemon.uri());
    kvmctl(&env, "adopt instance test").ok();
    (daemon, env)
}

/// 36
#[test]
fn what_is_printed_can_be_applied_again() {
    let (_daemon, env) = adopted();
    env.file("small.yaml", SMALL);
    kvmctl(&env, "apply -f small.yaml").ok();
    for kind in ["instances", "type small"] {
        let line = format!("kvmctl get {kind} -o yaml | kvmctl apply -f -");
        let again = shell(&env, &line).ok();
        assert!(again.text().ends_with(" unchanged"), "{again}");
    }
}

/// 64, 74
#[test]
fn what_was_made_by_hand_is_left_alone() {
    let daemon = Daemon::start();
    let env = Env::new(&daemon.uri());
    for line in [
        "delete instance test",
        "label instance test a=b",
        "annotate instance test a=b",
        "instances stop test",
        "patch instance test -p {\"spec\":{\"cpus\":1}}",
    ] {
        silent(kvmctl(&env, line).code(5).says("kvmctl adopt"));
    }
    assert_eq!(daemon.virsh(&["domstate", "test"]).trim(), "running");
}

/// 65, 66, 68, 69, 71
#[test]
fn deleting_says_what_is_gone() {
    let (daemon, env) = adopted();
    let usage = |line: &str, said: &str| {
        silent(kvmctl(&env, line).code(2).says(said));
    };
    usage(
        "delete instance",
        "resource(s) were provided, but no name was specified",
    );
    usage(
        "instances delete --all -l a=b",
        "cannot set --all and --selector",
    );
    usage("delete instance test --all", "name cannot be provided");
    usage(
        "delete instance test --force --grace-period=5",
        "--force and --grace-period",
    );
    usage("instances delete --all", "--yes");
    kvmctl(&env, "delete instance test --dry-run=server")
        .ok()
        .prints("instance \"test\" deleted (server dry run)");
    let plan = kvmctl(&env, "delete instance test --dry-run=server --explain-plan").ok();
    plan.prints("virsh undefine test");
    kvmctl(&env, "get instance test").ok();
    let gone = kvmctl(&env, "delete instance test --force")
        .ok()
        .says("--force");
    assert_eq!(gone.text(), "instance \"test\" deleted");
    assert!(!daemon.virsh(&["list", "--all", "--name"]).contains("test"));
    kvmctl(&env, "delete instance test").code(4);
    silent(kvmctl(&env, "delete instance test --ignore-not-found").ok());
}

/// 67
#[test]
fn deleting_a_file_goes_on_after_what_is_missing() {
    let (_daemon, env) = adopted();
    let none = SMALL.replace("small", "none");
    env.file("two.yaml", &format!("{none}---\n{SMALL}"));
    env.file("small.yaml", SMALL);
    kvmctl(&env, "apply -f small.yaml").ok();
    let gone = kvmctl(&env, "delete -f two.yaml");
    assert_ne!(gone.status, 0, "{gone}");
    gone.prints("type \"small\" deleted")
        .says("\"none\" not found");
}

/// 75
#[test]
fn labels_and_annotations_change_word_by_word() {
    let (_daemon, env) = adopted();
    let said = |line: &str, text: &str| {
        assert_eq!(kvmctl(&env, line).ok().text(), text);
    };
    said("label instance test k=v", "instance/test labeled");
    said("label instance test k=v", "instance/test not labeled");
    kvmctl(&env, "label instance test k=w")
        .code(5)
        .says("(\"v\")");
    said(
        "label instance test k=w --overwrite",
        "instance/test labeled",
    );
    said("label instance test k-", "instance/test unlabeled");
    kvmctl(&env, "label instance test k-")
        .ok()
        .says("label \"k\" not found.");
    said("annotate instance test owner=me", "instance/test annotated");
    said("annotate instance test owner-", "instance/test annotated");
    said("instances label test n=1", "instance/test labeled");
    kvmctl(&env, "label instance test").code(2);
    kvmctl(&env, "label instance test -bad!=x").code(2);
    kvmctl(&env, "label instance nope a=b").code(4);
}

/// 58, 77
#[test]
fn a_patch_changes_fields_and_never_the_object() {
    let env = fake();
    env.file("small.yaml", SMALL);
    kvmctl(&env, "apply -f small.yaml").ok();
    let patch = |patch: &str| env.kvmctl(["patch", "type", "small", "-p", patch]);
    let cpus = r#"{"spec":{"cpus":2}}"#;
    let dry = |place: &str, output: &str| {
        let command = ["patch", "type", "small", "-p", cpus, place, "-o", output];
        env.kvmctl(command).ok().text().to_owned()
    };
    for place in ["--dry-run=client", "--dry-run=server"] {
        let cpus = dry(place, "jsonpath={.spec.cpus}");
        assert_eq!(cpus, "2", "{place}: what it would be");
        assert_eq!(dry(place, "name"), "type/small");
    }
    let dry_run = ["patch", "type", "small", "-p", cpus, "--dry-run=server"];
    let told = "type/small patched (server dry run)";
    assert_eq!(env.kvmctl(dry_run).ok().text(), told);
    let field = "jsonpath={.spec.cpus}";
    let now = env.kvmctl(["get", "type", "small", "-o", field]).ok();
    assert_eq!(now.text(), "1", "nothing was changed");
    assert_eq!(patch(cpus).ok().text(), "type/small patched");
    assert_eq!(patch(cpus).ok().text(), "type/small patched (no change)");
    patch(r#"{"metadata":{"name":"other"}}"#).code(2);
    patch(r#"{"spec":{"foo":1}}"#).code(2).says("spec.foo");
    patch("{bad").code(2);
    kvmctl(&env, "get type other").code(4);
}

/// 77, 78
#[test]
fn an_adopted_instance_is_patched_and_edited_as_any_other() {
    let (daemon, env) = adopted();
    let patch = |patch: &str| env.kvmctl(["patch", "instance", "test", "-p", patch]);
    let labels = r#"{"metadata":{"labels":{"tier":"front"}}}"#;
    assert_eq!(patch(labels).ok().text(), "instance/test patched");
    assert_eq!(
        patch(labels).ok().text(),
        "instance/test patched (no change)"
    );
    patch(r#"{"spec":{"cpus":1}}"#).ok();
    let vcpus = daemon.virsh(&["vcpucount", "test", "--maximum", "--config"]);
    assert_eq!(vcpus.trim(), "1");
    patch(r#"{"spec":{"image":"debian-12"}}"#)
        .code(5)
        .says("spec.image: field is immutable");
    patch(r#"{"metadata":{"uid":"6695eb01-f6a4-8304-79aa-97f2502e193e"}}"#)
        .code(5)
        .says("metadata.uid");
    let edited = shell(
        &env,
        "EDITOR='sed -i s/front/back/' kvmctl edit instance test",
    );
    assert_eq!(edited.ok().text(), "instance/test configured");
    kvmctl(&env, "get instances -l tier=back")
        .ok()
        .prints("test");
}

/// 78
#[test]
fn an_edit_is_applied_refused_or_cancelled() {
    let env = fake();
    env.file("small.yaml", SMALL);
    kvmctl(&env, "apply -f small.yaml").ok();
    let edit = |editor: &str| {
        let line = format!("EDITOR='{editor}' TMPDIR=$PWD timeout 20 kvmctl edit type small");
        shell(&env, &line)
    };
    silent(edit("true").ok().says("Edit cancelled, no changes made."));
    let edited = edit("sed -i s/cpus:.1/cpus:\\ 2/").ok();
    assert_eq!(edited.text(), "type/small configured");
    let invalid = edit("sed -i s/^spec:/specs:/").code(2);
    let kept = invalid.stderr.rsplit("your changes are in ").next();
    let kept = kept.unwrap().trim();
    let text = std::fs::read_to_string(kept).unwrap();
    assert!(text.contains("specs:"), "{text}");
    let mode = shell(&env, &format!("stat -c %a {kept}")).ok();
    assert_eq!(mode.text(), "600");
    silent(edit("false").code(1));
}

/// 79 to 82
#[test]
fn waiting_ends_in_time() {
    let (_daemon, env) = adopted();
    let wait = |line: &str| kvmctl(&env, &format!("wait {line}"));
    wait("--for=condition=Nope instance/test --timeout=1s")
        .code(6)
        .says("timed out waiting for the condition on instance/test");
    wait("--for=delete instance/none").ok();
    wait("--for=create instance/test --timeout=5s").ok();
    wait("--for=jsonpath={.status.phase}=Running instance/test --timeout=5s")
        .ok()
        .prints("instance/test condition met");
    wait("--for=foo instance/test")
        .code(2)
        .says("--for=condition=Ready");
    wait("instance/test").code(2);
    env.file("small.yaml", SMALL);
    let late = "(sleep 1; kvmctl apply -f small.yaml >/dev/null) & \
                kvmctl wait --for=create type/small --timeout=30s";
    shell(&env, late).ok();
}

/// 83
#[test]
fn events_are_in_order() {
    let (_daemon, env) = adopted();
    kvmctl(&env, "label instance test a=b").ok();
    kvmctl(&env, "instances stop test").ok();
    let table = kvmctl(&env, "events --for instance/test").ok();
    assert!(table.stdout.lines().count() >= 2, "{table}");
    let list = kvmctl(&env, "events --for instance/test -o json").ok();
    let times: Vec<&str> = list
        .stdout
        .lines()
        .filter(|l| l.contains("\"time\""))
        .collect();
    assert!(times.is_sorted() && !times.is_empty(), "{list}");
    kvmctl(&env, "events --for instance/nope")
        .ok()
        .says("No events found.");
    kvmctl(&env, "events -o nope").code(2);
}

/// 93, 96
#[test]
fn starting_what_runs_is_no_error() {
    let (_daemon, env) = adopted();
    let said = "instance/test already running";
    assert_eq!(kvmctl(&env, "instances start test").ok().text(), said);
    kvmctl(&env, "instances start test --error-unchanged").code(3);
    let nope = kvmctl(&env, "instances start test nope");
    assert_ne!(nope.status, 0, "{nope}");
    nope.prints(said).says("\"nope\" not found");
    let noun = kvmctl(&env, "instances get test -o yaml").ok();
    let verb = kvmctl(&env, "get instance test -o yaml").ok();
    assert_eq!(noun.stdout, verb.stdout);
}
