//! Points 39 to 64: `create`, `apply` and `diff`.

use super::{FAKE, SECRET, SMALL, WEB, fake, kvmctl, shell, silent};
use crate::support::Env;

/// 39, 40, 44, 55
#[test]
fn apply_says_what_became_of_an_object() {
    let env = fake();
    env.file("small.yaml", SMALL);
    kvmctl(&env, "diff -f small.yaml").code(1).prints("+++ ");
    assert_eq!(
        kvmctl(&env, "apply -f small.yaml").ok().text(),
        "type/small created"
    );
    assert_eq!(
        kvmctl(&env, "apply -f small.yaml").ok().text(),
        "type/small unchanged"
    );
    kvmctl(&env, "apply -f small.yaml --error-unchanged").code(3);
    silent(kvmctl(&env, "diff -f small.yaml").ok());
    kvmctl(&env, "create -f small.yaml")
        .code(5)
        .says("AlreadyExists");
    env.file("small.yaml", &SMALL.replace("cpus: 1", "cpus: 2"));
    let diff = kvmctl(&env, "diff -f small.yaml").code(1);
    diff.prints("-  cpus: 1").prints("+  cpus: 2");
    assert_eq!(
        kvmctl(&env, "apply -f small.yaml").ok().text(),
        "type/small configured"
    );
    assert_eq!(
        kvmctl(&env, "apply -f small.yaml -o name").ok().text(),
        "type/small"
    );
    kvmctl(&env, "apply -f small.yaml -o json")
        .ok()
        .prints("\"cpus\": 2");
    kvmctl(&env, "diff -f nofile.yaml").code(2);
}

/// 55, and what `kubectl` prints for several objects and for those that nothing was done to.
#[test]
fn the_objects_themselves_are_printed_where_they_are_asked_for() {
    let env = fake();
    env.file("small.yaml", SMALL);
    env.file("both.yaml", &format!("{SMALL}---\n{SECRET}"));
    let cpus = "-o jsonpath={.spec.cpus}";
    let dry = kvmctl(
        &env,
        &format!("apply -f small.yaml --dry-run=server {cpus}"),
    );
    assert_eq!(dry.ok().stdout, "1");
    kvmctl(&env, "get type small").code(4);
    let both = kvmctl(&env, "apply -f both.yaml -o json").ok();
    let both: serde_json::Value = serde_json::from_str(&both.stdout).unwrap();
    assert_eq!(both["kind"], "List");
    assert_eq!(both["items"][0]["kind"], "InstanceType");
    assert_eq!(both["items"][1]["kind"], "Secret");
    let labels = "-o jsonpath={.metadata.labels}";
    assert_eq!(
        kvmctl(&env, &format!("label type small a=b {labels}"))
            .ok()
            .stdout,
        r#"{"a":"b"}"#
    );
    env.file("small.yaml", &SMALL.replace("cpus: 1", "cpus: 2"));
    let dry = kvmctl(&env, "apply -f small.yaml --dry-run=server -o yaml").ok();
    dry.prints("cpus: 2");
    let patch = "patch type small -p {\"spec\":{\"cpus\":3}}";
    assert_eq!(kvmctl(&env, &format!("{patch} {cpus}")).ok().stdout, "3");
    kvmctl(&env, "delete type small -o json")
        .code(2)
        .says("allowed formats are: name");
    assert_eq!(
        kvmctl(&env, "delete type small -o name").ok().text(),
        "type/small"
    );
}

