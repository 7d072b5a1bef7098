//! Clients notice nothing of changes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use kvmctl::api::{Protocol, ResolvedBalancer};
use serde_json::{Value, json};

use super::load::{Load, Style};
use super::rig::{HOST, Rig, balancer, changed, get, http};

const REQUESTS: u64 = 10_000;

fn spec(targets: Value, read: u32) -> Value {
    json!({"port": 8080, "targets": targets, "http": {"timeouts": {"read": format!("{read}s")}}})
}

/// Adds, removes and drains targets, and edits the balancer twenty times.
fn change_all(rig: &Rig, lb: &ResolvedBalancer) {
    let put = |targets: Value, read: u32| {
        rig.nginx
            .change(&[changed(lb, spec(targets, read))], &[])
            .unwrap();
    };
    for edit in 0..20 {
        match edit % 4 {
            0 => put(http(&["a", "b", "c"]), 61 + edit),
            1 => put(http(&["b", "c"]), 61 + edit),
            2 => put(
                json!([{"instance": "b", "port": 80}, {"instance": "c", "port": 80, "drain": true}]),
                61 + edit,
            ),
            _ => put(http(&["a", "b"]), 61 + edit),
        }
    }
}

fn under_load(style: Style) -> super::load::Outcome {
    let rig = Rig::new();
    let lb = balancer("lb", spec(http(&["a", "b"]), 60));
    rig.nginx.change(std::slice::from_ref(&lb), &[]).unwrap();
    let load = Load::start(8080, style, 4);
    load.wait_for(100);
    let begin = Instant::now();
    change_all(&rig, &lb);
    let took = begin.elapsed();
    load.wait_for(REQUESTS);
    let outcome = load.finish();
    println!(
        "{style:?}: {} requests, 20 changes in {took:?}, {} cut",
        outcome.answered, outcome.cut
    );
    assert!(outcome.answered >= REQUESTS);
    // A line of the log may be a second late.
    thread::sleep(Duration::from_millis(1500));
    let counted = &rig.nginx.counters().unwrap()[&lb.object.metadata.uid.unwrap()];
    let seen = outcome.answered + outcome.cut;
    assert!(
        counted.requests >= outcome.answered && counted.requests <= seen,
        "{counted:?} of {seen}"
    );
    let good = counted.statuses.as_ref().unwrap().success;
    assert!(good >= outcome.answered, "{counted:?}");
    outcome
}

#[test]
fn no_request_fails_that_has_a_connection_of_its_own() {
    let outcome = under_load(Style::Fresh);
    assert_eq!((outcome.cut, outcome.failed.as_slice()), (0, [].as_slice()));
}

/// A worker that goes closes connections over which nothing goes; a request that comes just then is
/// the client's to repeat. nginx loses as many by itself.
#[test]
fn kept_connections_lose_what_nginx_itself_loses() {
    let outcome = under_load(Style::Kept);
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
    // 4 clients and 20 changes: no more than one for each.
    assert!(outcome.cut <= 80, "{}", outcome.cut);
}

#[test]
fn a_target_that_is_drained_keeps_what_it_has() {
    let rig = Rig::new();
    let lb = balancer("lb", spec(http(&["a"]), 60));
    rig.nginx.change(std::slice::from_ref(&lb), &[]).unwrap();
    let mut slow = TcpStream::connect((HOST, 8080)).unwrap();
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    let drained =
        json!([{"instance": "a", "port": 80, "drain": true}, {"instance": "b", "port": 80}]);
    rig.nginx
        .change(&[changed(&lb, spec(drained, 60))], &[])
        .unwrap();
    for _ in 0..10 {
        assert_eq!(get(8080, "/").unwrap().1, "b");
    }
    let (a, b) = (
        "10.78.1.11:80".parse().unwrap(),
        "10.78.1.12:80".parse().unwrap(),
    );
    let open = |target| {
        rig.nginx
            .seen()
            .unwrap()
            .connections
            .to_target(Protocol::Tcp, target)
    };
    assert_eq!(open(a), 1);
    assert!(open(b) >= 1, "kept for the next request");
    let clients = rig.nginx.seen().unwrap().connections;
    assert_eq!(
        clients.of_clients(Protocol::Tcp, "0.0.0.0:8080".parse().unwrap()),
        1
    );
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\na"), "{answer}");
    let begin = Instant::now();
    while open(a) > 0 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rig.nginx.seen().unwrap().running.unwrap().retiring, 0);
}

#[test]
fn logs_that_have_grown_are_put_aside_and_stay_counted() {
    let rig = Rig::new();
    let lb = balancer("lb", spec(http(&["a"]), 60));
    let uid = lb.object.metadata.uid.unwrap();
    rig.nginx.change(std::slice::from_ref(&lb), &[]).unwrap();
    for _ in 0..3 {
        get(8080, "/").unwrap();
    }
    let ill = get(8080, "/ill").unwrap().0;
    assert_eq!(ill, 500);
    thread::sleep(Duration::from_millis(1500));
    let counted = || rig.nginx.counters().unwrap().remove(&uid).unwrap();
    let before = counted();
    assert_eq!((before.requests, before.opened), (4, Some(4)));
    assert_eq!(before.statuses.as_ref().unwrap().server_error, 1);
    // Many parts that say nothing make it long.
    let log = rig.nginx.home().join(format!("logs/{uid}.gz"));
    super::rig::sh(&format!(
        "printf '' | gzip > {0}.e; for n in $(seq 14); do cat {0}.e {0}.e > {0}.f; mv {0}.f {0}.e; done; cat {0}.e >> {0}; rm {0}.e",
        log.display()
    ));
    rig.nginx.rotate().unwrap();
    assert!(std::fs::metadata(log.with_extension("1.gz")).unwrap().len() > 256 << 10);
    let begin = Instant::now();
    while !log.exists() {
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "nginx does not begin a new log"
        );
        thread::sleep(Duration::from_millis(20));
    }
    get(8080, "/").unwrap();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(counted().requests, 5);
}
