//! A host with two networks, guests on them, and a machine outside.
//!
//! ```text
//! out 203.0.113.2 ── 203.0.113.1 host 10.77.1.1 ── web 10.77.1.10, peer 10.77.1.11, evil 10.77.1.12
//!                                     10.77.2.1 ── far 10.77.2.10
//! ```

use std::net::IpAddr;
use std::sync::Mutex;

use kvmctl::api::Uid;
use kvmctl::host::firewall::{Changes, Firewall, Observation, Privilege, Wanted};
use kvmctl::net::forward::{LibvirtRules, Mapping, Segment};
use kvmctl::store::{Access, Store};

use super::net::sh;
use super::probe::Server;

/// One host: one rig at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The firewall that libvirt is told to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Iptables,
    Nftables,
}

impl Backend {
    pub(super) const ALL: [Self; 2] = [Self::Iptables, Self::Nftables];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

pub(super) const HOST: &str = "203.0.113.1";
pub(super) const WEB: &str = "10.77.1.10";

/// Name of the namespace, bridge, address without its last part and last part.
const GUESTS: [(&str, &str, &str, u8); 4] = [
    ("web", "kvmfwa", "10.77.1", 10),
    ("peer", "kvmfwa", "10.77.1", 11),
    ("evil", "kvmfwa", "10.77.1", 12),
    ("far", "kvmfwb", "10.77.2", 10),
];

/// The host; it is taken down with this value.
pub(super) struct Rig {
    pub(super) backend: Backend,
    pub(super) store: Store,
    _store_dir: tempfile::TempDir,
    servers: Vec<Server>,
    _turn: std::sync::MutexGuard<'static, ()>,
}

impl Rig {
    /// Builds it with an empty ruleset of ours.
    pub(super) fn new(backend: Backend) -> Self {
        assert!(
            std::env::var_os("KVMCTL_PRIVATE_HOST").is_some(),
            "these tests need the private host: ./tests/run.sh forwards"
        );
        let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
        sh(&format!(
            "mkdir -p /run/fw/bin; printf '#!/bin/sh\\nexit 0\\n' > /run/fw/bin/tc; chmod +x /run/fw/bin/tc
             echo 'firewall_backend = \"{}\"' > /etc/libvirt/network.conf",
            backend.name()
        ));
        stop_daemon();
        sh("nft flush ruleset");
        start_daemon();
        define("fwa", "kvmfwa", 1);
        define("fwb", "kvmfwb", 2);
        let store_dir = tempfile::tempdir().unwrap();
        let store = Store::open(store_dir.path().join("store"), Access::Write).unwrap();
        let mut rig = Self {
            backend,
            store,
            _store_dir: store_dir,
            servers: Vec::new(),
            _turn: turn,
        };
        rig.start_networks();
        rig.make_machines();
        rig
    }