/// 57, for kinds whose spec is not merged
#[test]
fn what_others_labelled_stays_and_what_a_manifest_says_no_more_goes() {
    let env = fake();
    let labelled = |text: &str| text.replace("metadata:\n", "metadata:\n  labels: {ours: x}\n");
    for (noun, text) in [("type/small", SMALL), ("secret/keys", SECRET)] {
        let labels = || {
            let get = format!("get {noun} -o jsonpath={{.metadata.labels}}");
            kvmctl(&env, &get).ok().stdout
        };
        env.file("it.yaml", &labelled(text));
        kvmctl(&env, "apply -f it.yaml").ok();
        kvmctl(&env, &format!("label {noun} theirs=y")).ok();
        silent(kvmctl(&env, "diff -f it.yaml").ok());
        let same = kvmctl(&env, "apply -f it.yaml").ok();
        assert_eq!(same.text(), format!("{noun} unchanged"));
        env.file("it.yaml", text);
        let diff = kvmctl(&env, "diff -f it.yaml").code(1);
        assert!(!diff.stdout.contains("-    theirs"), "{diff}");
        kvmctl(&env, "apply -f it.yaml").ok();
        assert_eq!(labels(), r#"{"theirs":"y"}"#);
    }
}

/// 44
#[test]
fn a_diff_masks_what_is_secret() {
    let env = fake();
    env.file("secret.yaml", SECRET);
    let hidden = |line: &str| {
        let output = kvmctl(&env, line);
        assert!(!output.stdout.contains("canary"), "{output}");
        assert!(!output.stderr.contains("canary"), "{output}");
        output
    };
    hidden("diff -f secret.yaml").code(1).prints("***");
    hidden("apply -f secret.yaml").ok();
    hidden("diff -f secret.yaml").ok();
    env.file("secret.yaml", &SECRET.replace("2718", "3141"));
    hidden("diff -f secret.yaml").code(1).prints("***");
    let user_data = format!("{WEB}  userData: |\n    #cloud-config\n    password: canary\n");
    env.file("web.yaml", &user_data);
    hidden("diff -f web.yaml").code(1).prints("***sha256:");
}

/// 41, 42, 43
#[test]
fn a_dry_run_changes_nothing() {
    let env = fake();
    env.file("small.yaml", SMALL);
    kvmctl(&env, "apply -f small.yaml --dry-run=client")
        .ok()
        .prints("type/small created (dry run)");
    kvmctl(&env, "apply -f small.yaml --dry-run=server")
        .ok()
        .prints("type/small created (server dry run)");
    kvmctl(&env, "get type small").code(4);
    assert!(!env.path("store").exists());
    silent(
        kvmctl(&env, "apply -f small.yaml --dry-run=foo")
            .code(2)
            .says("Must be \"none\", \"server\", or \"client\"."),
    );
    silent(
        kvmctl(&env, "apply -f small.yaml --dry-run")
            .code(2)
            .says("--dry-run=client"),
    );
    let nobody = Env::new("qemu+unix:///system?socket=/nonexistent");
    nobody.file("web.yaml", WEB);
    kvmctl(&nobody, "apply -f web.yaml --dry-run=client")
        .ok()
        .prints("instance/web created (dry run)");
    kvmctl(&nobody, "apply -f web.yaml --dry-run=server").code(8);
    an_instance_is_tried_on_a_host_without_a_store();
}

fn an_instance_is_tried_on_a_host_without_a_store() {
    let env = Env::bare();
    let store = env.path("store").display().to_string();
    let env = env.with("KVMCTL_STORE", &store);
    let context = format!("config set-context fake --uri {FAKE} --pool default-pool");
    kvmctl(&env, &context).ok();
    kvmctl(&env, "config use-context fake").ok();
    env.file("web.yaml", WEB);
    kvmctl(&env, "apply -f web.yaml --dry-run=server")
        .ok()
        .prints("instance/web created (server dry run)");
    kvmctl(&env, "delete instance test --dry-run=server").code(5);
    assert!(!env.path("store").exists(), "no store, and no key in it");
}

/// 45, 46, 47, 48, 53
#[test]
fn a_bad_manifest_is_refused_whole_with_its_place() {
    let env = fake();
    let refused = |text: &str, said: &str| {
        env.file("bad.yaml", text);
        silent(kvmctl(&env, "apply -f bad.yaml").code(2).says(said));
    };
    refused(
        &WEB.replace("  type:", "  cpsu: 1\n  type:"),
        "bad.yaml:8:3: (document 1) unknown field \"spec.cpsu\"; did you mean \"cpus\"?",
    );
    refused(
        &format!("{SMALL}  cpus: 2\n"),
        "duplicate key \"spec.cpus\"",
    );
    refused("metadata: {name: x}\n", "apiVersion not set, kind not set");
    refused(&SMALL.replace("small", "Not_A_Name"), "bad.yaml:4:9");
    refused(&SMALL.replace("256Mi", "-1Gi"), "memory");
    let half = format!("{SMALL}---\n{}", WEB.replace("  type:", "  typ:"));
    refused(&half, "(document 2)");
    kvmctl(&env, "get type small").code(4);
    env.file("warn.yaml", &format!("{SMALL}  colour: red\n"));
    kvmctl(&env, "apply -f warn.yaml --validate=warn")
        .ok()
        .says("warning: ")
        .says("unknown field \"spec.colour\"");
}

/// 49, 50, 51, 52
#[test]
fn manifests_come_from_files_directories_lists_and_pipes() {
    let env = fake();
    env.file("small.yaml", SMALL);
    shell(&env, "kvmctl apply -f - < small.yaml").ok();
    for empty in [
        "kvmctl apply -f - < /dev/null",
        "printf -- '---\\n---\\n' | kvmctl apply -f -",
    ] {
        shell(&env, empty)
            .code(2)
            .says("no objects passed to apply");
    }
    kvmctl(&env, "apply -f nofile.yaml")
        .code(2)
        .says("the path \"nofile.yaml\" does not exist");
    kvmctl(&env, "apply").code(2).says("-f");
    let named = |name: &str| SMALL.replace("small", name);
    std::fs::create_dir_all(env.path("dir/sub")).unwrap();
    env.file("dir/a.yaml", &named("one"));
    env.file("dir/readme.txt", "no manifest");
    env.file("dir/sub/b.yml", &named("two"));
    assert_eq!(kvmctl(&env, "apply -f dir").ok().text(), "type/one created");
    kvmctl(&env, "apply -R -f dir")
        .ok()
        .prints("type/two created");
    env.file(
        "list.yaml",
        "---\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: kvmctl/v1\n  kind: Secret\n  \
         metadata: {name: s}\n  data: {A: b}\n",
    );
    assert_eq!(
        kvmctl(&env, "apply -f list.yaml").ok().text(),
        "secret/s created"
    );
}

/// 54
#[test]
fn a_generated_name_is_for_create() {
    let env = fake();
    env.file(
        "gen.yaml",
        &SMALL.replace("name: small", "generateName: gen-"),
    );
    silent(
        kvmctl(&env, "apply -f gen.yaml")
            .code(2)
            .says("cannot use generate name with apply"),
    );
    let made = kvmctl(&env, "create -f gen.yaml -o name").ok();
    assert!(made.text().starts_with("type/gen-"), "{made}");
    kvmctl(&env, &format!("get {}", made.text())).ok();
}

/// 56, 95
#[test]
fn flags_make_a_manifest_that_apply_takes() {
    let env = fake();
    let made = shell(
        &env,
        "kvmctl create type mid --cpus 2 --memory 1Gi --disk 4Gi --dry-run=client -o yaml \
         | kvmctl apply -f -",
    );
    assert_eq!(made.ok().text(), "type/mid created");
    let dry = shell(
        &env,
        "kvmctl instances create web --image debian-12 --cpus 2 -e A='b c' --dry-run=client -o yaml \
         | kvmctl apply -f - --dry-run=client",
    );
    assert_eq!(dry.ok().text(), "instance/web created (dry run)");
}

/// 60
#[test]
fn what_is_referred_to_must_exist() {
    let env = fake();
    env.file(
        "web.yaml",
        &format!("{SMALL}---\n{}", WEB.replace("basic-1", "basci-1")),
    );
    silent(
        kvmctl(&env, "apply -f web.yaml")
            .code(2)
            .says("did you mean \"basic-1\"?"),
    );
    env.file(
        "web.yaml",
        &format!("{SMALL}---\n{}", WEB.replace("debian-12", "debin-12")),
    );
    silent(
        kvmctl(&env, "apply -f web.yaml")
            .code(2)
            .says("did you mean \"debian-12\"?"),
    );
    kvmctl(&env, "get type small").code(4);
}

/// 59
#[test]
fn the_order_of_documents_does_not_matter() {
    let env = fake();
    let web = WEB.replace("basic-1", "small");
    env.file("all.yaml", &format!("{web}---\n{SMALL}---\n{SECRET}"));
    kvmctl(&env, "apply -f all.yaml --dry-run=client").ok();
    env.file("two.yaml", &format!("{SMALL}---\n{SECRET}"));
    kvmctl(&env, "apply -f two.yaml").ok();
    let gone = kvmctl(&env, "delete -f two.yaml").ok();
    assert_eq!(gone.stdout.lines().count(), 2, "{gone}");
}
