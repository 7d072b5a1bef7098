//! Everything that can be written, read by the real nginx.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::home::Generation;
use super::*;
use crate::api::{LoadBalancer, ResolvedTarget, Uid};
use crate::host::Tool;
use crate::host::render::nginx::{Instance, WorkerUser, main_file};

fn balancer(spec: Value, annotation: &str) -> ResolvedBalancer {
    let object: LoadBalancer = serde_json::from_value(json!({
        "apiVersion": "kvmctl/v1",
        "kind": "LoadBalancer",
        "metadata": {"name": "lb", "uid": Uid::random(), "annotations": {"note": annotation}},
        "spec": spec,
    }))
    .unwrap();
    let port = object.spec.port.get();
    let targets = object.spec.targets.iter().enumerate();
    ResolvedBalancer {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], port))],
        redirect: object
            .spec
            .redirect_port()
            .map(|p| SocketAddr::from(([127, 0, 0, 1], p.get())))
            .into_iter()
            .collect(),
        targets: targets
            .map(|(n, target)| ResolvedTarget {
                target: target.clone(),
                address: Ok(SocketAddr::from((
                    [10, 9, (n / 250) as u8, (n % 250) as u8 + 1],
                    80,
                ))),
                out: false,
            })
            .collect(),
        object,
    }
}

/// A certificate of its own, with its key.
fn certificate(folder: &std::path::Path) -> Value {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let openssl = Tool::find(&["openssl"], "openssl").unwrap();
    let words =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=test";
    let mut args: Vec<&str> = words.split(' ').collect();
    args.extend([
        "-keyout",
        key.to_str().unwrap(),
        "-out",
        cert.to_str().unwrap(),
    ]);
    openssl.run(&args, b"", None).unwrap();
    json!({"certificateFile": cert, "keyFile": key})
}

/// Writes the balancers as a generation and lets nginx read it.
fn test(folder: &std::path::Path, all: &[ResolvedBalancer]) -> Result<(), NginxError> {
    let home = Home::new(folder.join("store-balancers"));
    let _locked = home.lock()?;
    let binary = Binary::find()?;
    let sites: Vec<Site> = all.iter().map(|b| Site::render(b).unwrap()).collect();
    let sites: Vec<&Site> = sites.iter().collect();
    let instance = Instance {
        stream: Some(binary.stream()?),
        stream_tls: binary.stream_tls(),
        user: WorkerUser::Caller,
        generation: [1; 32],
    };
    let generation = Generation::of(&instance.generation);
    home.stage(&generation, &main_file(&instance, &sites), &sites)?;
    let result = binary.test(home.path(), &generation.main_file());
    home.remove()?;
    result
}

#[test]
fn nginx_takes_all_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let mut all = Vec::new();
    let mut port = 21000;
    let mut add = |spec: Value| {
        port += 2;
        let mut spec = spec;
        spec["port"] = json!(port);
        all.push(balancer(spec, ""));
    };
    let targets = |count: usize| -> Vec<Value> {
        let one = |n| json!({"instance": format!("i{n}"), "port": 80, "weight": n % 7 + 1});
        (0..count).map(one).collect()
    };
    for algorithm in [
        "round-robin",
        "least-conn",
        "ip-hash",
        "random-two",
        "consistent-hash",
    ] {
        for protocol in ["http", "tcp", "udp"] {
            for count in [0, 1, 2, 300] {
                add(
                    json!({"algorithm": algorithm, "protocol": protocol, "targets": targets(count)}),
                );
            }
        }
    }
    let backup =
        json!([{"instance": "a", "port": 80}, {"instance": "b", "port": 80, "backup": true}]);
    let alone = json!([{"instance": "b", "port": 80, "backup": true}]);
    let drained = json!([{"instance": "a", "port": 80, "drain": true}]);
    for targets in [backup, alone, drained] {
        add(json!({"targets": targets}));
        add(json!({"targets": targets, "protocol": "tcp", "proxyProtocol": true}));
    }
    for http in [
        json!({"redirectToHttps": port_above(20000)}),
        json!({"hostnames": ["a.example", "*.example.org"], "websocket": false}),
        json!({"maxBodySize": "900T", "timeouts": {"connect": "1ms", "read": "9999999h", "send": "0s"}}),
    ] {
        add(json!({"tls": tls, "http": http, "targets": targets(1)}));
    }
    add(json!({"tls": tls, "protocol": "tcp", "targets": targets(2)}));
    let names: Vec<String> = (0..200)
        .map(|n| format!("{}.example", "x".repeat(60 - n % 9) + &n.to_string()))
        .map(|n| {
            n[n.len().saturating_sub(70)..]
                .trim_start_matches('x')
                .to_owned()
        })
        .collect();
    add(json!({"http": {"hostnames": names}, "targets": targets(1)}));
    all.push(balancer(
        json!({"port": 20999, "targets": targets(1)}),
        &"} ; # \n $x \" ".repeat(9000),
    ));
    test(folder.path(), &all).unwrap();
}

const fn port_above(port: u16) -> u16 {
    port + 998
}

#[test]
fn what_nginx_refuses_is_told_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let tls = json!({"certificateFile": "/nowhere/cert.pem", "keyFile": "/nowhere/key.pem"});
    let broken = balancer(json!({"port": 20001, "tls": tls}), "");
    let error = test(folder.path(), std::slice::from_ref(&broken)).unwrap_err();
    assert!(
        matches!(&error, NginxError::Rejected { said } if said.contains("/nowhere/cert.pem")),
        "{error}"
    );
    let site = Site::render(&broken).unwrap();
    let sites = BTreeMap::from([(site.uid, site.clone())]);
    assert_eq!(culprit(&error, &sites), Some(site.uid), "{error}");
    let said = format!(
        "directive is not terminated in /x/conf.12/sites/{}:3",
        site.file
    );
    assert_eq!(
        culprit(&NginxError::Rejected { said }, &sites),
        Some(site.uid)
    );
}

#[test]
fn the_directory_lies_beside_the_store() {
    let home = |store: &str| Nginx::beside(&PathBuf::from(store)).home().to_owned();
    assert_eq!(
        home("/var/lib/kvmctl"),
        PathBuf::from("/var/lib/kvmctl-balancers")
    );
    assert_eq!(home("/h/s/qemu-x/"), PathBuf::from("/h/s/qemu-x-balancers"));
}
