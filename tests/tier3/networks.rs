//! Instances in several networks: what their guests see.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::host::{apply, expect_no_trace, field, guest_env, host, instance};
use crate::support::Env;

/// A bridge of the host with a DHCP server that is none of libvirt's.
struct Lan {
    server: std::process::Child,
    leases: std::path::PathBuf,
}

impl Lan {
    fn start(env: &Env) -> Self {
        for line in [
            "link add t3br0 type bridge",
            "addr add 10.214.9.1/24 dev t3br0",
            "link set t3br0 up",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            env.run("ip", &words).ok();
        }
        let leases = env.path("leases");
        let file = format!("--dhcp-leasefile={}", leases.display());
        let fixed = [
            "--no-daemon",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            "--port=0",
            "--bind-interfaces",
            "--interface=t3br0",
            "--dhcp-authoritative",
            "--dhcp-range=10.214.9.10,10.214.9.50",
            &file,
        ];
        let mut command = std::process::Command::new("dnsmasq");
        let quiet = std::process::Stdio::null;
        let server = command.args(fixed).stdout(quiet()).stderr(quiet()).spawn();
        Self {
            server: server.unwrap(),
            leases,
        }
    }

    /// Waits until the server has given an address to a hardware address.
    #[track_caller]
    fn lease(&self, mac: &str) -> String {
        let begin = Instant::now();
        loop {
            let text = std::fs::read_to_string(&self.leases).unwrap_or_default();
            let line = text.lines().find(|l| l.contains(mac));
            if let Some(ip) = line.and_then(|l| l.split(' ').nth(2)) {
                return ip.to_owned();
            }
            assert!(
                begin.elapsed() < Duration::from_secs(120),
                "no lease: {text:?}"
            );
            thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        host("ip", &["link", "del", "t3br0"]);
    }
}

/// A network for one test, as others would make it: without slots.
struct Net(&'static str);

impl Net {
    fn start(env: &Env, name: &'static str, inside: &str) -> Self {
        let xml = format!("<network><name>{name}</name>{inside}</network>");
        let file = env.file(&format!("{name}.xml"), &xml).display().to_string();
        env.run("virsh", &["-q", "net-define", &file]).ok();
        env.run("virsh", &["-q", "net-start", name]).ok();
        Self(name)
    }

    fn nat(env: &Env, name: &'static str, net: u8) -> Self {
        let inside = format!(
            "<forward mode='nat'/><ip address='10.214.{net}.1' netmask='255.255.255.0'><dhcp>\
             <range start='10.214.{net}.2' end='10.214.{net}.99'/></dhcp></ip>"
        );
        Self::start(env, name, &inside)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        host("virsh", &["-q", "net-destroy", self.0]);
        host("virsh", &["-q", "net-undefine", self.0]);
    }
}

/// Asks the guest itself which interfaces it has, until the answer is as expected.
#[track_caller]
fn guest_has(address: &str, expected: &[&str]) {
    let begin = Instant::now();
    let url = format!("http://{address}/cgi-bin/info");
    loop {
        let told = host("curl", &["-s", "--max-time", "3", &url]);
        let nics: Vec<&str> = told.lines().filter(|l| l.starts_with("nic=")).collect();
        let fits = nics.len() == expected.len()
            && nics
                .iter()
                .zip(expected)
                .all(|(nic, ip)| nic.contains(&format!("{ip}/")));
        if fits {
            return;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(90),
            "{expected:?}: {told:?}"
        );
        thread::sleep(Duration::from_millis(500));
    }
}

fn with_networks(name: &str, networks: &serde_json::Value) -> serde_json::Value {
    let more = json!({"memory": "96Mi", "disk": "64Mi", "networks": networks});
    instance(name, "tiny", &more)
}

#[test]
fn a_running_guest_gets_an_interface_and_lets_go_of_it() {
    let env = guest_env();
    let _net = Net::nat(&env, "t3-blue", 1);
    let name = "plugged";
    apply(
        &env,
        &with_networks(name, &json!([{"name": "default"}])),
        &["--no-wait"],
    )
    .ok();
    let first = field(&env, name, ".status.address");
    guest_has(&first, &[&first]);

    let attach = [
        "instances",
        "attach-network",
        name,
        "t3-blue",
        "--ip",
        "10.214.1.200",
    ];
    env.kvmctl(attach).ok().says("10.214.1.200");
    guest_has(&first, &[&first, "10.214.1.200"]);
    guest_has("10.214.1.200", &[&first, "10.214.1.200"]);
    let all = field(&env, name, ".status.addresses[*].address");
    assert_eq!(all, format!("{first} 10.214.1.200"));
    let again = env.kvmctl(["get", "instance", name, "-o", "yaml"]).ok();
    let file = env
        .file("printed.yaml", &again.stdout)
        .display()
        .to_string();
    env.kvmctl(["diff", "-f", &file]).ok();
    // The manifest of before says nothing of the new one, and keeps it.
    apply(
        &env,
        &with_networks(name, &json!([{"name": "default"}])),
        &[],
    )
    .ok()
    .prints("unchanged");

    env.kvmctl(["instances", "detach-network", name, "t3-blue"])
        .ok();
    guest_has(&first, &[&first]);
    let xml = host("virsh", &["-q", "net-dumpxml", "t3-blue"]);
    assert!(!xml.contains("10.214.1.200"), "{xml}");
    for which in [&["domiflist", name][..], &["domiflist", name, "--inactive"]] {
        let list = host("virsh", which);
        assert!(!list.contains("t3-blue"), "{list}");
    }

    // A changed manifest does the same.
    let both = json!([{"name": "default"}, {"name": "t3-blue", "ip": "10.214.1.201"}]);
    apply(&env, &with_networks(name, &both), &[])
        .ok()
        .prints("configured");
    guest_has(&first, &[&first, "10.214.1.201"]);
    let moved = json!([{"name": "default"}, {"name": "t3-blue", "ip": "10.214.1.202"}]);
    apply(&env, &with_networks(name, &moved), &[])
        .ok()
        .prints("configured");
    guest_has(&first, &[&first, "10.214.1.202"]);
    apply(
        &env,
        &with_networks(name, &json!([{"name": "default"}])),
        &[],
    )
    .ok()
    .prints("configured");
    guest_has(&first, &[&first]);

    env.kvmctl(["delete", "instance", name, "--now"]).ok();
    expect_no_trace(name);
}

#[test]
fn an_address_is_given_once() {
    let env = guest_env();
    let _net = Net::nat(&env, "t3-once", 2);
    let taken = |n: usize| {
        let networks = json!([
            {"name": "default"},
            {"name": "t3-once", "ip": "10.214.2.150", "mac": "52:54:00:0a:0b:0c"},
        ]);
        with_networks(&format!("once-{n}"), &networks)
    };
    let statuses: Vec<i32> = thread::scope(|scope| {
        let create = |n| apply(&env, &taken(n), &["--no-wait"]).status;
        let runs: Vec<_> = (0..4).map(|n| scope.spawn(move || create(n))).collect();
        runs.into_iter().map(|r| r.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|s| **s == 0).count(),
        1,
        "{statuses:?}"
    );
    let xml = host("virsh", &["-q", "net-dumpxml", "t3-once"]);
    assert_eq!(xml.matches("ip='10.214.2.150'/>").count(), 1, "{xml}");
    // Its names are for whoever made the network to give.
    assert!(!xml.contains("<host ip='10.214.2.150'>"), "{xml}");
    let names = env.kvmctl(["get", "instances", "-o", "name"]).ok();
    let made = names
        .stdout
        .lines()
        .filter(|l| l.starts_with("instance/once-"));
    for made in made {
        env.kvmctl(["delete", made, "--now"]).ok();
    }
    let xml = host("virsh", &["-q", "net-dumpxml", "t3-once"]);
    assert!(!xml.contains("10.214.2.150"), "{xml}");
    (0..4).for_each(|n| expect_no_trace(&format!("once-{n}")));
}

#[test]
fn a_guest_on_a_bridge_is_found_although_libvirt_gives_it_no_address() {
    let env = guest_env();
    let lan = Lan::start(&env);
    let bridge = "<forward mode='bridge'/><bridge name='t3br0'/>";
    let _net = Net::start(&env, "t3-lan", bridge);
    let wish = json!([{"name": "t3-lan", "ip": "10.214.9.77"}]);
    apply(&env, &with_networks("bridged", &wish), &["--no-wait"])
        .code(2)
        .says("cannot be reserved");
    let alone = json!([{"name": "t3-lan"}]);
    apply(&env, &with_networks("bridged", &alone), &["--no-wait"]).ok();
    let mac = host("virsh", &["-q", "domiflist", "bridged"]);
    let mac = mac.split_whitespace().nth(4).unwrap().to_owned();
    env.kvmctl(["ssh", "bridged", "--", "true"])
        .code(5)
        .says("libvirt gives no addresses in network \"t3-lan\"");
    let address = lan.lease(&mac);
    guest_has(&address, &[&address]);
    // libvirt passes over a neighbour that the kernel is about to ask again.
    let begin = Instant::now();
    while field(&env, "bridged", ".status.address") != address {
        assert!(begin.elapsed() < Duration::from_secs(60), "{address}");
        thread::sleep(Duration::from_secs(1));
    }
    let network = field(&env, "bridged", ".status.addresses[0].network");
    let source = field(&env, "bridged", ".status.addresses[0].source");
    assert_eq!((network.as_str(), source.as_str()), ("t3-lan", "arp"));
    env.kvmctl(["instances", "ip", "bridged"])
        .ok()
        .prints(&address);
    env.kvmctl(["delete", "instance", "bridged", "--now"]).ok();
    expect_no_trace("bridged");
}
