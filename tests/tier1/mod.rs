//! The binary on libvirt's test driver, in the process: single commands.

mod readme;

use serde_json::{Value, json};

use crate::support::{Env, tree};

const URI: &str = "test:///default";

/// Public keys of a user's.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHvJ0sX0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0 me@home";
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFTzFVl/58aQ4X7tS40E+i9dIfqDOJQSSkN9CQWE2FSU me@work";

#[test]
fn an_unmanaged_domain_is_shown_only_when_asked_for() {
    let env = Env::new(URI);
    env.kvmctl(["instances", "list"])
        .ok()
        .says("No instances found.")
        .says("1 domain is not managed by kvmctl");
    let all = env.kvmctl(["get", "instances", "--all"]).ok();
    let row = all.stdout.lines().nth(1).unwrap();
    assert!(
        row.starts_with("test ") && row.contains("<unmanaged>"),
        "{all}"
    );
    env.kvmctl(["get", "instances", "-o", "json"])
        .ok()
        .prints("\"items\": []");
    env.kvmctl(["get", "instance", "test", "-o", "jsonpath={.status.phase}"])
        .ok()
        .prints("Running");
}

#[test]
fn both_grammars_say_the_same() {
    let env = Env::new(URI);
    let noun = env.kvmctl(["types", "list"]).ok();
    let verb = env.kvmctl(["get", "types"]).ok();
    assert_eq!(noun.stdout, verb.stdout);
    let mut names: Vec<&str> = noun
        .stdout
        .lines()
        .skip(1)
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert!(names.contains(&"t2.micro"), "{noun}");
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a type is listed twice: {noun}");
}

#[test]
fn every_output_form_works() {
    let env = Env::new(URI);
    let get = |format: &str| env.kvmctl(["get", "type", "t2.micro", "-o", format]).ok();
    assert_eq!(get("name").text(), "type/t2.micro");
    assert_eq!(get("jsonpath={.metadata.name}").text(), "t2.micro");
    get("json").prints("\"kind\": \"InstanceType\"");
    get("yaml").prints("kind: InstanceType");
    let columns = get("custom-columns=N:.metadata.name,C:.spec.cpus");
    assert_eq!(
        columns.text().split_whitespace().collect::<Vec<_>>(),
        ["N", "C", "t2.micro", "1"],
        "{columns}"
    );
    env.kvmctl(["get", "types", "-o", "nonsense"]).code(2);
}

#[test]
fn errors_have_their_exit_code_and_a_hint() {
    let env = Env::new(URI);
    let run = |line: &str| env.kvmctl(line.split(' ').collect::<Vec<_>>());
    run("get instance nope").code(4).says("not found");
    run("instances delete nope").code(4).says("hint: ");
    run("instances delete test")
        .code(5)
        .says("not managed by kvmctl")
        .says("hint: kvmctl adopt instance/test");
    run("get instanecs")
        .code(2)
        .says("did you mean \"instances\"");
    run("frobnicate").code(2).says("error: ");
    run("instances create a --image nope --type basic-1")
        .code(2)
        .says("nope")
        .says("hint: ");
    run("instances create Bad_Name --image debian-12").code(2);
    run("instances create a --image debian-12 --memory -5").code(2);
    run("get instances --uri foo:///bar").says("foo:///bar");
    for line in ["get instance nope", "frobnicate", "delete instance test"] {
        let output = run(line);
        assert!(output.stdout.is_empty(), "errors go to stderr: {output}");
        assert!(output.stderr.starts_with("error: "), "{output}");
    }
}

