//! Points 1 to 15, 87 to 91: the command line itself.

use super::{fake, kvmctl, shell, silent};
use crate::support::Env;

/// 1
#[test]
fn without_a_command_there_is_help_and_it_is_an_error() {
    let output = kvmctl(&fake(), "").code(2);
    assert!(
        output.stderr.matches("\n  kvmctl ").count() >= 2,
        "{output}"
    );
    silent(output);
}

/// 2
#[test]
fn help_is_on_standard_output() {
    for line in [
        "-h",
        "--help",
        "help",
        "help instances create",
        "instances create -h extra junk",
        "instances --help",
    ] {
        let output = kvmctl(&fake(), line).ok().prints("Usage: kvmctl");
        assert!(output.stderr.is_empty(), "{output}");
    }
}

/// 3, 4, 5
#[test]
fn a_slip_gets_a_suggestion() {
    let env = fake();
    let says = |line: &str, text: &str| {
        silent(kvmctl(&env, line).code(2).says(text));
    };
    says("instnces list", "Did you mean \"instances\"?");
    says("instances strt web", "Did you mean \"start\"?");
    says("images improt x", "Did you mean \"import\"?");
    says("config get-contxts", "Did you mean \"get-contexts\"?");
    says("get instnces", "did you mean \"instances\"?");
    says("get instances --outptu json", "'--output'");
    says("get instances --outptu json", "kvmctl get --help");
    says("get --nope", "--nope");
    says("get --nope", "kvmctl get --help");
    says("get", "kvmctl get instances");
    let unknown = kvmctl(&env, "get foo").code(2);
    assert!(
        unknown
            .stderr
            .starts_with("error: no resource type \"foo\"\n"),
        "{unknown}"
    );
}

/// 6, 7
#[test]
fn a_reader_that_goes_and_a_full_disk_are_told_apart() {
    let env = fake();
    let pipe = shell(&env, "kvmctl get images | head -1").ok();
    assert!(pipe.stderr.is_empty(), "{pipe}");
    for line in ["get images", "get images -o yaml", "version", "--help"] {
        let full = shell(&env, &format!("kvmctl {line} >/dev/full")).code(1);
        assert_eq!(full.stderr.lines().count(), 1, "{full}");
        full.says("error: cannot write");
    }
}

/// 8, 9
#[test]
fn colour_can_be_refused() {
    let env = fake();
    let script = |vars: &str| {
        let line = format!("{vars} script -qec 'kvmctl get foo' /dev/null; true");
        shell(&env, &line).stdout
    };
    assert!(script("TERM=xterm").contains('\u{1b}'));
    assert!(!script("TERM=xterm NO_COLOR=1").contains('\u{1b}'));
    assert!(!script("TERM=dumb").contains('\u{1b}'));
    assert!(
        !shell(&env, "kvmctl get foo 2>&1; true")
            .stdout
            .contains('\u{1b}')
    );
}

/// 10
#[test]
fn much_at_once_needs_a_confirmation() {
    let env = fake();
    env.file("small.yaml", super::SMALL);
    kvmctl(&env, "apply -f small.yaml").ok();
    silent(kvmctl(&env, "secrets delete --all").ok());
    silent(kvmctl(&env, "delete types -l !none").code(2).says("--yes"));
    kvmctl(&env, "get type small").ok();
}

/// 11
#[test]
fn flags_stand_anywhere() {
    let env = fake();
    let before = kvmctl(&env, "-o json get types").ok();
    let after = kvmctl(&env, "get types -o json").ok();
    assert_eq!(before.stdout, after.stdout);
}

/// 12
#[test]
fn the_version_needs_no_daemon() {
    let env = Env::new("qemu+unix:///system?socket=/nonexistent");
    kvmctl(&env, "--version").ok().prints("kvmctl ");
    kvmctl(&env, "version --client").ok().prints("kvmctl ");
    kvmctl(&env, "version -o json")
        .ok()
        .prints("\"client\"")
        .says("warning:");
}

/// 87, 88
#[test]
fn contexts_are_chosen_by_flag_then_environment_then_file() {
    let env = Env::bare();
    for name in ["one", "two", "three"] {
        let line = format!("config set-context {name} --uri test:///default --store store-{name}");
        kvmctl(&env, &line).ok();
    }
    kvmctl(&env, "config use-context one").ok();
    let current = |env: &Env, line: &str| kvmctl(env, line).ok().text().to_owned();
    assert_eq!(current(&env, "config current-context"), "one");
    kvmctl(&env, "config get-contexts")
        .ok()
        .prints("*         one");
    let named = kvmctl(&env, "config get-contexts -o name").ok();
    assert_eq!(named.text(), "default\none\ntwo\nthree");
    let known = current(&env, "config get-contexts -o json");
    let known: serde_json::Value = serde_json::from_str(&known).unwrap();
    assert_eq!(known["items"][1]["name"], "one");
    assert_eq!(known["items"][1]["current"], true);
    for line in [
        "config get-contexts -o jsonpath={.x}",
        "top -o name",
        "setup -o json",
    ] {
        kvmctl(&env, line).code(2);
    }
    kvmctl(&env, "config use-context nope")
        .code(4)
        .says("no context exists with the name: \"nope\"");
    kvmctl(&env, "--context nope get instances").code(4);
    let env = env.with("KVMCTL_CONTEXT", "two");
    assert_eq!(current(&env, "config current-context"), "two");
    assert_eq!(
        current(&env, "--context three config current-context"),
        "three"
    );
}

/// 89
#[test]
fn every_word_for_a_kind_works() {
    let env = fake();
    let table = kvmctl(&env, "api-resources --no-headers").ok();
    for row in table.stdout.lines() {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [plural, short, version, ..] = words[..] else {
            panic!("a short row: {row}")
        };
        assert_eq!(version, "kvmctl/v1");
        let shorts = short.split(',').filter(|s| *s != "<none>");
        for word in shorts.chain([plural]) {
            kvmctl(&env, &format!("get {word} -o name")).ok();
            kvmctl(&env, &format!("{word} list -o name")).ok();
        }
    }
    let names = kvmctl(&env, "api-resources -o name").ok();
    assert_eq!(names.stdout.lines().count(), table.stdout.lines().count());
}

/// 90
#[test]
fn fields_are_explained() {
    let env = fake();
    kvmctl(&env, "explain instance.spec.cpus")
        .ok()
        .prints("<integer>");
    kvmctl(&env, "explain instance.zz")
        .code(2)
        .says("field \"zz\" does not exist");
    kvmctl(&env, "explain instance.spec --recursive")
        .ok()
        .prints("userData");
}

/// 91
#[test]
fn nothing_is_written_beside_the_xdg_directories() {
    let env = Env::bare();
    kvmctl(
        &env,
        "config set-context a --uri test:///default --store store",
    )
    .ok();
    kvmctl(&env, "config use-context a").ok();
    kvmctl(&env, "get all").ok();
    let home = env.path("config.yaml");
    let mut left: Vec<String> = std::fs::read_dir(home.parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["config.yaml"]);
}
