//! A host with a bridge, and targets on it.
//!
//! ```text
//! host 10.78.1.1 ── a 10.78.1.11, b 10.78.1.12, c 10.78.1.13
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use kvmctl::api::{LoadBalancer, ResolvedBalancer, ResolvedTarget, Uid, Unresolved};
use kvmctl::host::nginx::Nginx;
use serde_json::{Value, json};

use super::target::Server;

/// One host: one rig at a time.
static TURN: Mutex<()> = Mutex::new(());

pub(super) const TARGETS: [&str; 3] = ["a", "b", "c"];
/// A namespace that is removed takes its interfaces along, but not at once.
const CLEAN: &str = "for n in a b c; do ip link del v-$n; ip netns del $n; done 2>/dev/null || true
    ip link del kvmlb 2>/dev/null || true";
pub(super) const HOST: &str = "10.78.1.1";

/// The host; it is taken down with this value.
pub(super) struct Rig {
    pub(super) nginx: Nginx,
    dir: tempfile::TempDir,
    pub(super) servers: BTreeMap<&'static str, Server>,
    _turn: MutexGuard<'static, ()>,
}

impl Rig {
    /// Builds it without a balancer.
    pub(super) fn new() -> Self {
        assert!(
            std::env::var_os("KVMCTL_PRIVATE_HOST").is_some(),
            "these tests need the private host: ./tests/run.sh balancers"
        );
        let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
        sh(&format!(
            "{CLEAN}
             ip link add kvmlb type bridge; ip link set kvmlb up; ip addr add {HOST}/24 dev kvmlb
             echo 1024 65000 > /proc/sys/net/ipv4/ip_local_port_range"
        ));
        for (n, name) in TARGETS.iter().enumerate() {
            sh(&format!(
                "ip netns add {name}
                 ip link add v-{name} type veth peer name eth0 netns {name}
                 ip link set v-{name} up master kvmlb
                 ip -n {name} link set lo up; ip -n {name} link set eth0 up
                 ip -n {name} addr add 10.78.1.{}/24 dev eth0
                 ip -n {name} route add default via {HOST}",
                11 + n
            ));
        }
        let dir = tempfile::tempdir().unwrap();
        Self {
            nginx: Nginx::beside(&dir.path().join("store")),
            dir,
            servers: TARGETS
                .iter()
                .map(|name| (*name, Server::start(name)))
                .collect(),
            _turn: turn,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a certificate for `name` and returns what a spec says of it.
    pub(super) fn certificate(&self, name: &str) -> Value {
        let file = |end: &str| self.path(&format!("{name}.{end}"));
        sh(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
             -subj /CN={name} -addext subjectAltName=DNS:{name} -keyout {} -out {} 2>/dev/null",
            file("key").display(),
            file("pem").display()
        ));
        json!({"certificateFile": file("pem"), "keyFile": file("key")})
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let all: Vec<Uid> = recorded(&self.nginx);
        // A test that failed leaves nothing to the next.
        let _ = self.nginx.change(&[], &all);
        self.servers.clear();
        let _ = Command::new("bash")
            .args([
                "-c",
                "for n in a b c; do ip netns del $n; done; ip link del kvmlb",
            ])
            .status();
    }
}

/// Returns the balancers whose files are in force.
pub(super) fn recorded(nginx: &Nginx) -> Vec<Uid> {
    let all = nginx.recorded().unwrap_or_default();
    all.iter().filter_map(|r| r.object.metadata.uid).collect()
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

/// A balancer whose targets are where the namespaces of their names are.
pub(super) fn balancer(name: &str, spec: Value) -> ResolvedBalancer {
    let object: LoadBalancer = serde_json::from_value(json!({
        "apiVersion": "kvmctl/v1",
        "kind": "LoadBalancer",
        "metadata": {"name": name, "uid": Uid::random()},
        "spec": spec,
    }))
    .unwrap();
    resolve(object)
}

/// The same balancer with another spec.
pub(super) fn changed(before: &ResolvedBalancer, spec: Value) -> ResolvedBalancer {
    let mut object = before.object.clone();
    object.spec = serde_json::from_value(spec).unwrap();
    resolve(object)
}

/// Looks the targets up.
pub(super) fn resolve(object: LoadBalancer) -> ResolvedBalancer {
    let spec = &object.spec;
    let at = |port: u16| SocketAddr::new(spec.address.unwrap_or([0, 0, 0, 0].into()), port);
    let targets = spec.targets.iter().map(|target| {
        let index = TARGETS.iter().position(|t| *t == target.instance.as_str());
        let host = index.map(|n| [10, 78, 1, 11 + n as u8]);
        ResolvedTarget {
            target: target.clone(),
            address: host
                .map(|host| SocketAddr::from((host, target.port.get())))
                .ok_or_else(|| Unresolved {
                    reason: "NotFound".to_owned(),
                    message: "no such instance".to_owned(),
                }),
            out: false,
        }
    });
    ResolvedBalancer {
        targets: targets.collect(),
        listen: vec![at(spec.port.get())],
        redirect: spec
            .redirect_port()
            .map(|p| at(p.get()))
            .into_iter()
            .collect(),
        object,
    }
}

/// Targets that speak HTTP.
pub(super) fn http(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| json!({"instance": name, "port": 80}))
        .collect()
}

/// Asks for a path and returns status and body; each time on a connection of its own.
pub(super) fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    request(
        port,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends a request on a connection of its own and returns status and body.
pub(super) fn request(port: u16, text: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((HOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let bad = || std::io::Error::other(format!("no whole answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(bad)?;
    Ok((status, body.to_owned()))
}

/// Asks often, and counts who answered.
#[track_caller]
pub(super) fn shares(port: u16, times: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..times {
        let (status, body) = get(port, "/").unwrap();
        assert_eq!(status, 200, "{body}");
        *shares.entry(body).or_insert(0) += 1;
    }
    shares
}

/// Returns what an instance's directory and processes are, for comparing.
pub(super) fn traces(home: &Path) -> String {
    sh(&format!(
        "find {0}* 2>/dev/null | sort || true; for p in /proc/[0-9]*; do
            [ \"$(readlink $p/cwd 2>/dev/null)\" = {0} ] && echo $p || true; done",
        home.display()
    ))
}
