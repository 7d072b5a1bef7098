//! `reconcile --watch`, from the first failure of a target on: through a restart of libvirt, a kill, and
//! what the next run finds. The instances are adopted domains that never run; a namespace answers at the
//! address that each has reserved.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::rig::{Rig, TARGETS, get, sh};
use super::target::Server;
use crate::support::Env;

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(60);

/// What libvirt knows of the targets; it is taken away with this value.
struct Domains;

impl Domains {
    fn adopted(env: &Env) -> Self {
        let hosts: String = (1..=2)
            .map(|n| format!("<host mac='{}' ip='10.78.1.{}'/>", mac(n), 10 + n))
            .collect();
        let network = format!(
            "<network><name>lbwatch</name><ip address='10.78.1.1' netmask='255.255.255.0'>\
             <dhcp>{hosts}</dhcp></ip></network>"
        );
        let network = env.file("network.xml", &network);
        sh(&format!("virsh -q net-define {}", network.display()));
        for (n, name) in TARGETS.iter().enumerate().take(2) {
            let domain = format!(
                "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>\
                 <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
                 <interface type='network'><mac address='{}'/><source network='lbwatch'/>\
                 <model type='virtio'/></interface></devices></domain>",
                mac(n + 1)
            );
            let file = env.file("domain.xml", &domain);
            sh(&format!("virsh -q define {}", file.display()));
            env.kvmctl(["adopt", "instance", name]).ok();
        }
        Self
    }
}

impl Drop for Domains {
    fn drop(&mut self) {
        let _ = std::process::Command::new("bash")
            .args([
                "-c",
                "virsh -q undefine a; virsh -q undefine b; virsh -q net-undefine lbwatch",
            ])
            .status();
    }
}

fn mac(n: usize) -> String {
    format!("52:54:00:78:01:{n:02x}")
}

/// A loop that watches; it ends with this value.
struct Loop(Child);

impl Loop {
    fn start(env: &Env) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(env.path("log"))
            .unwrap();
        let mut command = env.direct(&["reconcile", "--watch"]);
        Self(command.stderr(log).spawn().unwrap())
    }

    /// Ends it, and returns its exit status.
    fn signalled(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn until(what: &str, env: &Env, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        let log = std::fs::read_to_string(env.path("log")).unwrap_or_default();
        assert!(begin.elapsed() < PATIENCE, "not {what}: {log}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Returns which of the targets are out, as the object tells.
fn out(env: &Env) -> String {
    let path = "jsonpath={.status.targets[?(@.out==true)].instance}";
    let get = env.kvmctl(["get", "lb", "lb", "-o", path]).ok();
    get.text().to_owned()
}

/// Asks for a page eight times; all are answered well.
#[track_caller]
fn answering() -> String {
    let mut names = BTreeMap::new();
    for _ in 0..8 {
        let (status, body) = get(PORT, "/").unwrap();
        assert_eq!(status, 200, "{body}");
        *names.entry(body).or_insert(0) += 1;
    }
    names.into_keys().collect()
}

fn restart_libvirt(env: &Env) {
    sh(
        "pid=$(cat /run/libvirtd.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done",
    );
    let log = || std::fs::read_to_string(env.path("log")).unwrap_or_default();
    until("told of it", env, || log().contains("trying again"));
    sh("libvirtd -d < /dev/null > /dev/null 2>&1
        for i in $(seq 100); do timeout 5 virsh -q uri > /dev/null 2>&1 && break; sleep 0.1; done");
    until("told of it", env, || log().contains("it works again"));
}

#[test]
fn failing_targets_are_taken_out_and_in_again() {
    let mut rig = Rig::new();
    let store = rig.path("store").display().to_string();
    let env = Env::bare()
        .with("KVMCTL_STORE", &store)
        .with("KVMCTL_URI", "qemu:///system");
    let _domains = Domains::adopted(&env);
    let create = "lb create lb --port 8080 --target a:80 --target b:80 --health-path / \
                  --health-interval 1s --unhealthy-threshold 2 --healthy-threshold 2";
    let create: Vec<&str> = create.split_whitespace().collect();
    env.kvmctl(create).ok().says("nobody watches");
    let watched = |yes: &str| {
        let get = env.kvmctl(["get", "lb", "lb", "-o", "jsonpath={.status.watched}"]);
        get.ok().text() == yes
    };
    assert!(watched("false") && out(&env).is_empty());

    let watch = Loop::start(&env);
    until("watched", &env, || watched("true"));
    rig.servers.remove("a");
    until("taken out", &env, || out(&env) == "a");
    assert_eq!(answering(), "b");
    let another = env.kvmctl(["reconcile", "--watch"]).code(5);
    another.says(&format!("process {}", watch.0.id()));

    restart_libvirt(&env);
    rig.servers.insert("a", Server::start("a"));
    until("taken in", &env, || out(&env).is_empty());
    until("served", &env, || answering() == "ab");

    // Nothing of a loop that is killed is in the way of the next run, which mends what it left.
    rig.servers.remove("b");
    until("taken out", &env, || out(&env) == "b");
    assert_eq!(watch.signalled(Signal::KILL), None);
    assert!(watched("false"));
    env.kvmctl(["reconcile", "--check"]).ok();
    rig.servers.insert("b", Server::start("b"));
    let check = env.kvmctl(["reconcile", "--check"]).code(1);
    check.prints("b:80 out, which is well, and nobody watches");
    env.kvmctl(["reconcile"]).ok().prints("taken in again");
    assert_eq!((out(&env).as_str(), answering().as_str()), ("", "ab"));
    env.kvmctl(["reconcile", "--check"]).ok();

    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let watch = Loop::start(&env);
        until("watched", &env, || watched("true"));
        assert_eq!(watch.signalled(signal), Some(status));
        assert!(watched("false"));
    }
    let locks = std::fs::read_dir(rig.path("store").join("locks")).unwrap();
    assert_eq!(locks.count(), 0, "no lock stays");
    env.kvmctl(["lb", "delete", "lb"]).ok();
    assert!(!rig.nginx.home().exists() && get(PORT, "/").is_err());
}
