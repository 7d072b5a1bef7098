//! Every rule of load balancers, by the message it gives; and what no field of theirs takes.

use serde_json::{Value, json};

use super::*;
use crate::manifest::{Strictness, parse};

fn problems(text: &str) -> Vec<String> {
    let found = match parse("a.yaml", text, Strictness::Strict) {
        Ok(parsed) => validate(&parsed.objects, Purpose::Apply).err(),
        Err(found) => Some(found),
    };
    let found = found.unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

fn told(spec: &str) -> String {
    let text = format!(
        "apiVersion: kvmctl/v1\nkind: LoadBalancer\nmetadata: {{name: web-lb}}\nspec:\n{spec}"
    );
    problems(&text).join("\n")
}

/// A balancer in which every field is set.
fn whole() -> Value {
    json!({
        "apiVersion": "kvmctl/v1",
        "kind": "LoadBalancer",
        "metadata": {"name": "web-lb", "labels": {"app": "shop"}},
        "spec": {
            "port": 443,
            "address": "127.0.0.1",
            "protocol": "http",
            "algorithm": "least-conn",
            "targets": [
                {"instance": "web1", "port": 8080, "weight": 3, "drain": false},
                {"instance": "web2", "port": 8080, "backup": true},
            ],
            "selector": {"matchLabels": {"app": "shop"}},
            "targetPort": 8080,
            "healthCheck": {
                "path": "/health", "interval": "10s", "timeout": "2s",
                "unhealthyThreshold": 3, "healthyThreshold": 2,
            },
            "tls": {"certificateFile": "/etc/web.pem", "keyFile": "/etc/web.key"},
            "http": {
                "hostnames": ["www.example.com", "*.example.org"],
                "redirectToHttps": 8080,
                "websocket": true,
                "maxBodySize": "64Mi",
                "timeouts": {"connect": "500ms", "read": "1m", "send": "60s"},
            },
            "proxyProtocol": false,
        },
    })
}

#[test]
fn a_good_balancer_has_no_problems() {
    assert_eq!(problems(&whole().to_string()), Vec::<String>::new());
    assert_eq!(told("  port: 80\n"), "");
    let tcp = "  {port: 5432, protocol: tcp, algorithm: ip-hash, proxyProtocol: true, targets: [{instance: db, port: 5432}], healthCheck: {interval: 5s}}\n";
    assert_eq!(told(tcp), "");
}

#[test]
fn every_rule_is_told_at_its_place() {
    insta::assert_snapshot!(told(
        "  port: 22
  address: 224.0.0.1
  algorithm: ip-hash
  targets:
  - {instance: web1, port: 80, backup: true}
  - {instance: web1, port: 80, weight: 0}
  - {instance: web2, port: 80, weight: 1001, backup: false}
  selector: {matchLabels: {}}
  healthCheck: {interval: 10ms, timeout: 2m, unhealthyThreshold: 0, healthyThreshold: 101}
  http:
    hostnames: [a.example, a.example]
    redirectToHttps: true
    timeouts: {read: 0s, send: 48h}
  proxyProtocol: true
"
    ), @r#"
    a.yaml:4:1: (document 1) spec.targetPort: not set, which a selector needs
    a.yaml:5:9: (document 1) spec.port: is the one by which one logs in to the host
    a.yaml:6:12: (document 1) spec.address: is no host's address
    a.yaml:9:40: (document 1) spec.targets[0].backup: nginx has no backups with ip-hash; they go with round-robin and least-conn
    a.yaml:10:5: (document 1) spec.targets[1]: "web1:80" is in the list already
    a.yaml:10:40: (document 1) spec.targets[1].weight: is between 1 and 1000
    a.yaml:11:40: (document 1) spec.targets[2].weight: is between 1 and 1000
    a.yaml:12:27: (document 1) spec.selector.matchLabels: selects nothing
    a.yaml:13:27: (document 1) spec.healthCheck.interval: is between 1s and 1h
    a.yaml:13:42: (document 1) spec.healthCheck.timeout: is between 10ms and 1m
    a.yaml:13:66: (document 1) spec.healthCheck.unhealthyThreshold: is between 1 and 100
    a.yaml:13:87: (document 1) spec.healthCheck.healthyThreshold: is between 1 and 100
    a.yaml:15:28: (document 1) spec.http.hostnames[1]: is in the list already
    a.yaml:16:22: (document 1) spec.http.redirectToHttps: goes with spec.tls
    a.yaml:17:22: (document 1) spec.http.timeouts.read: is between 1ms and 24h
    a.yaml:17:32: (document 1) spec.http.timeouts.send: is between 1ms and 24h
    a.yaml:18:18: (document 1) spec.proxyProtocol: goes with protocol tcp; over http targets find the client in X-Forwarded-For
    "#);
    insta::assert_snapshot!(told(
        "  port: 53
  protocol: udp
  targetPort: 53
  targets: [{instance: dns, port: 53, backup: true}]
  healthCheck: {path: /}
  tls: {certificateFile: /c.pem, keyFile: /k.pem}
  http: {websocket: false}
"
    ), @r"
    a.yaml:7:15: (document 1) spec.targetPort: goes with a selector
    a.yaml:8:12: (document 1) spec.targets: all are backups: one at least has to answer first
    a.yaml:9:16: (document 1) spec.healthCheck: a target of protocol udp need not answer, so that it cannot be asked
    a.yaml:10:8: (document 1) spec.tls: goes with protocol http or tcp
    a.yaml:11:9: (document 1) spec.http: goes with protocol http
    ");
    insta::assert_snapshot!(told(
        "  port: 443
  tls: {certificateFile: /c.pem, keyFile: /k.pem}
  http: {redirectToHttps: 443}
"
    ), @"a.yaml:7:27: (document 1) spec.http.redirectToHttps: is the balancer's own port, where TLS is spoken");
}

#[test]
fn unknown_words_are_told_with_those_that_are_known() {
    insta::assert_snapshot!(told("  {port: 80, algorithm: fastest}\n"), @r#"a.yaml:5:25: (document 1) spec.algorithm: "fastest" is not one of round-robin, least-conn, ip-hash, random-two, consistent-hash"#);
    insta::assert_snapshot!(told("  {port: 80, protocol: sctp}\n"), @r#"a.yaml:5:24: (document 1) spec.protocol: "sctp" is not one of http, tcp, udp"#);
    insta::assert_snapshot!(told("  {port: 70000}\n"), @"a.yaml:5:10: (document 1) spec.port: 70000 is no port: a port is a number between 1 and 65535");
    insta::assert_snapshot!(told("  {port: 0}\n"), @"a.yaml:5:10: (document 1) spec.port: 0 is no port: a port is a number between 1 and 65535");
}

#[test]
fn balancers_of_one_run_share_ports_by_name_only() {
    let both = |a: &str, b: &str| {
        let one = |name: &str, spec: &str| {
            format!(
                "---\napiVersion: kvmctl/v1\nkind: LoadBalancer\nmetadata: {{name: {name}}}\nspec: {spec}\n"
            )
        };
        problems(&format!("{}{}", one("a", a), one("b", b))).join("\n")
    };
    let named = "{port: 80, http: {hostnames: [a.example]}}";
    assert_eq!(both("{port: 80}", named), "");
    insta::assert_snapshot!(both("{port: 80}", "{port: 80}"), @"a.yaml:10:14: (document 2) spec.port: loadbalancer/a at a.yaml:4 (document 1) takes the port for every host name: give one of both http.hostnames");
    insta::assert_snapshot!(both(named, named), @"a.yaml:10:14: (document 2) spec.port: loadbalancer/a at a.yaml:4 (document 1) answers to a.example at the port already");
    let forward = "---\napiVersion: kvmctl/v1\nkind: PortForward\nmetadata: {name: f}\nspec: {instance: web, hostPort: 8080, guestPort: 80}\n";
    let balancer =
        "---\napiVersion: kvmctl/v1\nkind: LoadBalancer\nmetadata: {name: a}\nspec: {port: 8080}\n";
    insta::assert_snapshot!(problems(&format!("{forward}{balancer}")).join("\n"), @"a.yaml:10:14: (document 2) spec.port: forward/f at a.yaml:4 (document 1) takes port *:8080/tcp, too");
}

/// What nginx would read as more than a word.
const HOSTILE: [&str; 12] = [
    "x; } server { listen 9; root /; autoindex on; server_name y",
    "x{",
    "x}",
    "x;",
    "x\ny",
    "x\r\ninclude /etc/passwd;",
    "x # y",
    "$host",
    "${request_uri}",
    "x\"y",
    "x'y",
    "x\\",
];

/// Paths of everything in a value that is no mapping and no list.
fn leaves(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                leaves(&format!("{at}/{}", key.replace('/', "~1")), value, found);
            }
        }
        Value::Array(list) => {
            for (n, value) in list.iter().enumerate() {
                leaves(&format!("{at}/{n}"), value, found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn no_field_takes_what_nginx_would_read_as_more_than_a_word() {
    let mut places = Vec::new();
    leaves("", &whole(), &mut places);
    assert!(places.len() > 30, "{places:?}");
    for place in &places {
        for text in HOSTILE {
            for text in [text.to_owned(), format!("/{text}"), format!("a.b{text}")] {
                let mut object = whole();
                *object.pointer_mut(place).unwrap() = json!(text);
                let found = problems(&object.to_string());
                assert!(!found.is_empty(), "{place} takes {text:?}");
            }
        }
    }
}

#[test]
fn no_name_of_a_field_is_taken_that_is_not_known() {
    for place in [
        "/spec",
        "/spec/targets/0",
        "/spec/http",
        "/spec/tls",
        "/spec/healthCheck",
    ] {
        for text in HOSTILE.into_iter().chain(["include", "snippet"]) {
            let mut object = whole();
            let map = object
                .pointer_mut(place)
                .and_then(Value::as_object_mut)
                .unwrap();
            map.insert(text.to_owned(), json!("x"));
            assert!(
                !problems(&object.to_string()).is_empty(),
                "{place} takes {text:?}"
            );
        }
    }
    for place in ["/metadata/labels", "/spec/selector/matchLabels"] {
        for text in HOSTILE {
            let mut object = whole();
            let map = object
                .pointer_mut(place)
                .and_then(Value::as_object_mut)
                .unwrap();
            map.insert(text.to_owned(), json!("x"));
            assert!(
                !problems(&object.to_string()).is_empty(),
                "{place} takes {text:?}"
            );
        }
    }
}
