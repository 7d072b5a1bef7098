//! The host, and namespaces that behave as guests.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{CommandOutput, Env};

/// Whoever runs kvmctl.
pub(super) struct Rig {
    env: Env,
}

impl Rig {
    /// Makes one on the private host; each has a store of its own.
    pub(super) fn new() -> Self {
        assert!(
            std::env::var_os("KVMCTL_PRIVATE_HOST").is_some(),
            "these tests need the private host: ./tests/run.sh nets"
        );
        Self {
            env: Env::new("qemu:///system"),
        }
    }

    pub(super) fn run(&self, args: &[&str]) -> CommandOutput {
        self.env.kvmctl(args)
    }

    /// Runs kvmctl with a variable more.
    pub(super) fn run_with(&self, var: (&str, &str), args: &[&str]) -> CommandOutput {
        let program = env!("CARGO_BIN_EXE_kvmctl");
        let mut command = self.env.command(program, args);
        let output = command.env(var.0, var.1).output().unwrap();
        CommandOutput::new(program, args, &output)
    }

    /// Runs kvmctl under strace, which kills it at the n-th of the calls.
    pub(super) fn killed_at(&self, calls: &str, n: usize, args: &[&str]) -> (CommandOutput, bool) {
        let log = self.env.path("strace.log").display().to_string();
        let trace = format!("trace={calls}");
        let inject = format!("inject={calls}:signal=KILL:when={n}");
        let mut all = vec!["-f", "-qq", "-o", &log, "-e", &trace, "-e", &inject];
        all.push(env!("CARGO_BIN_EXE_kvmctl"));
        all.extend(args);
        let output = self.env.run("strace", &all);
        let told = std::fs::read_to_string(&log).unwrap_or_default();
        (output, told.contains("killed by SIGKILL"))
    }

    /// Starts kvmctl and returns at once.
    pub(super) fn spawn(&self, args: &[&str]) -> std::process::Child {
        let mut command = self.env.command(env!("CARGO_BIN_EXE_kvmctl"), args);
        let pipe = std::process::Stdio::piped;
        command.stdout(pipe()).stderr(pipe()).spawn().unwrap()
    }

    pub(super) fn file(&self, name: &str, text: &str) -> String {
        self.env.file(name, text).display().to_string()
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.env.path(name)
    }

    /// Returns a field of a network, by JSONPath.
    #[track_caller]
    pub(super) fn field(&self, network: &str, path: &str) -> String {
        let path = format!("jsonpath={{{path}}}");
        let told = self.run(&["get", "network", network, "-o", &path]).ok();
        told.text().to_owned()
    }

    /// Deletes networks.
    #[track_caller]
    pub(super) fn delete(&self, networks: &[&str]) {
        let mut args = vec!["net", "delete"];
        args.extend(networks);
        self.run(&args).ok();
    }

