//! Every way to a daemon, and what must not matter: that its files are out of reach.

use super::host::{PrivateHost, Seen, Socket, Who, guest_turn};
use super::sshd;

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

    /// Runs a script in the client's home, which knows where kvmctl is.
    fn bash(&self, script: &str) -> Seen {
        let program = self.host.path("kvmctl").display().to_string();
        let script = format!("cd; KVMCTL='{program}'; {script}");
        self.host
            .elsewhere(self.home.path(), &["bash", "-c", &script])
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

/// The client shares no file with the daemon, so everything goes by stream; what kvmctl itself does by
/// ssh goes the same way, by the same key.
#[test]
fn a_remote_host_is_like_a_local_one() {
    let host = PrivateHost::start(Socket::Group);
    let far = Elsewhere::new(&host);
    sshd::start(&host, far.home.path());
    let place = format!("kt-member@127.0.0.1:{}/system", sshd::PORT);
    let uri = format!("qemu+ssh://{place}?keyfile=/root/.ssh/its%20key");
    far.kvmctl(&["config", "set-context", "far", "--uri", &uri])
        .ok();
    // The host's key is known to nobody yet, and nobody is asked.
    let unknown = far.kvmctl(&["--context", "far", "get", "instances"]);
    unknown.code(8).says("Host key verification failed");
    let ssh = far.home.path().join(".ssh");
    std::fs::copy(ssh.join("its_hosts"), ssh.join("known_hosts")).unwrap();
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
    far.kvmctl(&["exec", "web", "--via", "ssh", "--", "hostname"])
        .ok()
        .prints("web");
    far.kvmctl(&["ssh", "web", "--", "exit", "7"]).code(7);
    let address = far.kvmctl(&["instances", "ip", "web"]).ok().out;
    let through = format!("target {} port 22", address.trim());
    assert!(sshd::log(&host).contains(&through), "{}", sshd::log(&host));
    // The guest's own sshd speaks first, through a port of the client's machine.
    let port_forward = far.bash(
        "$KVMCTL port-forward instance/web 0:22 > forwarding & P=$!
         for i in $(seq 100); do grep -q -- '-> 22' forwarding && break; sleep 0.2; done
         PORT=$(sed -n 's/.*127.0.0.1:\\([0-9]*\\) -> 22/\\1/p' forwarding)
         exec 3<> /dev/tcp/127.0.0.1/$PORT; timeout 60 head -c 8 <&3; echo
         kill -INT $P; wait $P; echo rc=$?",
    );
    port_forward.ok().prints("SSH-2.0-").prints("rc=130");
    far.kvmctl(&["logs", "web"]).ok().prints("Linux version");
    far.kvmctl(&["logs", "web", "--qemu"])
        .code(1)
        .says("remote");
    far.kvmctl(&["instances", "seed", "web"]).ok();
    far.kvmctl(&["delete", "instance", "web", "--now"])
        .ok()
        .says("the DHCP lease of");
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
        matches!(stores.as_slice(), [one] if one.starts_with("qemu-") && one.contains("127-0-0-1")),
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

/// Where the daemons are modular, there is no socket of libvirtd's: the one of virtqemud is found, and
/// decides whose world it is. The daemon behind it is the monolithic one, which the client cannot tell.
#[test]
fn the_socket_of_a_modular_daemon_is_found() {
    let host = PrivateHost::start(Socket::Group);
    let rename = "cd /run/libvirt && mv libvirt-sock virtqemud-sock && \
                  mv libvirt-sock-ro virtqemud-sock-ro";
    host.run(Who::Root, &["sh", "-c", rename]).ok();
    for who in [Who::Root, Who::Member] {
        host.kvmctl(who, &["setup", "--yes", "--cidr", "10.215.0.0/24"])
            .ok();
        host.kvmctl(who, &["doctor"])
            .ok()
            .prints("/run/libvirt/virtqemud-sock is for its owner and group only");
        host.kvmctl(who, &["get", "instances"])
            .ok()
            .never_says("session");
    }
    let stranger = host.kvmctl(Who::Alone, &["--uri", "qemu:///system", "get", "instances"]);
    stranger.code(8).says("usermod -aG libvirt");
}
