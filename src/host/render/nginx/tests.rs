//! What is written, and that no text of anybody's becomes more than one word of it.

use std::net::SocketAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::{LoadBalancer, Protocol, ResolvedBalancer, ResolvedTarget, Unresolved};

const UID: &str = "1a2b3c4d-0000-4000-8000-00000000000a";

fn object(spec: Value) -> Value {
    json!({
        "apiVersion": "kvmctl/v1",
        "kind": "LoadBalancer",
        "metadata": {"name": "web-lb", "uid": UID},
        "spec": spec,
    })
}

/// Every target of the list is at 10.0.0.1, 10.0.0.2…, but one whose instance is `lost`.
fn resolved(object: LoadBalancer) -> ResolvedBalancer {
    let at = |n: usize, port: u16| SocketAddr::from(([10, 0, 0, n as u8 + 1], port));
    let targets = object.spec.targets.iter().enumerate();
    let targets = targets.map(|(n, target)| ResolvedTarget {
        target: target.clone(),
        address: if target.instance.as_str() == "lost" {
            Err(Unresolved {
                reason: "NotFound".to_owned(),
                message: "no such instance".to_owned(),
            })
        } else {
            Ok(at(n, target.port.get()))
        },
        out: false,
    });
    let ip = object.spec.address.unwrap_or([0, 0, 0, 0].into());
    let listen = |port: u16| SocketAddr::new(ip, port);
    let redirect = object.spec.redirect_port();
    ResolvedBalancer {
        targets: targets.collect(),
        listen: vec![listen(object.spec.port.get())],
        redirect: redirect.map(|p| listen(p.get())).into_iter().collect(),
        object,
    }
}

fn balancer(spec: Value) -> ResolvedBalancer {
    resolved(serde_json::from_value(object(spec)).unwrap())
}

fn text(spec: Value) -> String {
    let site = Site::render(&balancer(spec)).unwrap();
    let lines = site.text.lines().filter(|l| !l.starts_with("#= "));
    lines.map(|l| format!("{l}\n")).collect()
}

fn instance() -> Instance {
    Instance {
        stream: Some(StreamModule::BuiltIn),
        stream_tls: true,
        user: WorkerUser::Caller,
        generation: [0xab; 32],
    }
}

