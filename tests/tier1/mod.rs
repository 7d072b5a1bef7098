//! The binary on libvirt's test driver, in the process: single commands.

mod readme;

use crate::support::{Env, tree};

const URI: &str = "test:///default";

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