#[test]
fn a_daemon_that_does_not_answer_is_said_to_be_so() {
    let env = Env::new("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
    let output = env.kvmctl(["get", "instances"]).code(8);
    output.says("/nonexistent/libvirt-sock");
}

#[test]
fn bad_manifests_are_refused_with_their_place() {
    let env = Env::new(URI);
    let apply = |text: &str| {
        let file = env.file("bad.yaml", text).display().to_string();
        env.kvmctl(["apply", "-f", &file])
    };
    apply("").code(2).says("no objects");
    let head = "apiVersion: kvmctl/v1\nkind: Instance\nmetadata:\n  name: a\n";
    apply(&format!("{head}spec:\n  image: x\n  imaeg: y\n"))
        .says("bad.yaml:7")
        .says("imaeg");
    apply(&format!("{head}  name: b\nspec:\n  image: x\n")).says("name");
    apply(&format!("{head}spec:\n  image: x\n  memory: -1Gi\n")).says("bad.yaml:7");
    apply("spec: {image: x\n").says("bad.yaml");
    apply("kind: Instance\napiVersion: kvmctl/v1\nmetadata: {name: UPPER}\nspec: {image: x}\n")
        .says("UPPER");
    apply("- 1\n- 2\n").says("bad.yaml");
    for text in [
        "",
        "- 1\n",
        "a: [",
        "kind: Nonsense\napiVersion: kvmctl/v1\n",
    ] {
        let output = apply(text);
        assert!(
            (1..=5).contains(&output.status) && !output.stderr.contains("panicked"),
            "{output}"
        );
    }
}

#[test]
fn a_client_dry_run_asks_nobody_and_is_a_manifest() {
    let env = Env::new("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
    let args = [
        "instances",
        "create",
        "job",
        "--image",
        "debian-12",
        "--type",
        "basic-1",
        "-e",
        "QUOTE=it's \"$HOME\"",
        "--dry-run=client",
        "-o",
        "yaml",
        "--",
        "sh",
        "-c",
        "echo \"$1\"",
        "sh",
        "one argument",
    ];
    let manifest = env.kvmctl(args).ok();
    let file = env.file("job.yaml", &manifest.stdout).display().to_string();
    let again = env
        .kvmctl(["apply", "-f", &file, "--dry-run=client", "-o", "yaml"])
        .ok();
    assert_eq!(manifest.stdout, again.stdout);
    manifest.prints("- one argument\n");
}

/// Every flag of `create` ends in the manifest, and no secret does.
#[test]
fn flags_of_create_become_the_manifest() {
    let env = Env::new("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
    let file = |name: &str, text: &str| env.file(name, text).display().to_string();
    let plain = file(
        "plain.env",
        "# a comment\nA=from the file\nB=it's = \"$HOME\"\n\n",
    );
    let secret = file("secret.env", "TOKEN=canary-1618\n");
    let user_data = file("user-data", "#!/bin/sh\necho user\n");
    let keys = file("keys.pub", &format!("{OTHER_KEY}\n# no key\n"));
    let line = [
        &[
            "instances",
            "create",
            "web",
            "--image",
            "debian-12",
            "--type",
            "basic-1",
        ][..],
        &[
            "--env-file",
            &plain,
            "-e",
            "A=from the flag",
            "--secret-env-file",
            &secret,
        ],
        &[
            "--env-from-secret",
            "PASSWORD=db/ADMIN",
            "--user-data",
            &user_data,
        ],
        &["--ssh-key", KEY, "--ssh-key", &keys],
        &[
            "--run",
            "echo $A",
            "--run",
            "true",
            "--label",
            "app=web,tier=front",
        ],
        &["--port", "8080:80,8443:443", "--no-autostart"],
        &["--dry-run=client", "-o", "json"],
    ];
    let made = env.kvmctl(line.concat()).ok();
    assert!(!made.stdout.contains("canary"), "{made}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let objects = made["items"].as_array().unwrap();
    let (kept, web) = (&objects[0], &objects[1]);
    assert_eq!(kept["kind"], "Secret");
    assert_eq!(kept["metadata"]["name"], "web-env");
    assert!(kept["data"].get("TOKEN").is_some(), "{kept}");
    assert_eq!(
        web["metadata"]["labels"],
        json!({"app": "web", "tier": "front"})
    );
    let spec = &web["spec"];
    let from = |name: &str, key: &str| json!({"secret": {"name": name, "key": key}});
    assert_eq!(
        spec["env"],
        json!([
            {"name": "B", "value": "it's = \"$HOME\""},
            {"name": "A", "value": "from the flag"},
            {"name": "PASSWORD", "valueFrom": from("db", "ADMIN")},
            {"name": "TOKEN", "valueFrom": from("web-env", "TOKEN")},
        ])
    );
    assert_eq!(spec["sshKeys"], json!([KEY, OTHER_KEY]));
    assert_eq!(spec["run"], json!(["echo $A", "true"]));
    assert_eq!(spec["userData"], "#!/bin/sh\necho user\n");
    assert_eq!(spec["autostart"], json!(false));
    assert_eq!(spec["ports"].as_array().unwrap().len(), 2);
    let wrong = |flag: &str, value: &str| {
        let create = [
            "instances",
            "create",
            "web",
            "--image",
            "debian-12",
            flag,
            value,
        ];
        env.kvmctl([&create[..], &["--dry-run=client"]].concat())
            .code(2)
    };
    wrong("--env-file", &user_data).says("user-data:2: the line is not NAME=VALUE");
    wrong("--env-from-secret", "A=db").says("NAME=SECRET/KEY");
    wrong("--label", "app").says("--label");
    wrong("--user-data", "/nonexistent").says("/nonexistent");
}

#[test]
fn help_and_version_need_no_libvirt() {
    let env = Env::new("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
    env.kvmctl(["--help"]).ok().prints("instances");
    env.kvmctl(["--version"]).ok().prints("kvmctl ");
    env.kvmctl(["version", "--client"])
        .ok()
        .prints(env!("CARGO_PKG_VERSION"));
    env.kvmctl(["instances", "create", "--help"])
        .ok()
        .prints("--image");
    env.kvmctl(["explain", "instance.spec.env"])
        .ok()
        .prints("env");
    env.kvmctl(["api-resources"]).ok().prints("Instance");
}

#[test]
fn completion_scripts_are_accepted_by_their_shell() {
    let env = Env::new(URI);
    let script = env.kvmctl(["completion", "bash"]).ok();
    let file = env
        .file("kvmctl.bash", &script.stdout)
        .display()
        .to_string();
    env.run("bash", &["-n", &file]).ok();
}

#[test]
fn what_is_generated_is_checked_in() {
    let env = Env::new(URI);
    let fresh = env.path("fresh").display().to_string();
    env.kvmctl(["generate", &fresh]).ok();
    for folder in ["completions", "man"] {
        let ours = tree().join(folder).display().to_string();
        env.run("diff", &["-r", &format!("{fresh}/{folder}"), &ours])
            .ok();
    }
}

#[test]
fn colour_is_for_terminals() {
    let env = Env::new(URI);
    let output = env.kvmctl(["get", "instances", "--all"]).ok();
    assert!(!output.stdout.contains('\u{1b}'), "{output}");
    let error = env.kvmctl(["get", "instance", "nope"]).code(4);
    assert!(!error.stderr.contains('\u{1b}'), "{error}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let env = Env::new(URI);
    let program = env!("CARGO_BIN_EXE_kvmctl");
    let line = format!("{program} get images -o yaml | head -n 1; echo ${{PIPESTATUS[0]}}");
    let output = env.run("bash", &["-c", &line]).ok();
    assert!(output.stderr.is_empty(), "{output}");
    assert!(output.stdout.ends_with("0\n"), "{output}");
}