#[test]
fn a_balancer_is_written_as_one_writes_it_by_hand() {
    let written = text(json!({
        "port": 80,
        "algorithm": "least-conn",
        "targets": [
            {"instance": "web1", "port": 8080, "weight": 3},
            {"instance": "web2", "port": 8080, "backup": true},
            {"instance": "lost", "port": 8080},
            {"instance": "old", "port": 8080, "drain": true},
        ],
        "http": {"hostnames": ["www.example.com", "*.example.org"], "timeouts": {"read": "5m"}},
    }));
    insta::assert_snapshot!(written, @r#"
    # Made by kvmctl, which undoes what is changed here by hand.
    upstream kvmctl_1a2b3c4d00004000800000000000000a {
        zone kvmctl_1a2b3c4d00004000800000000000000a 64k;
        least_conn;
        server 10.0.0.1:8080 weight=3 max_fails=1 fail_timeout=10s;
        server 10.0.0.2:8080 max_fails=1 fail_timeout=10s backup;
        keepalive 32;
        keepalive_timeout 4s;
    }
    server {
        listen 0.0.0.0:80;
        server_name www.example.com *.example.org;
        access_log logs/1a2b3c4d-0000-4000-8000-00000000000a.gz kvmctl_count gzip=1 buffer=4k flush=1s;
        client_max_body_size 67108864;
        location / {
            proxy_pass http://kvmctl_1a2b3c4d00004000800000000000000a;
            proxy_connect_timeout 5000ms;
            proxy_read_timeout 300000ms;
            proxy_send_timeout 60000ms;
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header Upgrade $kvmctl_upgrade;
            proxy_set_header Connection $kvmctl_connection;
        }
    }
    "#);
}

#[test]
fn backups_step_in_where_there_is_nobody_else() {
    let backups = text(json!({"port": 80, "targets": [
        {"instance": "lost", "port": 80}, {"instance": "b", "port": 80, "backup": true},
    ]}));
    assert!(
        backups.contains("server 10.0.0.2:80 max_fails=1 fail_timeout=10s;"),
        "{backups}"
    );
    for (protocol, answer) in [
        ("http", "return 503;"),
        ("tcp", "return \"\";"),
        ("udp", "return \"\";"),
    ] {
        let nobody = text(json!({
            "port": 80, "protocol": protocol, "targets": [{"instance": "lost", "port": 80}],
        }));
        assert!(
            nobody.contains(answer) && !nobody.contains("upstream"),
            "{nobody}"
        );
    }
}

#[test]
fn tls_is_where_it_belongs() {
    let tls = json!({"certificateFile": "/etc/ssl/a.pem", "keyFile": "/etc/ssl/a.key"});
    let redirect = text(json!({
        "port": 8443, "tls": tls, "targets": [{"instance": "a", "port": 80}],
        "http": {"redirectToHttps": 8081},
    }));
    for line in [
        "listen 0.0.0.0:8443 ssl default_server;",
        "ssl_certificate /etc/ssl/a.pem;",
        "error_page 497 =308 https://$host:8443$request_uri;",
        "listen 0.0.0.0:8081 default_server;",
        "return 308 https://$host:8443$request_uri;",
    ] {
        assert!(redirect.contains(line), "{line}: {redirect}");
    }
    let usual = text(json!({"port": 443, "tls": tls, "http": {"redirectToHttps": true}}));
    assert!(
        usual.contains("return 308 https://$host$request_uri;"),
        "{usual}"
    );
    let stream = text(json!({
        "port": 5432, "protocol": "tcp", "tls": tls, "proxyProtocol": true,
        "targets": [{"instance": "a", "port": 5432}], "algorithm": "ip-hash",
    }));
    for line in [
        "listen 0.0.0.0:5432 so_keepalive=on ssl;",
        "proxy_protocol on;",
        "hash $remote_addr;",
    ] {
        assert!(stream.contains(line), "{line}: {stream}");
    }
}

#[test]
fn names_that_nobody_has_get_an_answer_of_their_own() {
    let named = |spec: Value, uid: &str| {
        let mut object = object(spec);
        object["metadata"]["uid"] = json!(uid);
        Site::render(&resolved(serde_json::from_value(object).unwrap())).unwrap()
    };
    let (one, two) = (UID, "2a2b3c4d-0000-4000-8000-00000000000a");
    let first = named(
        json!({"port": 80, "http": {"hostnames": ["a.example"]}}),
        one,
    );
    let second = named(
        json!({"port": 80, "http": {"hostnames": ["b.example"]}}),
        two,
    );
    let main = main_file(&instance(), &[&first, &second]);
    assert_eq!(
        main.matches("listen 0.0.0.0:80 default_server;").count(),
        1,
        "{main}"
    );
    assert!(main.contains("return 404;"), "{main}");
    let rest = named(json!({"port": 80}), two);
    assert!(
        rest.text.contains("listen 0.0.0.0:80 default_server;"),
        "{}",
        rest.text
    );
    assert!(!main_file(&instance(), &[&first, &rest]).contains("return 404;"));
}

#[test]
fn a_file_carries_its_object() {
    let mut whole = object(json!({"port": 80, "targets": [{"instance": "a", "port": 80}]}));
    whole["metadata"]["annotations"] = json!({"note": "} # \n;$x".repeat(2000)});
    let mut wanted = resolved(serde_json::from_value(whole).unwrap());
    wanted.targets[0].out = true;
    let site = Site::render(&wanted).unwrap();
    assert!(site.text.lines().all(|l| l.len() < 1000));
    assert!(!site.text.contains("} # "));
    let read = Site::read(site.text.clone()).unwrap();
    assert_eq!(read, site);
    assert_eq!(read.recorded.object, wanted.object);
    assert_eq!(read.recorded.out.len(), 1);
    assert_eq!(read.file, "web-lb.1a2b3c4d.conf");
    let http: SocketAddr = "0.0.0.0:80".parse().unwrap();
    assert_eq!(
        read.sockets().into_iter().collect::<Vec<_>>(),
        [(Protocol::Tcp, http)]
    );
    for damaged in ["", "server {}", "#= !!!!", "#= e30="] {
        assert_eq!(Site::read(damaged.to_owned()), None, "{damaged}");
    }
}

/// Splits a configuration as nginx does, without its comments: words, `;`, `{` and `}`.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for line in text.lines().filter(|l| !l.trim_start().starts_with('#')) {
        let mut word = String::new();
        for c in line.chars() {
            match c {
                ' ' | '\t' | ';' | '{' | '}' => {
                    if !word.is_empty() {
                        tokens.push(std::mem::take(&mut word));
                    }
                    if !c.is_whitespace() {
                        tokens.push(c.to_string());
                    }
                }
                c => word.push(c),
            }
        }
        if !word.is_empty() {
            tokens.push(word);
        }
    }
    tokens
}