    fn make_machines(&mut self) {
        for (name, bridge, net, last) in GUESTS {
            sh(&format!(
                "ip netns add {name}
                 ip link add v-{name} type veth peer name eth0 netns {name}
                 ip link set v-{name} up master {bridge}
                 ip -n {name} link set lo up; ip -n {name} link set eth0 up
                 ip -n {name} addr add {net}.{last}/24 dev eth0
                 ip -n {name} route add default via {net}.1
                 ip -n {name} addr add fd00:77:{number}::{last}/64 dev eth0 nodad
                 ip -n {name} route add default via fd00:77:{number}::1",
                number = net.rsplit('.').next().unwrap()
            ));
        }
        // It sends to 127.0.0.1, and not to itself.
        sh("ip -n evil addr flush dev lo
            ip netns exec evil sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1
            ip -n evil route flush table local type local dev lo 2>/dev/null || true
            ip -n evil route add 127.0.0.1 via 10.77.1.1 dev eth0");
        sh(&format!(
            "ip netns add out
             ip link add v-out type veth peer name eth0 netns out
             ip link set v-out up; ip addr add {HOST}/24 dev v-out
             ip -n out link set lo up; ip -n out link set eth0 up
             ip -n out addr add 203.0.113.2/24 dev eth0
             ip -n out route add 10.77.1.0/24 via {HOST}
             ip addr add 2001:db8::1/64 dev v-out nodad
             ip -n out addr add 2001:db8::2/64 dev eth0 nodad"
        ));
        // Until its own addresses are known to be nobody else's, the host answers at none of them.
        sh(
            "for i in $(seq 100); do ip -6 -o addr show tentative | grep -q . || break; sleep 0.1; done",
        );
        let all = |port: u16| [format!("tcp/0.0.0.0:{port}"), format!("udp/0.0.0.0:{port}")];
        let sockets: Vec<String> = [80, 81].into_iter().flat_map(all).collect();
        let sockets: Vec<&str> = sockets.iter().map(String::as_str).collect();
        self.servers
            .push(Server::start(Some("web"), "web", &sockets));
        self.servers
            .push(Server::start(Some("peer"), "peer", &sockets));
        let v6 = Server::start(
            Some("web"),
            "web6",
            &["tcp/[fd00:77:1::10]:80", "udp/[fd00:77:1::10]:80"],
        );
        self.servers.push(v6);
        let foreign = all(8080);
        self.servers.push(Server::start(
            Some("out"),
            "foreign",
            &[&foreign[0], &foreign[1]],
        ));
        let private = ["tcp/127.0.0.1:9999", "udp/127.0.0.1:9999"];
        self.servers.push(Server::start(None, "secret", &private));
    }

    fn start_networks(&self) {
        sh("virsh -q net-start fwa; virsh -q net-start fwb");
    }

    /// Returns the forward of `ports` to the web guest.
    pub(super) fn mapping(&self, owner: Uid, ports: &str, localhost: bool) -> Mapping {
        self.mapping_to(owner, ports, WEB, localhost)
    }

    /// Returns the forward of `ports` to a guest of the first network.
    pub(super) fn mapping_to(
        &self,
        owner: Uid,
        ports: &str,
        guest: &str,
        localhost: bool,
    ) -> Mapping {
        let guest: IpAddr = guest.parse().unwrap();
        let subnet = if guest.is_ipv4() {
            "10.77.1.1/24"
        } else {
            "fd00:77:1::1/64"
        };
        let segment = Segment {
            bridge: "kvmfwa".parse().unwrap(),
            subnet: subnet.parse().unwrap(),
            libvirt: LibvirtRules::Nat,
        };
        Mapping::new(owner, &ports.parse().unwrap(), guest, segment, localhost).unwrap()
    }

    /// Puts forwards into force, and owners out of it.
    #[track_caller]
    pub(super) fn assert(&self, mappings: &[Mapping], retired: &[Uid]) -> Changes {
        let wanted = Wanted {
            mappings: mappings.to_vec(),
            retired: retired.to_vec(),
            ..Wanted::default()
        };
        let firewall = Firewall::new(Privilege::Own);
        firewall
            .assert(&self.store, &|| Ok(wanted.clone()))
            .unwrap()
    }

    /// As [`Rig::assert`], where it may fail.
    pub(super) fn try_assert(&self, mappings: &[Mapping]) -> kvmctl::error::Result<Changes> {
        let wanted = Wanted {
            mappings: mappings.to_vec(),
            retired: Vec::new(),
            ..Wanted::default()
        };
        Firewall::new(Privilege::Own).assert(&self.store, &|| Ok(wanted.clone()))
    }

    /// Looks at forwards.
    #[track_caller]
    pub(super) fn observe(&self, mappings: &[Mapping]) -> Observation {
        Firewall::new(Privilege::Own).observe(mappings).unwrap()
    }

    pub(super) fn restart_daemon(&self) {
        stop_daemon();
        start_daemon();
    }

    pub(super) fn reload_daemon(&self) {
        // It takes its rules away and puts them up again, and says nowhere when that is done.
        sh("kill -HUP $(cat /run/libvirtd.pid); sleep 3; virsh -q uri > /dev/null
            for i in $(seq 100); do
                { iptables-save; nft list ruleset; } | grep -q '10.77.1.0/24.*[mM][aA][sS][qQ]' && break
                sleep 0.1
            done");
    }

    pub(super) fn restart_network(&self) {
        self.stop_network();
        self.start_network();
    }

    pub(super) fn stop_network(&self) {
        sh("virsh -q net-destroy fwa");
    }

    pub(super) fn start_network(&self) {
        sh("virsh -q net-start fwa");
        self.plug();
    }

    /// Puts the cables of the guests in again: a bridge that is gone has let them go.
    pub(super) fn plug(&self) {
        for (name, bridge, ..) in GUESTS {
            sh(&format!("ip link set v-{name} up master {bridge}"));
        }
    }

    /// Takes a guest's cable out.
    pub(super) fn unplug(&self, guest: &str) {
        sh(&format!(
            "ip link set v-{guest} nomaster; ip link set v-{guest} down"
        ));
    }

    /// Gives a guest a new cable, as a new process of QEMU would; its own address and hardware
    /// address are the same.
    pub(super) fn restart_guest(&self, guest: &str) {
        let (_, bridge, net, last) = GUESTS.iter().find(|g| g.0 == guest).unwrap();
        sh(&format!(
            "mac=$(ip -n {guest} -o link show eth0 | sed 's/.*ether \\([0-9a-f:]*\\).*/\\1/')
             ip link del v-{guest}
             ip link add v-{guest} type veth peer name eth0 address $mac netns {guest}
             ip link set v-{guest} up master {bridge}; ip -n {guest} link set eth0 up
             ip -n {guest} addr add {net}.{last}/24 dev eth0
             ip -n {guest} route add default via {net}.1
             busybox ping -c 1 -W 2 {net}.{last} > /dev/null"
        ));
    }

    /// Makes a network without a way out, and two guests in it that know none.
    pub(super) fn isolate(&self) -> Isolated {
        sh(
            "echo '<network><name>fwd</name><bridge name=\"kvmfwd\" stp=\"off\"/>\
            <ip address=\"10.77.4.1\" prefix=\"24\"/></network>' > /run/fw/fwd.xml
            virsh -q net-define /run/fw/fwd.xml > /dev/null; virsh -q net-start fwd
            for guest in alone:10 mate:11; do
                name=${guest%:*}
                ip netns add $name
                ip link add v-$name type veth peer name eth0 netns $name
                ip link set v-$name up master kvmfwd
                ip -n $name link set lo up; ip -n $name link set eth0 up
                ip -n $name addr add 10.77.4.${guest#*:}/24 dev eth0
            done
            ip -n out route add 10.77.4.0/24 via 203.0.113.1",
        );
        let sockets = ["tcp/0.0.0.0:80", "udp/0.0.0.0:80"];
        Isolated {
            _server: Server::start(Some("alone"), "alone", &sockets),
        }
    }

    pub(super) fn start_another_network(&self) {
        define("fwc", "kvmfwc", 3);
        sh("virsh -q net-start fwc");
    }

    /// Takes away every rule, as a firewall's service does that starts anew.
    pub(super) fn flush(&self) {
        match self.backend {
            Backend::Iptables => sh(
                "for t in filter nat mangle raw; do iptables -t $t -F; iptables -t $t -X; done 2>/dev/null || true",
            ),
            Backend::Nftables => sh("nft flush ruleset"),
        };
    }
}

/// A network without a way out; it is taken down with this value.
pub(super) struct Isolated {
    _server: Server,
}

impl Isolated {
    /// Returns the forward of `ports` to its guest.
    pub(super) fn mapping(&self, owner: Uid, ports: &str) -> Mapping {
        let segment = Segment {
            bridge: "kvmfwd".parse().unwrap(),
            subnet: "10.77.4.1/24".parse().unwrap(),
            libvirt: LibvirtRules::Isolated,
        };
        let guest: IpAddr = "10.77.4.10".parse().unwrap();
        Mapping::new(owner, &ports.parse().unwrap(), guest, segment, true).unwrap()
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        sh(
            "for n in alone mate; do ip netns del $n; ip link del v-$n 2>/dev/null || true; done
            virsh -q net-destroy fwd; virsh -q net-undefine fwd",
        );
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.servers.clear();
        sh("for n in web peer evil far out; do ip netns del $n 2>/dev/null || true; done
            ip link del v-out 2>/dev/null || true
            for n in fwa fwb fwc; do virsh -q net-destroy $n; virsh -q net-undefine $n; done 2>/dev/null || true");
    }
}

fn define(name: &str, bridge: &str, number: u8) {
    let xml = format!(
        "<network><name>{name}</name><forward mode=\"nat\"/><bridge name=\"{bridge}\" stp=\"off\"/>\
         <ip address=\"10.77.{number}.1\" prefix=\"24\"><dhcp>\
         <range start=\"10.77.{number}.100\" end=\"10.77.{number}.120\"/></dhcp></ip>\
         <ip family=\"ipv6\" address=\"fd00:77:{number}::1\" prefix=\"64\"/></network>"
    );
    sh(&format!(
        "echo '{xml}' > /run/fw/{name}.xml; virsh -q net-define /run/fw/{name}.xml > /dev/null"
    ));
}

fn stop_daemon() {
    sh(
        "pid=$(cat /run/libvirtd.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done",
    );
}

/// The kernel of a test machine may lack what libvirt asks of `tc`, so that one does nothing.
fn start_daemon() {
    sh(
        "PATH=/run/fw/bin:$PATH libvirtd -d < /dev/null > /dev/null 2>&1
        for i in $(seq 100); do timeout 5 virsh -q uri > /dev/null 2>&1 && break; sleep 0.1; done
        virsh -q net-list > /dev/null",
    );
}
