//! Who gets how much.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{HOST, Rig, balancer, changed, get, http, sh, shares};

fn spec(algorithm: &str, targets: &Value) -> Value {
    json!({"port": 8080, "algorithm": algorithm, "targets": targets})
}

#[test]
fn turns_are_taken_by_weight() {
    let rig = Rig::new();
    let even = balancer("lb", spec("round-robin", &http(&["a", "b"])));
    rig.nginx.change(std::slice::from_ref(&even), &[]).unwrap();
    assert_eq!(
        shares(8080, 100),
        [("a".into(), 50), ("b".into(), 50)].into()
    );
    let weighted =
        json!([{"instance": "a", "port": 80, "weight": 3}, {"instance": "b", "port": 80}]);
    let weighted = changed(&even, spec("round-robin", &weighted));
    rig.nginx.change(&[weighted], &[]).unwrap();
    assert_eq!(
        shares(8080, 100),
        [("a".into(), 75), ("b".into(), 25)].into()
    );
}

#[test]
fn who_has_the_fewest_connections_gets_the_next() {
    let rig = Rig::new();
    let lb = balancer("lb", spec("least-conn", &http(&["a", "b"])));
    rig.nginx.change(std::slice::from_ref(&lb), &[]).unwrap();
    // One of them is busy with something slow.
    let slow = || {
        let mut stream = TcpStream::connect((HOST, 8080)).unwrap();
        stream
            .write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.chars().last().unwrap().to_string()
    };
    let busy = thread::spawn(slow);
    thread::sleep(Duration::from_millis(300));
    let meanwhile = shares(8080, 30);
    let busy = busy.join().unwrap();
    assert_eq!(meanwhile.len(), 1, "{meanwhile:?} beside {busy}");
    assert!(
        !meanwhile.contains_key(&busy),
        "{meanwhile:?} beside {busy}"
    );
    let random = changed(&lb, spec("random-two", &http(&["a", "b", "c"])));
    rig.nginx.change(&[random], &[]).unwrap();
    assert_eq!(shares(8080, 60).len(), 3, "all are drawn now and then");
}

/// Asks from many addresses of clients, and returns who answers each.
fn by_client() -> Vec<String> {
    let all = sh(
        "for n in $(seq 1 40); do curl -s --interface 127.0.$n.1 http://127.0.0.1:8080/; echo; done",
    );
    all.lines().map(str::to_owned).collect()
}

#[test]
fn a_client_keeps_its_target_where_its_address_decides() {
    let rig = Rig::new();
    let lb = balancer("lb", spec("ip-hash", &http(&["a", "b", "c"])));
    for algorithm in ["ip-hash", "consistent-hash"] {
        let three = changed(&lb, spec(algorithm, &http(&["a", "b", "c"])));
        rig.nginx.change(&[three], &[]).unwrap();
        let first = by_client();
        assert_eq!(first.len(), 40);
        assert_eq!(first, by_client(), "{algorithm}");
        let used: BTreeSet<_> = first.iter().collect();
        assert_eq!(used.len(), 3, "{algorithm}: {first:?}");
        let two = changed(&lb, spec(algorithm, &http(&["a", "b"])));
        rig.nginx.change(&[two], &[]).unwrap();
        let second = by_client();
        let moved = first
            .iter()
            .zip(&second)
            .filter(|(x, y)| x != y && *x != "c")
            .count();
        if algorithm == "consistent-hash" {
            assert_eq!(moved, 0, "only those of the one that went may move");
        }
        assert!(!second.contains(&"c".to_owned()));
    }
}

#[test]
fn a_dead_target_costs_no_client_an_error() {
    let mut rig = Rig::new();
    let lb = balancer("lb", spec("round-robin", &http(&["a", "b"])));
    rig.nginx.change(std::slice::from_ref(&lb), &[]).unwrap();
    rig.servers.remove("a");
    assert_eq!(
        shares(8080, 100),
        [("b".into(), 100)].into(),
        "nobody listens there"
    );
    sh("ip link set v-b down");
    let backup = json!([
        {"instance": "b", "port": 80}, {"instance": "c", "port": 80, "backup": true},
    ]);
    rig.nginx
        .change(&[changed(&lb, spec("round-robin", &backup))], &[])
        .unwrap();
    assert_eq!(
        shares(8080, 20),
        [("c".into(), 20)].into(),
        "the machine is gone"
    );
    sh("ip link set v-b up");
}

#[test]
fn targets_that_are_not_there_yet_are_answered_for() {
    let rig = Rig::new();
    let lb = balancer("lb", spec("round-robin", &http(&["nobody"])));
    rig.nginx.change(std::slice::from_ref(&lb), &[]).unwrap();
    assert_eq!(get(8080, "/").unwrap().0, 503);
    let found = changed(&lb, spec("round-robin", &http(&["nobody", "a"])));
    rig.nginx.change(&[found], &[]).unwrap();
    assert_eq!(shares(8080, 10), [("a".into(), 10)].into());
}
