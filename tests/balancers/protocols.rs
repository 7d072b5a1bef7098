//! What a balancer understands of what passes through it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{HOST, Rig, balancer, changed, get, http, request, sh};

fn on(port: u16, names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| json!({"instance": name, "port": port}))
        .collect()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((HOST, port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
}

fn say(stream: &mut TcpStream, text: &[u8]) -> String {
    stream.write_all(text).unwrap();
    let mut buffer = [0; 512];
    let length = stream.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn tls_ends_at_the_balancer_and_plain_clients_are_sent_there() {
    let rig = Rig::new();
    let spec = |tls: Value| {
        json!({
            "port": 8443, "tls": tls, "targets": http(&["a"]),
            "http": {"hostnames": ["web.test"], "redirectToHttps": 8081},
        })
    };
    let tls = rig.certificate("web.test");
    let lb = balancer("lb", spec(tls.clone()));
    rig.nginx.change(std::slice::from_ref(&lb), &[]).unwrap();
    let ca = rig.path("web.test.pem");
    let curl = |more: &str| {
        sh(&format!(
            "curl -s --cacert {} --resolve web.test:8443:{HOST} --resolve web.test:8081:{HOST} {more}",
            ca.display()
        ))
    };
    assert_eq!(curl("https://web.test:8443/"), "a");
    let told = curl("https://web.test:8443/head");
    assert!(
        told.contains("X-Forwarded-Proto: https") && told.contains("Host: web.test:8443"),
        "{told}"
    );
    let show = "-o /dev/null -w '%{http_code} %{redirect_url}'";
    let there = "308 https://web.test:8443/x?y=1";
    assert_eq!(curl(&format!("{show} 'http://web.test:8081/x?y=1'")), there);
    assert_eq!(curl(&format!("{show} 'http://web.test:8443/x?y=1'")), there);
    assert_eq!(
        curl(&format!(
            "{show} -k --resolve other.test:8443:{HOST} https://other.test:8443/"
        )),
        "404 "
    );
    // Renewed in its place, with the same names.
    let serial = || {
        sh(&format!(
            "echo | openssl s_client -connect {HOST}:8443 -servername web.test 2>/dev/null | openssl x509 -noout -serial"
        ))
    };
    let before = serial();
    rig.certificate("web.test");
    rig.nginx.converge(&[lb]).unwrap();
    assert_ne!(before, serial());
}

#[test]
fn balancers_share_a_port_by_name() {
    let rig = Rig::new();
    let named = |name: &str, host: &str, target: &str| {
        let spec = json!({"port": 8080, "targets": http(&[target]), "http": {"hostnames": [host]}});
        balancer(name, spec)
    };
    let (one, two) = (
        named("one", "one.test", "a"),
        named("two", "*.two.test", "b"),
    );
    rig.nginx.change(&[one.clone(), two.clone()], &[]).unwrap();
    let ask = |host: &str| {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, body) = request(8080, &text).unwrap();
        if status == 200 {
            body
        } else {
            status.to_string()
        }
    };
    assert_eq!(ask("one.test"), "a");
    assert_eq!(ask("x.two.test"), "b");
    assert_eq!(ask("other.test"), "404");
    rig.nginx
        .change(&[], &[one.object.metadata.uid.unwrap()])
        .unwrap();
    assert_eq!(ask("one.test"), "404");
    assert_eq!(ask("y.two.test"), "b");
    let rest = balancer("rest", json!({"port": 8080, "targets": http(&["c"])}));
    rig.nginx.change(&[rest], &[]).unwrap();
    assert_eq!(ask("one.test"), "c");
    assert_eq!(ask("y.two.test"), "b");
}

#[test]
fn a_request_may_become_a_websocket_and_stays_one_over_changes() {
    let rig = Rig::new();
    let spec = json!({"port": 8080, "targets": http(&["a"])});
    let lb = balancer("lb", spec);
    rig.nginx.change(std::slice::from_ref(&lb), &[]).unwrap();
    let upgrade =
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut stream = connect(8080);
    assert!(say(&mut stream, upgrade).starts_with("HTTP/1.1 101 "));
    assert_eq!(say(&mut stream, b"x"), "a");
    let without = json!({"port": 8080, "targets": http(&["b"]), "http": {"websocket": false}});
    rig.nginx.change(&[changed(&lb, without)], &[]).unwrap();
    assert_eq!(say(&mut stream, b"x"), "a", "what is open stays open");
    assert!(say(&mut connect(8080), upgrade).starts_with("HTTP/1.1 200 "));
    assert_eq!(rig.nginx.seen().unwrap().running.unwrap().retiring, 1);
    drop(stream);
}

#[test]
fn bodies_are_as_long_as_they_may_be() {
    let rig = Rig::new();
    let spec = json!({"port": 8080, "targets": http(&["a"]), "http": {"maxBodySize": "2Mi"}});
    rig.nginx.change(&[balancer("lb", spec)], &[]).unwrap();
    let post = |bytes: usize| {
        sh(&format!(
            "head -c {bytes} /dev/zero | curl -s -w ' %{{http_code}}' --data-binary @- http://{HOST}:8080/length"
        ))
    };
    // Longer than what a worker keeps in memory, so it must be able to write.
    assert_eq!(post(1 << 20), "1048576 200");
    assert!(post(3 << 20).ends_with(" 413"));
    let (_, head) = get(8080, "/head").unwrap();
    assert!(
        head.contains("X-Real-IP: 10.78.1.1") && !head.contains("Upgrade"),
        "{head}"
    );
}

#[test]
fn connections_and_packets_are_balanced_too() {
    let rig = Rig::new();
    let tcp = json!({"port": 9000, "protocol": "tcp", "targets": on(81, &["a", "b"])});
    let udp = json!({"port": 9000, "protocol": "udp", "targets": on(82, &["a", "b"])});
    let proxied =
        json!({"port": 9001, "protocol": "tcp", "targets": on(81, &["c"]), "proxyProtocol": true});
    let tls = rig.certificate("db.test");
    let secret = json!({"port": 9002, "protocol": "tcp", "targets": on(81, &["c"]), "tls": tls});
    let lost = json!({"port": 9003, "protocol": "tcp", "targets": on(81, &["nobody"])});
    let all = [tcp, udp, proxied, secret, lost];
    let all: Vec<_> = all
        .into_iter()
        .enumerate()
        .map(|(n, spec)| balancer(&format!("lb{n}"), spec))
        .collect();
    rig.nginx.change(&all, &[]).unwrap();
    let answers: BTreeSet<String> = (0..4).map(|_| say(&mut connect(9000), b"?")).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    let packet = || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut all = BTreeSet::new();
        for _ in 0..3 {
            socket.send_to(b"?", (HOST, 9000)).unwrap();
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            all.insert(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        assert_eq!(all.len(), 1, "one client, one target: {all:?}");
        all.pop_first().unwrap()
    };
    let answers: BTreeSet<String> = (0..12).map(|_| packet()).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(say(&mut connect(9001), b"?").starts_with("PROXY TCP4 10.78.1.1 10.78.1.1 "));
    let text = sh(&format!(
        "(echo -n x; sleep 0.5) | openssl s_client -quiet -connect {HOST}:9002 2>/dev/null"
    ));
    assert_eq!(text, "c");
    let mut closed = connect(9003);
    assert_eq!(closed.read(&mut [0]).unwrap_or(0), 0);
    let counted = rig.nginx.counters().unwrap();
    assert_eq!(counted.len(), 5);
}
