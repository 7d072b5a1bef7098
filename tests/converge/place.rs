//! A pool, two networks and a store for one test, and what there is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::support::{CommandOutput, Env};

/// The image whose guests need not boot.
const IMAGE: &str = "tiny";

/// How one gets on after a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    SameCommand,
    Delete,
    Reconcile,
}

impl Recovery {
    pub(crate) const ALL: [Self; 3] = [Self::SameCommand, Self::Delete, Self::Reconcile];

    /// One after another, for sweeps that are too long for all at every place.
    pub(crate) fn turn(n: usize) -> Self {
        Self::ALL[n % 3]
    }
}

/// The world of one test; every name in it begins with `name`.
pub(crate) struct Place {
    env: Env,
    pub(crate) name: String,
    pool: PathBuf,
}

impl Place {
    /// Makes one; `net` is the third byte of its networks' addresses, for no two tests the same.
    pub(crate) fn new(name: &str, net: u8) -> Self {
        take_number(name, net);
        let images = std::env::var("KVMCTL_TEST_IMAGES").expect("tests/run.sh tells the images");
        let name = format!("cv-{name}");
        let env = Env::bare().with("KVMCTL_ACCELERATOR", "tcg");
        let env = {
            let temp = env.path("tmp").display().to_string();
            env.with("TMPDIR", &temp)
        };
        fs::create_dir(env.path("tmp")).unwrap();
        let pool = PathBuf::from("/var/lib/libvirt").join(&name);
        let place = Self { env, name, pool };
        place.clear();
        let store = place.store().display().to_string();
        let name = place.name.clone();
        let context = [
            "config",
            "set-context",
            &name,
            "--uri",
            "qemu:///system",
            "--pool",
            &name,
            "--network",
            &name,
            "--store",
            &store,
        ];
        place.run(&context).ok();
        place.run(&["config", "use-context", &name]).ok();
        let cidr = format!("10.213.{net}.0/24");
        let pool = place.pool.display().to_string();
        place
            .run(&["setup", "--yes", "--pool-path", &pool, "--cidr", &cidr])
            .ok();
        place.plain_network(net);
        let image = format!("{images}/tiny.qcow2");
        place
            .run(&["images", "import", &image, "--name", IMAGE])
            .ok();
        place
    }

    /// A network of others: no slots, so that every reservation is made and unmade.
    fn plain_network(&self, net: u8) {
        let (name, low) = (self.plain(), 100 + net);
        let xml = format!(
            "<network><name>{name}</name><forward mode='nat'/>\
             <ip address='10.213.{low}.1' netmask='255.255.255.0'><dhcp>\
             <range start='10.213.{low}.2' end='10.213.{low}.99'/></dhcp></ip></network>"
        );
        let file = self.env.file("plain.xml", &xml);
        self.virsh(&["net-define", &file.display().to_string()])
            .ok();
        self.virsh(&["net-start", &name]).ok();
    }

    pub(crate) fn plain(&self) -> String {
        format!("{}-plain", self.name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.env.path("store")
    }

    pub(crate) fn pool(&self) -> &PathBuf {
        &self.pool
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        self.env.file(name, text).display().to_string()
    }

    /// The name of an instance of this test.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    pub(crate) fn run(&self, args: &[&str]) -> CommandOutput {
        self.env.kvmctl(args)
    }

    pub(crate) fn run_with(&self, var: (&str, &str), args: &[&str]) -> CommandOutput {
        let program = env!("CARGO_BIN_EXE_kvmctl");
        let output = self
            .env
            .command(program, args)
            .env(var.0, var.1)
            .output()
            .unwrap();
        CommandOutput::new(program, args, &output)
    }

    /// Starts kvmctl and returns at once.
    pub(crate) fn spawn(&self, args: &[&str]) -> std::process::Child {
        self.spawn_with(&[], args)
    }

    /// As [`Self::spawn`], with variables more, which are kvmctl's alone.
    pub(crate) fn spawn_with(&self, vars: &[(&str, &str)], args: &[&str]) -> std::process::Child {
        let vars: Vec<String> = vars.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut all: Vec<&str> = vars.iter().map(String::as_str).collect();
        all.push(env!("CARGO_BIN_EXE_kvmctl"));
        all.extend(args);
        let mut command = self.env.command("env", &all);
        let pipe = std::process::Stdio::piped;
        command.stdout(pipe()).stderr(pipe()).spawn().unwrap()
    }

    /// Runs kvmctl under strace, which tampers with its system calls.
    pub(crate) fn tampered(&self, calls: &str, what: &str, args: &[&str]) -> CommandOutput {
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{what}"));
        let log = self.env.path("strace.log").display().to_string();
        let mut all = vec!["-f", "-qq", "-o", &log, "-e", &trace, "-e", &inject];
        all.push(env!("CARGO_BIN_EXE_kvmctl"));
        all.extend(args);
        let mut command = self.env.command("strace", &all);
        let output = command.env("KVMCTL_ONE_THREAD", "1").output().unwrap();
        CommandOutput::new("strace", &all, &output)
    }