/// The words that begin a directive, in order.
fn directives(text: &str) -> Vec<String> {
    let all = tokens(text);
    let begins = |at: usize| at == 0 || matches!(all[at - 1].as_str(), ";" | "{" | "}");
    let words = all.iter().enumerate();
    words
        .filter(|(at, word)| begins(*at) && !matches!(word.as_str(), ";" | "{" | "}"))
        .map(|(_, word)| word.clone())
        .collect()
}

/// Each place where somebody's text stands, as a path into the object.
const PLACES: &[&str] = &[
    "/metadata/name",
    "/metadata/labels/app",
    "/metadata/annotations/note",
    "/spec/address",
    "/spec/algorithm",
    "/spec/protocol",
    "/spec/targets/0/instance",
    "/spec/selector/matchLabels/app",
    "/spec/healthCheck/path",
    "/spec/healthCheck/interval",
    "/spec/tls/certificateFile",
    "/spec/tls/keyFile",
    "/spec/http/hostnames/0",
    "/spec/http/maxBodySize",
    "/spec/http/timeouts/read",
];

fn full() -> Value {
    let mut value = object(json!({
        "port": 443, "address": "127.0.0.1", "protocol": "http", "algorithm": "round-robin",
        "targets": [{"instance": "web1", "port": 80}],
        "selector": {"matchLabels": {"app": "web"}}, "targetPort": 80,
        "healthCheck": {"path": "/", "interval": "10s"},
        "tls": {"certificateFile": "/a", "keyFile": "/b"},
        "http": {"hostnames": ["a.example"], "maxBodySize": "1Mi", "timeouts": {"read": "1s"}},
    }));
    value["metadata"]["labels"] = json!({"app": "web"});
    value["metadata"]["annotations"] = json!({"note": "text"});
    value
}

fn hostile() -> impl Strategy<Value = String> {
    let whole = prop::sample::select(vec![
        "x; } server { listen 9; root /; autoindex on; server_name y",
        "/x;include /etc/passwd",
        "/x\ninclude /etc/passwd;",
        "x y",
        "/$document_root",
        "1s; error_log /tmp/x",
        "web\"; load_module \"x.so",
        "127.0.0.1 { }",
        "a\\",
        "#",
    ]);
    let marks = "[a-z/.0-9 ;{}#$\"'\\\\\n\t*~]{0,24}";
    prop_oneof![
        whole.prop_map(str::to_owned),
        marks.prop_map(|s| s),
        any::<String>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn no_text_becomes_a_directive(place in prop::sample::select(PLACES.to_vec()), text in hostile()) {
        let mut value = full();
        *value.pointer_mut(place).unwrap() = json!(text);
        let Ok(object) = serde_json::from_value::<LoadBalancer>(value) else {
            return Ok(());
        };
        let is_http = object.spec.protocol() == crate::api::BalancerProtocol::Http;
        let benign: LoadBalancer = serde_json::from_value(full()).unwrap();
        let expected = Site::render(&resolved(benign)).unwrap();
        let written = Site::render(&resolved(object)).unwrap();
        let method = |d: &String| !["least_conn", "ip_hash", "hash", "random"].contains(&d.as_str());
        let of = |site: &Site| directives(&site.text).into_iter().filter(method).collect::<Vec<_>>();
        if is_http {
            prop_assert_eq!(of(&written), of(&expected), "{:?} at {}", text, place);
        }
        prop_assert!(written.file.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)));
        let main = directives(&main_file(&instance(), &[&written]));
        prop_assert_eq!(main, directives(&main_file(&instance(), &[&expected])));
    }
}
