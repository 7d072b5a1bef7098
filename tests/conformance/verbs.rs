//! Points 75, 76 and 83 further: many objects at once, dry runs, the journal as it grows.

use super::{SMALL, fake, kvmctl, shell, silent};
use crate::support::Env;
use crate::tier2::daemon::Daemon;

fn two_types() -> Env {
    let env = fake();
    env.file(
        "two.yaml",
        &format!("{SMALL}---\n{}", SMALL.replace("small", "large")),
    );
    kvmctl(&env, "apply -f two.yaml").ok();
    env
}

fn names(env: &Env, selector: &str) -> Vec<String> {
    let list = kvmctl(env, &format!("get types -l {selector} -o name")).ok();
    list.stdout.lines().map(str::to_owned).collect()
}

/// 75
#[test]
fn labels_are_set_on_all_or_on_what_a_selector_finds() {
    let env = two_types();
    let all = kvmctl(&env, "label types --all team=web").ok();
    assert_eq!(all.stdout.lines().count(), 2, "{all}");
    assert_eq!(names(&env, "team=web"), ["type/large", "type/small"]);
    kvmctl(&env, "label type small tier=front").ok();
    let chosen = kvmctl(&env, "types label -l tier=front tier- stage=prod").ok();
    assert_eq!(chosen.text(), "type/small labeled");
    assert_eq!(names(&env, "stage=prod"), ["type/small"]);
    kvmctl(&env, "annotate types -l stage=prod owner=me")
        .ok()
        .prints("type/small annotated");
    silent(
        kvmctl(&env, "label types -l none=such a=b")
            .ok()
            .says("No resources found."),
    );
    silent(kvmctl(&env, "label type small --all a=b").code(2));
    silent(kvmctl(&env, "label types --all -l a=b c=d").code(2));
    silent(kvmctl(&env, "label types a=b").code(2));
    // What is refused for one does not keep the others from it.
    kvmctl(&env, "label type large stage=test").ok();
    kvmctl(&env, "label types --all stage=test")
        .code(9)
        .prints("type/large not labeled")
        .says("--overwrite");
}

/// 41, 42, 43
#[test]
fn a_dry_run_of_a_label_changes_nothing() {
    let env = two_types();
    for place in ["client", "server"] {
        let line = format!("label types --all team=web --dry-run={place}");
        let said = if place == "server" {
            "server dry"
        } else {
            "dry"
        };
        kvmctl(&env, &line)
            .ok()
            .prints(&format!("type/small labeled ({said} run)"));
    }
    kvmctl(&env, "label type small --dry-run=foo a=b")
        .code(2)
        .says("Must be \"none\", \"server\", or \"client\"");
    assert!(names(&env, "team=web").is_empty());
    let daemon = Daemon::start();
    let env = Env::new(&daemon.uri());
    kvmctl(&env, "adopt instance test").ok();
    kvmctl(&env, "label instance test a=b --dry-run=server")
        .ok()
        .prints("instance/test labeled (server dry run)");
    assert!(!daemon.virsh(&["dumpxml", "test"]).contains(">b<"));
    kvmctl(&env, "label instance nope a=b --dry-run=server").code(4);
}

/// 83
#[test]
fn events_are_watched_as_they_happen() {
    let env = two_types();
    let line = "(sleep 1; kvmctl delete type large >/dev/null) & \
                timeout --preserve-status -s INT 5 kvmctl events -w -o json; status=$?; wait; \
                exit $status";
    let watch = shell(&env, line).code(130);
    let reasons: Vec<&str> = watch
        .stdout
        .lines()
        .filter(|l| l.contains("\"reason\""))
        .map(|l| l.rsplit('"').nth(1).unwrap())
        .collect();
    assert_eq!(reasons, ["Created", "Created", "Deleted"], "{watch}");
}

/// What never becomes ready has no flag to wait for it.
#[test]
fn only_instances_are_waited_for() {
    let env = fake();
    for line in ["types create --help", "create secret --help"] {
        let help = kvmctl(&env, line).ok();
        assert!(!help.stdout.contains("--wait"), "{help}");
    }
    kvmctl(&env, "types create small --cpus 1 --memory 1G --disk 1G").ok();
    kvmctl(&env, "create instance --help").ok().prints("--wait");
    kvmctl(&env, "create --help").ok().prints("--wait");
}
