//! A secret is where it belongs and nowhere else.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::host::{BOOT, PLACES, apply, field, guest_env, host, instance};

const CANARY: &str = "canary-8c1f27e6";
const NAME: &str = "keeper";

#[test]
fn a_secret_reaches_the_guest_and_nobody_else() {
    let env = guest_env();
    let secret = json!({"apiVersion": "kvmctl/v1", "kind": "Secret",
        "metadata": {"name": "canary"}, "data": {"PASSWORD": CANARY}});
    apply(&env, &secret, &[]).ok();
    let from = json!({"secret": {"name": "canary", "key": "PASSWORD"}});
    // Whose reporter is ended is Ready all the same, and rid of the secrets on its medium.
    let user_data = format!(
        "#cloud-config\nbootcmd:\n- [systemctl, stop, kvmctl-reporter]\n\
         write_files:\n- path: /root/own\n  content: {CANARY}\n"
    );
    let more = json!({
        "env": [{"name": "PASSWORD", "valueFrom": from}],
        "userData": user_data,
        "run": ["test -n \"$PASSWORD\""],
    });
    let manifest = instance(NAME, "debian-12", &more);

    // While it is made and boots: the seed lies in the pool then.
    let done = AtomicBool::new(false);
    let (created, leaks) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut leaks = Vec::new();
            while !done.load(Ordering::SeqCst) {
                leaks.extend(command_lines());
                leaks.extend(readable_by_all());
                thread::sleep(Duration::from_millis(300));
            }
            leaks
        });
        let created = apply(&env, &manifest, &["--wait", "--timeout", BOOT, "-v"]);
        done.store(true, Ordering::SeqCst);
        (created, watch.join().unwrap())
    });
    let created = created.ok();
    assert!(leaks.is_empty(), "{leaks:?}");
    for said in [&created.stdout, &created.stderr] {
        assert!(!said.contains(CANARY), "{created}");
    }

    let line = "systemd-run --quiet --wait --pipe sh -c 'printf %s \"$PASSWORD\"'";
    let seen = env.kvmctl(["exec", NAME, "--", "sh", "-c", line]).ok();
    assert_eq!(seen.stdout, CANARY);
    let mode = env.kvmctl([
        "exec",
        NAME,
        "--",
        "su",
        "-l",
        "debian",
        "-c",
        "echo \"[$PASSWORD]\"",
    ]);
    assert_eq!(
        mode.ok().stdout,
        "[]\n",
        "a login shell is no place for a secret"
    );

    for args in [
        vec!["dumpxml", NAME],
        vec!["dumpxml", "--security-info", NAME],
        vec!["net-dumpxml", "default"],
    ] {
        assert!(!host("virsh", &args).contains(CANARY), "virsh {args:?}");
    }
    for args in [
        vec!["get", "instance", NAME, "-o", "yaml"],
        vec!["describe", "instance", NAME],
        vec!["instances", "seed", NAME],
        vec!["events"],
        vec!["get", "secret", "canary", "-o", "yaml"],
        vec!["logs", NAME],
    ] {
        let output = env.kvmctl(&args).ok();
        assert!(!output.stdout.contains(CANARY), "{output}");
    }
    let files = host(
        "grep",
        &[
            "-rlF",
            CANARY,
            "/var/lib/kvmctl",
            "/var/log",
            "/etc/libvirt",
        ],
    );
    // The record keeps the user-data, for its owner alone; the secret is there by reference only.
    let (records, elsewhere): (Vec<&str>, Vec<&str>) = files
        .lines()
        .filter(|f| !f.contains("/secrets/"))
        .partition(|f| f.contains("/instances/"));
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    for record in records {
        let text = std::fs::read_to_string(record).unwrap();
        let by_user_data = text.matches("userData:").count();
        assert_eq!(text.matches(CANARY).count(), by_user_data, "{record}");
    }
    assert_eq!(field(&env, NAME, ".status.cloudInit.source"), "serial");
    // Ready, so that its medium has none any more.
    let isos = host(
        "find",
        &["/var/lib/libvirt/images", "-name", "keeper.*.iso"],
    );
    assert!(!isos.is_empty());
    for iso in isos.lines() {
        assert_eq!(host("grep", &["-lF", CANARY, iso]), "");
    }
    assert_eq!(readable_by_all(), Vec::<String>::new());

    env.kvmctl(["delete", "instance", NAME, "--force"]).ok();
    env.kvmctl(["delete", "secret", "canary"]).ok();
    let left = host(
        "grep",
        &["-rlF", CANARY, "/var/lib/kvmctl", "/var/lib/libvirt"],
    );
    assert_eq!(left, "");
}

/// Returns the command lines with the secret in them, other than of who looks for it.
fn command_lines() -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|p| fs::read(p.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(CANARY) && !line.contains("grep") && !line.contains("find"))
        .collect()
}

/// Returns the files with the secret that anybody may read.
fn readable_by_all() -> Vec<String> {
    let mut args = PLACES.to_vec();
    // A disk is large, and whether it may be read is all that matters.
    args.extend([
        "-type", "f", "-perm", "/o+r", "(", "-name", "keeper.*", "-o", "-size", "-2048k", ")",
    ]);
    args.extend(["-exec", "grep", "-lF", CANARY, "{}", "+"]);
    host("find", &args).lines().map(str::to_owned).collect()
}
