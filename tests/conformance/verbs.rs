//! Points 13 to 15, 35, 57, 61, 63, 75, 76, 81 and 83 further: sets, shells, terminals, many objects
//! at once, the journal as it grows.

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

/// 61
#[test]
fn what_left_a_set_is_pruned_and_nothing_else() {
    let env = two_types();
    kvmctl(&env, "types create stranger --cpus 1 --memory 1G --disk 1G").ok();
    silent(
        kvmctl(&env, "apply -f two.yaml --prune")
            .code(2)
            .says("--applyset"),
    );
    kvmctl(&env, "apply -f two.yaml --applyset a --prune").ok();
    let members = ["type/large", "type/small"];
    assert_eq!(names(&env, "kvmctl/applyset=a"), members);
    kvmctl(&env, "apply -f two.yaml --applyset a --prune")
        .ok()
        .prints("unchanged");
    kvmctl(&env, "apply -f two.yaml --applyset b").code(5);
    env.file("small.yaml", SMALL);
    env.file("empty.yaml", "---\n");
    silent(
        kvmctl(&env, "apply -f empty.yaml --applyset a --prune --yes")
            .code(2)
            .says("no objects passed to apply"),
    );
    kvmctl(&env, "apply -f small.yaml --applyset a").ok();
    silent(
        kvmctl(&env, "apply -f small.yaml --applyset a --prune")
            .code(2)
            .says("--yes")
            .says("type/large"),
    );
    kvmctl(
        &env,
        "apply -f small.yaml --applyset a --prune --dry-run=server",
    )
    .ok()
    .prints("type \"large\" deleted (server dry run)");
    assert_eq!(names(&env, "kvmctl/applyset=a"), members);
    kvmctl(&env, "apply -f small.yaml --applyset a --prune --yes")
        .ok()
        .prints("type \"large\" deleted");
    assert_eq!(names(&env, "kvmctl/applyset=a"), ["type/small"]);
    kvmctl(&env, "get type stranger").ok();
}

/// 57, 76
#[test]
fn what_a_manifest_says_no_more_is_taken_away() {
    let daemon = Daemon::start();
    let env = Env::new(&daemon.uri());
    kvmctl(&env, "adopt instance test").ok();
    let before = daemon.virsh(&["domid", "test"]);
    let manifest = |labels: &str| {
        format!(
            "apiVersion: kvmctl/v1\nkind: Instance\nmetadata:\n  name: test\n  uid: {}\n  \
             labels: {labels}\nspec: {{cpus: 2, memory: 2Gi}}\n",
            daemon.virsh(&["domuuid", "test"]).trim()
        )
    };
    env.file("test.yaml", &manifest("{a: x, b: y}"));
    kvmctl(&env, "apply -f test.yaml").ok().prints("configured");
    env.file("test.yaml", &manifest("{a: x}"));
    kvmctl(&env, "apply -f test.yaml").ok().prints("configured");
    let labels = |env: &Env| {
        let form = "jsonpath={.metadata.labels}";
        env.kvmctl(["get", "instance", "test", "-o", form]).ok()
    };
    let left = labels(&env);
    assert!(
        left.stdout.contains("\"a\"") && !left.stdout.contains("\"b\""),
        "{left}"
    );
    // The domain goes on as it was, and says the same of itself live and in its definition.
    assert_eq!(daemon.virsh(&["domid", "test"]), before);
    for args in [
        vec!["dumpxml", "test"],
        vec!["dumpxml", "--inactive", "test"],
    ] {
        let xml = daemon.virsh(&args);
        assert!(xml.contains(">x<") && !xml.contains(">y<"), "{xml}");
    }
    // Made from flags, changed by a file.
    kvmctl(
        &env,
        "types create small --cpus 1 --memory 256Mi --disk 1Gi",
    )
    .ok();
    env.file(
        "small.yaml",
        &SMALL.replace("  name: small", "  name: small\n  labels: {l: m}"),
    );
    kvmctl(&env, "apply -f small.yaml").ok();
    env.file("small.yaml", SMALL);
    kvmctl(&env, "apply -f small.yaml")
        .ok()
        .prints("configured");
    assert!(names(&env, "l=m").is_empty());
}