    /// As [`Self::tampered`], for a run that leaves a program behind: what it starts is let alone.
    pub(crate) fn tampered_alone(&self, calls: &str, what: &str, args: &[&str]) -> CommandOutput {
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{what}"));
        let log = self.env.path("strace.log").display().to_string();
        let mut all = vec!["-qq", "-o", &log, "-e", &trace, "-e", &inject];
        all.push(env!("CARGO_BIN_EXE_kvmctl"));
        all.extend(args);
        self.env.run("strace", &all)
    }

    /// Returns what strace wrote last.
    pub(crate) fn strace_log(&self) -> String {
        fs::read_to_string(self.env.path("strace.log")).unwrap_or_default()
    }

    pub(crate) fn virsh(&self, args: &[&str]) -> CommandOutput {
        let mut all = vec!["-q", "-c", "qemu:///system"];
        all.extend(args);
        self.env.run("virsh", &all)
    }

    /// Writes the manifest of an instance in both networks and returns its path.
    pub(crate) fn manifest(&self, name: &str, extra: &str) -> String {
        let text = format!(
            "apiVersion: kvmctl/v1\nkind: Instance\nmetadata:\n  name: {name}\nspec:\n  \
             image: {IMAGE}\n  type: basic-1\n  networks: [{{name: {}}}, {{name: {}}}]\n{extra}",
            self.name,
            self.plain(),
        );
        self.file(&format!("{name}.yaml"), &text)
    }

    pub(crate) fn delete(&self, name: &str) -> CommandOutput {
        self.run(&["delete", "instance", name, "--grace-period", "0"])
    }

    /// Returns a field of an instance, by JSONPath.
    pub(crate) fn field(&self, name: &str, path: &str) -> String {
        let path = format!("jsonpath={{{path}}}");
        self.run(&["get", "instance", name, "-o", &path])
            .ok()
            .text()
            .to_owned()
    }

    /// Asks the name server of the first network for a name, as its guests do.
    pub(crate) fn address_of(&self, name: &str) -> Option<String> {
        let xml = self.virsh(&["net-dumpxml", &self.name]).ok().stdout;
        let server = xml.split("<ip address='").nth(1).unwrap();
        let server = server.split('\'').next().unwrap();
        let asked = ["10", "busybox", "nslookup", name, server];
        let told = self.env.run("timeout", &asked).stdout;
        let answer = told.split("Name:").nth(1)?;
        let address = answer.lines().find_map(|l| l.strip_prefix("Address: "))?;
        Some(address.trim().to_owned())
    }

    /// Returns everything that an instance of this test can leave behind, for comparing.
    pub(crate) fn traces(&self) -> BTreeSet<String> {
        let mut traces = BTreeSet::new();
        traces.extend(self.domains().into_iter().map(|d| format!("domain {d}")));
        for path in files(&self.pool) {
            if !path.contains("kvmctl-image-") {
                is_private(&self.pool.join(&path));
                traces.insert(format!("volume {path}"));
            }
        }
        for network in [self.name.clone(), self.plain()] {
            let xml = self.virsh(&["net-dumpxml", &network]).ok();
            let hosts = xml.stdout.lines().filter(|l| l.contains("<host "));
            traces.extend(hosts.map(|l| format!("host in {network}: {}", l.trim())));
            let leases = self.virsh(&["net-dhcp-leases", &network]).ok();
            let leases = leases.stdout.lines().filter(|l| l.contains("ipv4"));
            traces.extend(leases.map(|l| format!("lease in {network}: {}", l.trim())));
        }
        traces.extend(self.store_traces());
        traces.extend(
            files(&self.env.path("tmp"))
                .into_iter()
                .map(|f| format!("temp {f}")),
        );
        traces
    }

    fn store_traces(&self) -> BTreeSet<String> {
        let mut traces = BTreeSet::new();
        let store = self.store();
        for dir in ["instances", "volumes", "snapshots", "intents", "tmp"] {
            let inside = files(&store.join(dir)).into_iter();
            traces.extend(inside.map(|f| format!("{dir} {f}")));
        }
        for table in files(&store.join("slots")) {
            let text = fs::read_to_string(store.join("slots").join(table)).unwrap();
            let held = text.lines().filter(|l| l.trim().starts_with("uid:"));
            traces.extend(held.map(|l| format!("slot {}", l.trim())));
        }
        if let Ok(index) = fs::read_to_string(store.join("index.json")) {
            let index: serde_json::Value = serde_json::from_str(&index).unwrap();
            // The domains of other tests are seen too.
            let ours = |row: &serde_json::Value| {
                let prefix = format!("{}-", self.name);
                row["name"].as_str().unwrap().starts_with(&prefix)
            };
            let rows = index["rows"].as_object().unwrap().iter();
            let rows = rows.filter(|(_, row)| ours(row));
            traces.extend(rows.map(|(uid, _)| format!("row {uid}")));
        }
        traces
    }

