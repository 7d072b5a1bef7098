//! The private host, and what an instance may leave behind on it.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{CommandOutput, Env};

/// Longer than a Debian guest takes to boot under emulation on a busy machine.
pub(crate) const BOOT: &str = "15m";

/// Where libvirt and kvmctl keep things.
pub(crate) const PLACES: [&str; 5] = [
    "/var/lib/libvirt",
    "/etc/libvirt",
    "/var/lib/kvmctl",
    "/var/log/libvirt",
    "/run/libvirt",
];

/// A home on the private host; pool, network and store are the host's.
pub(crate) fn guest_env() -> Env {
    assert!(
        std::env::var_os("KVMCTL_PRIVATE_HOST").is_some(),
        "tier 3 needs the private host: ./tests/run.sh tier3"
    );
    Env::bare()
}

/// Returns the manifest of an instance with one virtual CPU: QEMU's emulation of several can abort.
pub(crate) fn instance(name: &str, image: &str, more: &Value) -> Value {
    let mut spec = json!({"image": image, "cpus": 1, "memory": "640Mi", "disk": "4Gi"});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "kvmctl/v1",
        "kind": "Instance",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// Returns the manifest of a guest that is up in seconds and has no cloud-init.
pub(crate) fn tiny(name: &str) -> Value {
    instance(name, "tiny", &json!({"memory": "96Mi", "disk": "64Mi"}))
}

/// Applies a manifest.
pub(crate) fn apply(env: &Env, manifest: &Value, flags: &[&str]) -> CommandOutput {
    let name = manifest["metadata"]["name"].as_str().unwrap_or("list");
    let file = env.file(&format!("{name}.json"), &manifest.to_string());
    let file = file.display().to_string();
    let mut args = vec!["apply", "-f", &file];
    args.extend(flags);
    env.kvmctl(args)
}

/// Returns a field of an instance.
#[track_caller]
pub(crate) fn field(env: &Env, name: &str, path: &str) -> String {
    let format = format!("jsonpath={{{path}}}");
    env.kvmctl(["get", "instance", name, "-o", &format])
        .ok()
        .text()
        .to_owned()
}

/// Lets a guest restart by itself, and waits until a plain list, which asks for nobody by name, shows
/// it.
#[track_caller]
pub(crate) fn restart_inside(env: &Env, name: &str) {
    // The agent may be ended before it answers.
    env.kvmctl(["exec", name, "--", "systemctl", "reboot"]);
    for _ in 0..120 {
        let list = env.kvmctl(["get", "instances", "--no-headers"]).ok();
        let row = |line: &&str| line.split_whitespace().next() == Some(name);
        if list
            .stdout
            .lines()
            .find(row)
            .is_some_and(|l| l.contains("Unknown"))
        {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    panic!("{name} does not restart");
}

/// Runs a program of the host and returns what it prints.
#[track_caller]
pub(crate) fn host(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command that goes on beside the test, and what it has said so far.
pub(crate) struct Background {
    child: Child,
    said: PathBuf,
}

impl Background {
    /// Starts kvmctl; what it says goes into a file of that name in the home.
    pub(crate) fn start(env: &Env, file: &str, args: &[&str]) -> Self {
        let said = env.path(file);
        let out = std::fs::File::create(&said).unwrap();
        let mut command = env.direct(args);
        let both = command.stdout(out.try_clone().unwrap()).stderr(out);
        Self {
            child: both.spawn().unwrap(),
            said,
        }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.said).unwrap()).into_owned()
    }

    /// Waits until it says a text.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        for _ in 0..600 {
            if self.said().contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it never says {text:?}: {}", self.said());
    }

    /// Waits for its end, and returns what it has said.
    #[track_caller]
    pub(crate) fn ends(mut self, code: i32) -> String {
        let status = self.child.wait().unwrap();
        let said = self.said();
        assert_eq!(status.code(), Some(code), "{said}");
        said
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who an instance is: whatever it leaves behind carries one of these.
pub(crate) struct Identity {
    name: String,
    uid: String,
    address: String,
}

impl Identity {
    /// Reads it while the instance is there.
    #[track_caller]
    pub(crate) fn of(env: &Env, name: &str) -> Self {
        let identity = Self {
            name: name.to_owned(),
            uid: field(env, name, ".metadata.uid"),
            address: field(env, name, ".status.address"),
        };
        assert!(!identity.uid.is_empty() && !identity.address.is_empty());
        identity
    }

    /// Expects that nothing is left of it on the host.
    #[track_caller]
    pub(crate) fn expect_gone(&self) {
        expect_no_trace(&self.name);
        let leases = host("virsh", &["-q", "net-dhcp-leases", "default"]);
        assert!(!leases.contains(&format!("{}/", self.address)), "{leases}");
        // What happened is kept on purpose.
        let records = host(
            "grep",
            &[
                "-rlF",
                "--exclude=events.jsonl",
                &self.uid,
                "/var/lib/kvmctl",
                "/etc/libvirt",
            ],
        );
        assert_eq!(records, "", "files that still name {}", self.uid);
    }
}

/// Expects no domain, volume or file of this name.
#[track_caller]
pub(crate) fn expect_no_trace(name: &str) {
    let domains = host("virsh", &["-q", "list", "--all", "--name"]);
    assert!(!domains.lines().any(|d| d == name), "{domains}");
    host("virsh", &["-q", "pool-refresh", "default"]);
    let volumes = host("virsh", &["-q", "vol-list", "default"]);
    assert!(!volumes.contains(&format!("{name}.")), "{volumes}");
    let pattern = format!("{name}.*");
    let mut args = PLACES[..3].to_vec();
    args.extend(["-name", &pattern]);
    assert_eq!(host("find", &args), "", "files of {name}");
}
