//! Points 16 to 38: `get` and its forms.

use super::{fake, kvmctl, shell, silent};

/// 16, 17, 18
#[test]
fn an_empty_list_is_no_error() {
    let env = fake();
    silent(
        kvmctl(&env, "get instances")
            .ok()
            .says("No instances found."),
    );
    for form in ["json", "yaml"] {
        let list = kvmctl(&env, &format!("get instances -o {form}")).ok();
        assert!(list.stderr.is_empty(), "{list}");
        assert!(list.stdout.contains("[]"), "{list}");
    }
    let names = silent(kvmctl(&env, "get instances -o name").ok());
    assert!(names.stderr.is_empty(), "{names}");
}

/// 19, 20, 21
#[test]
fn what_is_missing_is_named_and_the_rest_is_printed() {
    let env = fake();
    silent(
        kvmctl(&env, "get instance nope")
            .code(4)
            .says("error: instance \"nope\" not found"),
    );
    let none = silent(kvmctl(&env, "get instance nope --ignore-not-found").ok());
    assert!(none.stderr.is_empty(), "{none}");
    kvmctl(&env, "get type basic-1 nope")
        .code(4)
        .prints("basic-1")
        .says("\"nope\"");
    kvmctl(&env, "get type basc-1")
        .code(4)
        .says("did you mean \"basic-1\"?");
}

/// 22, 23, 24
#[test]
fn several_kinds_make_several_groups() {
    let env = fake();
    let both = kvmctl(&env, "get type/basic-1 image/debian-12").ok();
    let lines: Vec<&str> = both.stdout.lines().collect();
    assert!(lines[1].starts_with("type/basic-1 "), "{both}");
    assert_eq!(lines[2], "", "{both}");
    assert!(lines[4].starts_with("image/debian-12 "), "{both}");
    silent(
        kvmctl(&env, "get instance instance/web")
            .code(2)
            .says("kvmctl get instance/web"),
    );
    kvmctl(&env, "get types,images -l app=x")
        .ok()
        .says("No resources found.");
}

/// 25
#[test]
fn all_is_what_is_on_the_host() {
    let env = fake();
    env.file("small.yaml", super::SMALL);
    env.file("secret.yaml", super::SECRET);
    kvmctl(&env, "apply -f small.yaml -f secret.yaml").ok();
    let all = kvmctl(&env, "get all -o name").ok();
    let names: Vec<&str> = all.stdout.lines().collect();
    assert_eq!(names, ["type/small", "secret/keys"], "{all}");
    kvmctl(&env, "get images").ok().prints("debian-12");
    kvmctl(&env, "get types").ok().prints("basic-1");
}

/// 26, 27, 28
#[test]
fn tables_can_be_cut_into_columns() {
    let env = fake();
    for kind in ["types", "images", "instances --all"] {
        let table = kvmctl(&env, &format!("get {kind}")).ok();
        let rows: Vec<Vec<&str>> = table
            .stdout
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0].first(), Some(&"NAME"), "{table}");
        assert_eq!(rows[0].last(), Some(&"AGE"), "{table}");
        assert!(rows.iter().all(|r| r.len() == rows[0].len()), "{table}");
        let wide = kvmctl(&env, &format!("get {kind} -o wide")).ok();
        let titles: Vec<&str> = wide
            .stdout
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        assert!(titles.starts_with(&rows[0]), "{wide}");
        let bare = kvmctl(&env, &format!("get {kind} --no-headers")).ok();
        assert_eq!(bare.stdout.lines().count(), rows.len() - 1, "{bare}");
    }
}

/// 29, 30, 31
#[test]
fn templates_are_kubectls() {
    let env = fake();
    let text = |args: &[&str]| env.kvmctl(args).ok().stdout;
    let form = "jsonpath={.items[*].metadata.name}";
    assert!(text(&["get", "types", "-o", form]).starts_with("basic-1 basic-2 "));
    assert_eq!(
        text(&["get", "type", "basic-1", "-o", "jsonpath={.spec.zz}"]),
        ""
    );
    let form = "custom-columns=N:.metadata.name,X:.spec.zz";
    let columns = text(&["get", "type", "basic-1", "-o", form]);
    let words: Vec<&str> = columns.split_whitespace().collect();
    assert_eq!(words, ["N", "X", "basic-1", "<none>"]);
    silent(
        kvmctl(&env, "get types -o nope")
            .code(2)
            .says("custom-columns"),
    );
    kvmctl(&env, "get types -o jsonpath={.items[").code(2);
}

/// 32, 33, 34
#[test]
fn rows_are_sorted_selected_and_labelled() {
    let env = fake();
    let names = |line: &str| -> Vec<String> {
        let list = kvmctl(&env, line).ok();
        list.stdout.lines().map(str::to_owned).collect()
    };
    let by_cpus = names("get types --sort-by=.spec.cpus -o jsonpath={.items[*].spec.cpus}");
    let cpus: Vec<u32> = by_cpus[0].split(' ').map(|c| c.parse().unwrap()).collect();
    assert!(cpus.is_sorted() && cpus.len() > 5, "{cpus:?}");
    kvmctl(&env, "get types --sort-by=.spec.nope").code(2);
    kvmctl(&env, "get types --sort-by=nope")
        .code(2)
        .says("columns are: name");
    let one = names("get types --field-selector metadata.name=basic-2 -o name");
    assert_eq!(one, ["type/basic-2"]);
    kvmctl(&env, "get instances --field-selector spec.zz=1")
        .code(2)
        .says("status.phase");
    let given = names("get types standard-1 basic-1 performance-1 -o name");
    assert_eq!(
        given,
        ["type/standard-1", "type/basic-1", "type/performance-1"]
    );
    let titles = &names("get types -L app --show-labels")[0];
    let titles: Vec<&str> = titles.split_whitespace().rev().take(2).collect();
    assert_eq!(titles, ["LABELS", "APP"]);
}

/// 35
#[test]
fn a_watch_ends_by_interruption() {
    let env = fake();
    let watch = shell(
        &env,
        "timeout --preserve-status -s INT 3 kvmctl get types -w | wc -l; exit ${PIPESTATUS[0]}",
    );
    let watch = watch.code(130);
    let rows: usize = watch.text().parse().unwrap();
    let listed = kvmctl(&env, "get types").ok().stdout.lines().count();
    assert_eq!(
        rows, listed,
        "a piped watch repeats what did not change: {watch}"
    );
}

/// 37, 38
#[test]
fn one_name_is_an_object_and_a_list_is_a_list() {
    let env = fake();
    kvmctl(&env, "get type basic-1 -o json")
        .ok()
        .prints("\"kind\": \"InstanceType\"");
    let line = "get types --field-selector metadata.name=basic-1 -o json";
    kvmctl(&env, line).ok().prints("\"kind\": \"List\"");
    let again = |line: &str| kvmctl(&env, line).ok().stdout;
    assert_eq!(again("get types -o yaml"), again("get types -o yaml"));
    assert_eq!(
        again("get instances --all -o yaml"),
        again("get instances --all -o yaml")
    );
}