/// 63
#[test]
fn two_runs_of_one_file_leave_a_store_that_can_be_read() {
    let env = fake();
    env.file(
        "two.yaml",
        &format!("{SMALL}---\n{}", SMALL.replace("small", "large")),
    );
    let both = "for n in 1 2 3 4; do kvmctl apply -f two.yaml & done; \
                for job in $(jobs -p); do wait $job || exit; done";
    let both = shell(&env, both);
    assert!(both.status == 0 || both.status == 7, "{both}");
    let list = kvmctl(&env, "get types -o name").ok();
    assert_eq!(list.stdout.matches("type/small\n").count(), 1, "{list}");
    assert_eq!(list.stdout.matches("type/large\n").count(), 1, "{list}");
}

/// 81
#[test]
fn waiting_for_what_cannot_become_so_ends_at_once() {
    let daemon = Daemon::start();
    let env = Env::new(&daemon.uri());
    kvmctl(&env, "adopt instance test").ok();
    kvmctl(&env, "instances stop test").ok();
    let start = std::time::Instant::now();
    kvmctl(
        &env,
        "wait --for=condition=Ready instance/test --timeout=60s",
    )
    .code(1)
    .says("not running");
    assert!(start.elapsed() < std::time::Duration::from_secs(30));
}

/// 13
#[test]
fn completion_scripts_load_in_their_shells() {
    let env = fake();
    for shell_name in ["bash", "zsh", "fish"] {
        let script = kvmctl(&env, &format!("completion {shell_name}")).ok();
        let file = env.file(&format!("completion.{shell_name}"), &script.stdout);
        let file = file.display().to_string();
        env.run(shell_name, &["-n", &file]).ok();
    }
    shell(&env, "source completion.bash && complete -p kvmctl")
        .ok()
        .prints("kvmctl");
    let zsh =
        "autoload -U compinit; compinit -u -D; source ./completion.zsh; print $_comps[kvmctl]";
    let loaded = env.run("zsh", &["-fc", zsh]).ok();
    assert!(!loaded.text().is_empty(), "{loaded}");
    let fish = "source completion.fish; complete -C \"kvmctl get insta\"";
    shell(&env, &format!("fish --no-config -c '{fish}'"))
        .ok()
        .prints("instances");
}

/// 14
#[test]
fn what_takes_long_says_so_on_a_terminal() {
    let env = fake();
    let wait = "kvmctl wait --for=create type/none --timeout=2s";
    let line = format!("TERM=xterm script -qefc '{wait}' /dev/null");
    shell(&env, &line).code(6).prints("waiting to be created");
    kvmctl(&env, "wait --for=create type/none --timeout=1s")
        .code(6)
        .says("type/none: waiting to be created");
}

/// 15
#[test]
fn nothing_from_outside_reaches_the_terminal_raw() {
    let env = two_types();
    let escape = "\u{1b}[31mred";
    env.kvmctl(["annotate", "type", "small", &format!("a={escape}")]);
    let journal = env.path("store/events.jsonl");
    let mut text = std::fs::read_to_string(&journal).unwrap();
    text = text.replace("\"message\":\"", "\"message\":\"\\u001b[31m\\u202e");
    std::fs::write(&journal, text).unwrap();
    for line in [
        "events",
        "describe type small",
        "get types --show-labels",
        "get type small -o yaml",
    ] {
        let terminal = format!("TERM=dumb script -qefc 'kvmctl {line}' /dev/null");
        let output = shell(&env, &terminal).ok();
        assert!(!output.stdout.contains('\u{1b}'), "{output}");
        assert!(!output.stdout.contains('\u{202e}'), "{output}");
    }
}

/// 35
#[test]
fn a_watch_draws_in_place_on_a_terminal_and_appends_in_a_pipe() {
    let env = two_types();
    let label = "(sleep 1; kvmctl label type small tier=front >/dev/null)";
    let watch = "kvmctl get types small large -w --show-labels";
    let piped = format!("{label} & timeout --preserve-status -s INT 4 {watch}");
    let piped = shell(&env, &piped).code(130);
    let rows: Vec<&str> = piped.stdout.lines().collect();
    assert_eq!(rows.len(), 4, "{piped}");
    assert!(
        rows[3].starts_with("small ") && rows[3].contains("tier=front"),
        "{piped}"
    );
    assert!(!piped.stdout.contains('\u{1b}'), "{piped}");
    let drawn = format!(
        "TERM=xterm timeout -s INT 3 script -qefc '{watch}' typescript >/dev/null; cat typescript"
    );
    let unlabel = "(sleep 1; kvmctl label type small tier- >/dev/null)";
    let drawn = shell(&env, &format!("{unlabel} & {drawn}"));
    assert!(drawn.stdout.contains("\u{1b}["), "{drawn}");
}
