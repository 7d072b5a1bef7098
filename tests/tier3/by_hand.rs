//! What `--explain-plan` prints is a script that does the same.

use std::collections::BTreeSet;
use std::process::Command;

use super::host::{apply, expect_no_trace, field, guest_env, host, tiny};
use crate::support::Env;

#[test]
fn the_explained_plan_makes_the_instance() {
    let env = guest_env();
    for dry_run in ["--dry-run=server", "--dry-run=client"] {
        let manifest = tiny("explained");
        let plan = apply(&env, &manifest, &["--explain-plan", dry_run]).ok();
        assert!(plan.stdout.contains("dry run)"), "{plan}");
        expect_no_trace("explained");
        run(&env, &plan.stdout);
        assert_eq!(field(&env, "explained", ".status.phase"), "Running");
        assert_eq!(field(&env, "explained", ".status.managed"), "true");
        apply(&env, &manifest, &[]).ok().prints("unchanged");
        env.kvmctl(["delete", "instance", "explained", "--force"])
            .ok();
        expect_no_trace("explained");
    }
}

#[test]
fn the_explained_plan_tells_no_secret() {
    let env = guest_env();
    let mut manifest = tiny("masked");
    manifest["spec"]["userData"] = "#!/bin/sh\n: canary-5150\n".into();
    for dry_run in ["--dry-run=server", "--dry-run=client"] {
        let plan = apply(&env, &manifest, &["--explain-plan", dry_run]).ok();
        assert!(plan.stdout.contains("*** the user-data"), "{plan}");
        assert!(!plan.stdout.contains("canary-5150"), "{plan}");
        assert!(!plan.stdout.contains("Y2FuYXJ5LTUxNT"), "{plan}");
    }
    let domains = host("virsh", &["-q", "list", "--all", "--name"]);
    assert!(!domains.contains("masked"), "{domains}");
}

/// A dry run of a whole stack, of which each object needs another one, changes nothing and pulls
/// nothing.
#[test]
fn a_stack_is_tried_without_making_any_of_it() {
    let env = guest_env();
    let stack = "
apiVersion: kvmctl/v1
kind: Network
metadata: {name: dry-net}
spec: {cidr: 10.219.0.0/24}
---
apiVersion: kvmctl/v1
kind: Volume
metadata: {name: dry-data}
spec: {size: 1Gi}
---
apiVersion: kvmctl/v1
kind: Instance
metadata: {name: dry}
spec:
  image: alpine-3.22
  type: basic-1
  networks: [{name: dry-net}]
  volumes: [{name: dry-data}]
---
apiVersion: kvmctl/v1
kind: PortForward
metadata: {name: dry-forward}
spec: {instance: dry, hostPort: 19090, guestPort: 90}
";
    let file = env.file("stack.yaml", stack);
    let file = file.display().to_string();
    // Other tests have files of their own there.
    let files = || -> BTreeSet<String> {
        let all = host("find", &["/var/lib/libvirt/images", "-type", "f"]);
        let ours = |l: &&str| l.contains("/kvmctl-image-") || l.contains("/dry");
        all.lines().filter(ours).map(str::to_owned).collect()
    };
    let before = files();
    env.kvmctl(["apply", "-f", &file, "--dry-run=server"])
        .ok()
        .prints("instance/dry created (server dry run)")
        .prints("forward/dry-forward created (server dry run)")
        .says("would be pulled first");
    assert_eq!(files(), before);
    let networks = host("virsh", &["-q", "net-list", "--all", "--name"]);
    assert!(!networks.contains("dry-net"), "{networks}");
    expect_no_trace("dry");
}

/// Runs a script where `kvmctl` is the program under test, and stops at its first failure.
fn run(env: &Env, script: &str) {
    let file = env.file("plan.sh", script);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_kvmctl"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let output = Command::new("bash")
        .args(["-e", &file.display().to_string()])
        .current_dir(file.parent().unwrap())
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{script}");
}
