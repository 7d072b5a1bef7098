//! A balancer before real guests: it is right before they have booted, and follows what becomes of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::host::{apply, expect_no_trace, field, guest_env, host, tiny};
use crate::support::Env;

const URL: &str = "http://127.0.0.1:18480/";
const NAMES: [&str; 2] = ["t3-lb-a", "t3-lb-b"];

/// Asks the balancer once and returns the status, and the address of the guest that answered.
fn ask() -> (String, String) {
    let curl = ["-s", "--max-time", "20", "-w", "\nstatus=%{http_code}", URL];
    let told = host("curl", &curl);
    let value = |key: &str| {
        let found = told.lines().find_map(|line| line.strip_prefix(key));
        found.unwrap_or_default().to_owned()
    };
    (value("status="), value("address="))
}

/// Asks ten times; none may fail.
#[track_caller]
fn answering() -> BTreeSet<String> {
    let answers = (0..10).map(|_| {
        let (status, address) = ask();
        assert_eq!(status, "200", "{address}");
        address
    });
    answers.collect()
}

/// Health of the targets, in the order of the list.
fn health(env: &Env) -> String {
    let path = "jsonpath={.status.targets[*].health}";
    env.kvmctl(["get", "lb", "t3-lb", "-o", path])
        .ok()
        .text()
        .to_owned()
}

#[track_caller]
fn until(env: &Env, wanted: &str) {
    let begin = Instant::now();
    loop {
        let now = health(env);
        if now == wanted {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "{now}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn two_guests_share_the_requests_and_a_destroyed_one_costs_none() {
    let env = guest_env();
    let [a, b] = NAMES;
    for name in NAMES {
        apply(&env, &tiny(name), &["--no-wait"]).ok();
    }
    let [at_a, at_b] = NAMES.map(|name| field(&env, name, ".status.address"));
    let create = format!("lb create t3-lb --port 18480 --target {a}:80 --target {b}:80");
    env.kvmctl(create.split(' ').collect::<Vec<_>>()).ok();
    // It has been right since before they were up.
    until(&env, "Healthy Healthy");
    let both: BTreeSet<String> = [at_a, at_b.clone()].into();
    assert_eq!(answering(), both);

    env.kvmctl(["instances", "stop", a, "--force", "--timeout", "0s"])
        .ok();
    assert_eq!(answering(), [at_b.clone()].into(), "no request fails");
    assert_eq!(health(&env), "Unhealthy Healthy");
    let described = env.kvmctl(["describe", "lb", "t3-lb"]).ok();
    described.prints("Degraded").prints("1 of 2 targets");

    env.kvmctl(["delete", "instance", a, "--now"]).ok();
    assert_eq!(answering(), [at_b].into());
    assert_eq!(health(&env), "Healthy");
    env.kvmctl(["delete", "instance", b, "--now"]).ok();
    assert_eq!(ask().0, "503", "it listens without a target");
    env.kvmctl(["lb", "delete", "t3-lb"]).ok();
    assert_eq!(ask().0, "000");
    NAMES.into_iter().for_each(expect_no_trace);
}
