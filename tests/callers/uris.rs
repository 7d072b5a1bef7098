//! Every way to a daemon, and what must not matter: that its files are out of reach.

use super::host::{PrivateHost, Seen, Socket, Who, guest_turn};

const TCP: &str = "qemu+tcp://127.0.0.1/system";

struct Elsewhere<'h> {
    host: &'h PrivateHost,
    home: tempfile::TempDir,
}

impl<'h> Elsewhere<'h> {
    fn new(host: &'h PrivateHost) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { host, home }
    }

    fn kvmctl(&self, args: &[&str]) -> Seen {
        self.host.kvmctl_elsewhere(self.home.path(), args)
    }

    fn import(&self, name: &str) {
        let folder = std::env::var("KVMCTL_TEST_IMAGES").unwrap();
        let file = format!("{folder}/{name}.qcow2");
        self.kvmctl(&[
            "images",
            "import",
            &file,
            "--name",
            name,
            "--default-user",
            "debian",
        ])
        .ok();
    }
}

/// The client shares no file with the daemon, so everything goes by stream.
#[test]
fn a_remote_host_is_like_a_local_one() {
    let host = PrivateHost::start(Socket::Group);
    let far = Elsewhere::new(&host);
    far.kvmctl(&["config", "set-context", "far", "--uri", TCP])
        .ok();
    far.kvmctl(&["config", "use-context", "far"]).ok();
    far.kvmctl(&["setup", "--yes", "--cidr", "10.215.0.0/24"])
        .ok()
        .prints("made pool \"default\"");
    far.kvmctl(&["doctor"]).ok();
    far.import("debian-12");
    let _turn = guest_turn();
    let create = [
        "instances",
        "create",
        "web",
        "--image",
        "debian-12",
        "--type",
        "basic-1",
        "--wait",
        "--timeout",
        "10m",
    ];
    far.kvmctl(&create).ok();
    far.kvmctl(&["exec", "web", "--", "hostname"])
        .ok()
        .prints("web");
    far.kvmctl(&["logs", "web"]).ok().prints("Linux version");
    far.kvmctl(&["logs", "web", "--qemu"])
        .code(1)
        .says("remote");
    far.kvmctl(&["instances", "seed", "web"]).ok();
    far.kvmctl(&["delete", "instance", "web", "--now"]).ok();
    assert_eq!(
        host.guest_files("varlib/libvirt/images"),
        Vec::<String>::new()
    );
    // A store of the client's own, and none on the host.
    let stores = std::fs::read_dir(far.home.path().join(".local/state/kvmctl")).unwrap();
    let stores: Vec<String> = stores
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        matches!(stores.as_slice(), [one] if one.starts_with("qemu-127-0-0-1-system-")),
        "{stores:?}"
    );
    assert!(!host.path("varlib/kvmctl").exists());
}

/// Two people with a store each on one host never get one address twice.
#[test]
fn two_stores_on_one_host_share_its_addresses() {
    let host = PrivateHost::start(Socket::Group);
    host.kvmctl(Who::Root, &["setup", "--yes", "--cidr", "10.215.0.0/24"])
        .ok();
    let callers = [Elsewhere::new(&host), Elsewhere::new(&host)];
    let _turn = guest_turn();
    let mut addresses = Vec::new();
    for (number, caller) in callers.iter().enumerate() {
        caller
            .kvmctl(&["config", "set-context", "default", "--uri", TCP])
            .ok();
        caller.import("tiny");
        let name = format!("vm{number}");
        let create = [
            "instances",
            "create",
            &name,
            "--image",
            "tiny",
            "--cpus",
            "1",
            "--memory",
            "128Mi",
            "--no-wait",
        ];
        caller.kvmctl(&create).ok();
        let ip = caller.kvmctl(&["instances", "ip", &name]).ok().out;
        // Off, so that no lease tells the other one.
        caller
            .kvmctl(&["instances", "stop", &name, "--force", "--timeout", "1s"])
            .ok();
        addresses.push(ip);
    }
    assert_ne!(addresses[0], addresses[1]);
    for (number, caller) in callers.iter().enumerate() {
        caller
            .kvmctl(&["delete", "instance", &format!("vm{number}"), "--now"])
            .ok();
    }
    assert_eq!(
        host.guest_files("varlib/libvirt/images"),
        Vec::<String>::new()
    );
}

#[test]
fn every_way_to_a_daemon_opens() {
    let host = PrivateHost::start(Socket::Group);
    let far = Elsewhere::new(&host);
    let socket = host.path("run/libvirt/libvirt-sock");
    let by_socket = format!("qemu+unix:///system?socket={}", socket.display());
    for uri in [TCP, by_socket.as_str(), "test:///default"] {
        far.kvmctl(&["--uri", uri, "get", "instances"]).ok();
    }
    for uri in ["qemu:///system", "qemu:///session", "qemu+unix:///system"] {
        host.kvmctl(Who::Root, &["--uri", uri, "get", "instances"])
            .ok();
    }
    let gone = far.kvmctl(&["--uri", "qemu+tcp://127.0.0.1:1/system", "get", "instances"]);
    gone.code(8).never_says("No instances");
    let senseless = far.kvmctl(&["--uri", "quemu:///system", "get", "instances"]);
    senseless.code(2).says("qemu:///system");
}