    /// Returns everything that a network can leave behind, for comparing.
    pub(super) fn traces(&self) -> BTreeSet<String> {
        let store = self.env.path("store").display().to_string();
        let all = sh(&format!(
            "virsh -q net-list --all --name | sed 's/^/network /'
             find /etc/libvirt/qemu/networks /var/lib/libvirt/dnsmasq -type f -not -name 'virbr*' | sort
             ip -o link | sed 's/^[0-9]*: //; s/[:@].*//'
             iptables-save | grep -v '^#' | grep -e kvm- || true
             find {store}/intents {store}/slots -type f 2>/dev/null || true"
        ));
        all.lines()
            .filter(|l| !l.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Rig {
    /// A test that failed leaves nothing to the next.
    fn drop(&mut self) {
        if std::thread::panicking() {
            sh("for n in $(virsh -q net-list --all --name); do
                    virsh -q net-destroy $n || true; virsh -q net-undefine $n || true
                done >/dev/null 2>&1");
        }
    }
}

/// Runs a shell line that must succeed and returns what it prints.
#[track_caller]
pub(super) fn sh(line: &str) -> String {
    let output = Command::new("bash").args(["-euc", line]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}{error}");
    text
}

/// A namespace with one interface on a bridge, and an address from the network's own DHCP.
pub(super) struct Guest {
    pub(super) name: String,
    pub(super) ip: String,
}

/// What udhcpc does with a lease, as a guest would.
const LEASE: &str = "#!/bin/sh\n\
    [ \"$1\" = bound ] || exit 0\n\
    ip addr add $ip/$mask dev $interface\n\
    [ -z \"$router\" ] || ip route add default via $router\n\
    echo \"$ip $domain $mtu\" > /run/lease-$NAME\n";

impl Guest {
    /// Plugs one in and asks for an address, under its own name. An address that nobody kept for it
    /// takes dnsmasq 3 seconds, in which it looks whether somebody has it.
    pub(super) fn on(rig: &Rig, network: &str, name: &str, mac: &str) -> Self {
        let bridge = rig.field(network, ".status.bridge");
        let script = rig.file("lease.sh", LEASE);
        sh(&format!(
            "mkdir -p /run/netns; chmod +x {script}
             ip netns add {name}
             ip link add v-{name} type veth peer name eth0 netns {name}
             ip link set v-{name} up master {bridge}
             ip -n {name} link set lo up
             ip -n {name} link set eth0 address {mac} up"
        ));
        let mut guest = Self {
            name: name.to_owned(),
            ip: String::new(),
        };
        guest.ask(&script);
        guest
    }

    fn ask(&mut self, script: &str) {
        let name = &self.name;
        let told = sh(&format!(
            "rm -f /run/lease-{name}
             NAME={name} timeout 40 ip netns exec {name} \
                 busybox udhcpc -i eth0 -f -n -q -t 12 -T 2 -x hostname:{name} -s {script} >&2
             cat /run/lease-{name}"
        ));
        told.split(' ')
            .next()
            .unwrap_or_default()
            .clone_into(&mut self.ip);
        assert!(!self.ip.is_empty(), "{name} has no address: {told}");
    }

    /// Returns whether it reaches an address.
    pub(super) fn pings(&self, ip: &str) -> bool {
        self.does(&format!("busybox ping -c 1 -W 2 {ip}"))
    }

    /// Returns whether it gets a TCP connection.
    pub(super) fn connects(&self, ip: &str, port: u16) -> bool {
        self.does(&format!("busybox nc -w 2 {ip} {port}"))
    }

    fn does(&self, line: &str) -> bool {
        let all = format!(
            "ip netns exec {} timeout 10 {line} </dev/null >/dev/null 2>&1",
            self.name
        );
        Command::new("bash")
            .args(["-c", &all])
            .status()
            .unwrap()
            .success()
    }

    /// Asks a name server for a name and returns the address that it says.
    pub(super) fn resolves(&self, name: &str, server: &str) -> Option<String> {
        let line = format!(
            "ip netns exec {} timeout 10 busybox nslookup {name} {server} 2>&1 || true",
            self.name
        );
        let told = sh(&line);
        let answer = told.split("Name:").nth(1)?;
        let address = answer.lines().find_map(|l| l.strip_prefix("Address: "))?;
        Some(address.trim().to_owned())
    }

    /// Serves TCP on a port until it is dropped.
    pub(super) fn serves(&self, port: u16) -> Server {
        let line = format!(
            "exec ip netns exec {} busybox nc -ll -p {port} -e /bin/true",
            self.name
        );
        let server = Server(Command::new("bash").args(["-c", &line]).spawn().unwrap());
        sh(&format!(
            "for i in $(seq 50); do ip netns exec {} ss -ltn | grep -q ':{port} ' && exit 0; sleep 0.1; done; exit 1",
            self.name
        ));
        server
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let line = format!("ip link del v-{0}; ip netns del {0}", self.name);
        let _ = Command::new("bash").args(["-c", &line]).status();
    }
}

/// A process that is ended with its handle.
pub(super) struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the hardware address that a network keeps for an address.
pub(super) fn slot(network: &str, ip: &str) -> String {
    let line = format!(
        "virsh -q net-dumpxml {network} | sed -n \"s/.*mac='\\([^']*\\)' ip='{ip}'.*/\\1/p\""
    );
    sh(&line).trim().to_owned()
}