    pub(super) fn domains(&self) -> Vec<String> {
        let all = self.virsh(&["list", "--all", "--name"]).ok().stdout;
        let ours = all
            .lines()
            .filter(|l| l.starts_with(&format!("{}-", self.name)));
        ours.map(str::to_owned).collect()
    }

    /// Asserts that exactly one whole instance has come to `before`.
    #[track_caller]
    pub(crate) fn is_whole(&self, name: &str, before: &BTreeSet<String>, when: &str) {
        let told = self.run(&["get", "instance", name, "-o", "json"]).ok();
        let json: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
        let status = &json["status"];
        assert_eq!(status["phase"], "Running", "{when}: {told}");
        assert!(status["reason"].is_null(), "{when}: {told}");
        let uid = self.virsh(&["domuuid", name]).ok().text().to_owned();
        let short = &uid[..8];
        let now = self.traces();
        let mut new: Vec<String> = now.difference(before).cloned().collect();
        new.retain(|t| !t.starts_with("lease"));
        let expected = [
            format!("domain {name}"),
            format!("instances {uid}.yaml"),
            format!("row {uid}"),
            format!("volume {name}.{short}.qcow2"),
            format!("volume {name}.{short}.seed.iso"),
            format!("volume {name}.{short}.serial.log"),
        ];
        for one in &expected {
            assert!(new.contains(one), "{when}: no {one:?} in {new:#?}");
        }
        let macs = self.virsh(&["domiflist", name]).ok().stdout;
        let other = new.iter().filter(|t| !expected.contains(t));
        let (mut slots, mut hosts, mut names) = (0, 0, 0);
        for trace in other {
            match trace {
                t if *t == format!("slot uid: {uid}") => slots += 1,
                t if t.contains("<host ip=") => names += 1,
                t if t.starts_with(&format!("host in {}", self.plain())) => {
                    let mac = t.split('\'').nth(1).unwrap();
                    assert!(macs.contains(mac), "{when}: {t} is not of {macs}");
                    hosts += 1;
                }
                t => panic!("{when}: stray {t}"),
            }
        }
        let plain = usize::from(macs.contains(&self.plain()));
        let all = (slots, hosts, names);
        // In a network of others only what has a hardware address of ours is ours.
        let expected = (1, plain, 1);
        assert_eq!(all, expected, "{when}: slots, reservations and names");
    }

    /// Asserts that nothing has come to `before`, and nothing gone.
    #[track_caller]
    pub(crate) fn is_as(&self, before: &BTreeSet<String>, when: &str) {
        let now = self.traces();
        let stray: Vec<_> = now.difference(before).collect();
        let lost: Vec<_> = before.difference(&now).collect();
        assert!(
            stray.is_empty() && lost.is_empty(),
            "{when}: stray {stray:#?}, lost {lost:#?}"
        );
    }

    fn clear(&self) {
        for domain in self.domains() {
            self.virsh(&["destroy", &domain]);
            self.virsh(&[
                "undefine",
                &domain,
                "--managed-save",
                "--snapshots-metadata",
                "--checkpoints-metadata",
                "--nvram",
            ]);
        }
        for network in [self.name.clone(), self.plain()] {
            self.virsh(&["net-destroy", &network]);
            self.virsh(&["net-undefine", &network]);
        }
        self.virsh(&["pool-destroy", &self.name]);
        self.virsh(&["pool-undefine", &self.name]);
        let _ = fs::remove_dir_all(&self.pool);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whatever a run was cut off at, nobody else on the host can read what a guest has written.
#[track_caller]
fn is_private(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if let Ok(found) = fs::symlink_metadata(file) {
        let mode = found.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}

/// Lists the names in a directory; one that is not there is empty.
fn files(dir: &std::path::Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Returns whether SIGKILL ended it.
pub(crate) fn was_killed(output: &CommandOutput) -> bool {
    matches!(output.status, -1 | 137)
}

/// Two tests with the same addresses would fail now and then, when they run at the same time.
fn take_number(test: &str, net: u8) {
    static TAKEN: Mutex<BTreeMap<u8, String>> = Mutex::new(BTreeMap::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let holder = taken.entry(net).or_insert_with(|| test.to_owned());
    assert_eq!(holder, test, "both take 10.213.{net}.0/24");
}
