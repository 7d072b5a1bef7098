//! Load balancers: killed anywhere, they converge; they follow their instances; a lost store is
//! rebuilt from nginx's files. The instances are off, and their addresses answer from the host itself.

mod rig;
mod together;

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rig::{
    Ends, answer, answers, ask, ask_for, home, instance, kill, processes, status, traces, until,
};

use super::place::was_killed;
use super::{Place, Recovery};
use crate::support::CommandOutput;

/// Calls that make something last, and every which of them a run is killed at: nginx has to be started
/// and stopped for each.
const CALLS: [(&str, usize); 3] = [("fsync", 4), ("renameat", 2), ("unlinkat", 4)];

#[test]
fn a_balancer_that_is_killed_anywhere_converges() {
    const PORT: u16 = 18041;
    let place = Place::new("lbkill", 81);
    let _ends = Ends(home(&place));
    let (web, name) = (place.named("web"), place.named("lb"));
    instance(&place, &web, "app=a");
    let (target, port) = (format!("{web}:8080"), PORT.to_string());
    let create = ["lb", "create", &name, "--port", &port, "--target", &target];
    let delete = ["lb", "delete", &name];
    let change = [
        "patch",
        "lb",
        &name,
        "-p",
        "{\"spec\":{\"algorithm\":\"least-conn\"}}",
    ];
    let gone = |when: &str| assert_eq!(traces(&place, PORT), Vec::<String>::new(), "{when}");
    let serves = |when: &str| {
        // Nobody is at the target's address, and nginx says so.
        assert!(["502", "504"].contains(&ask(PORT).0.as_str()), "{when}");
        assert_eq!(status(&place, &name, ".status.phase"), "Degraded", "{when}");
        place.run(&["reconcile", "--check"]).ok();
    };
    for what in [&create[..], &change, &delete] {
        let mut kills = 0;
        for (call, stride) in CALLS {
            for n in (1..200).step_by(stride) {
                let recovery = Recovery::turn(kills);
                let when = format!("{what:?} killed at {call} {n}, then {recovery:?}");
                if what[1] != "create" {
                    place.run(&create).ok();
                }
                let run = place.tampered_alone(call, &format!("signal=KILL:when={n}"), what);
                let killed = place.strace_log().contains("killed by SIGKILL");
                if killed {
                    kills += 1;
                    recover(&place, &name, what, recovery, &when);
                } else {
                    run.ok();
                }
                if place.run(&["get", "lb", &name]).status == 0 {
                    serves(&when);
                    place.run(&delete).ok();
                }
                gone(&when);
                if !killed {
                    break;
                }
            }
        }
        assert!(kills > 3, "the calls are gone: {kills}");
    }
    place.delete(&web).ok();
}

fn recover(place: &Place, name: &str, what: &[&str], recovery: Recovery, when: &str) {
    let said: CommandOutput = match recovery {
        Recovery::SameCommand => place.run(what),
        Recovery::Delete => place.run(&["lb", "delete", name]),
        Recovery::Reconcile => place.run(&["reconcile"]),
    };
    // It may have been done already: then it exists, or it is gone.
    assert!([0, 4, 5].contains(&said.status), "{when}: {said}");
}

#[test]
fn balancers_follow_their_instances_and_outlive_their_store() {
    const PORT: u16 = 18042;
    let place = Place::new("lbfollow", 82);
    let _ends = Ends(home(&place));
    let (a, b, name) = (place.named("a"), place.named("b"), place.named("lb"));
    let port = PORT.to_string();
    let create = [
        "lb",
        "create",
        &name,
        "--port",
        &port,
        "--selector",
        "app=shop",
        "--target-port",
        "8080",
    ];
    place.run(&create).ok();
    assert_eq!(ask(PORT).0, "503", "a balancer without a target listens");
    let answering = [&a, &b].map(|name| answer(&instance(&place, name, "app=shop"), name));
    let both = [a.clone(), b.clone()].into();
    assert_eq!(answers(PORT), both, "those that came to match are targets");
    let now = place.run(&["describe", "lb", &name]).ok();
    assert!(now.stdout.contains("Active"), "{now}");

    place.run(&["label", "instance", &a, "app-"]).ok();
    assert_eq!(
        answers(PORT),
        [b.clone()].into(),
        "a target without the label is none"
    );
    place.run(&["label", "instance", &a, "app=shop"]).ok();
    assert_eq!(answers(PORT), both);
    place.run(&["forget", "instance", &a]).ok();
    assert_eq!(
        answers(PORT),
        [b.clone()].into(),
        "what is not ours is none"
    );
    place.run(&["adopt", "instance", &a]).ok();
    place.run(&["label", "instance", &a, "app=shop"]).ok();
    assert_eq!(answers(PORT), both);

    let drained = format!("{a}:8080");
    place
        .run(&["lb", "drain", &name, &drained, "--timeout", "20s"])
        .ok();
    assert_eq!(
        answers(PORT),
        [b.clone()].into(),
        "a drained target gets nothing"
    );
    place.run(&["lb", "add-target", &name, &drained]).ok();
    assert_eq!(answers(PORT), both, "it can be put in again");

    let told = |path: &str| status(&place, &name, path).parse::<u64>().unwrap_or(0);
    until(|| told(".status.counters.requests") >= 40);
    assert!(told(".status.targets[0].latencyMicros") > 0);
    drains_its_own_connections(&place, &name, PORT, [&drained, &format!("{b}:8080")]);

    // A restart of the host takes nginx away.
    kill(&home(&place));
    until(|| processes(&home(&place)).is_empty());
    assert_eq!(status(&place, &name, ".status.phase"), "Down");
    place
        .run(&["reconcile", "--check"])
        .code(1)
        .prints("nginx does not run");
    place.run(&["reconcile"]).ok();
    assert_eq!(answers(PORT), both, "reconcile brings it back");

    let before = place
        .run(&["get", "lb", &name, "-o", "jsonpath={.spec}{.metadata}"])
        .ok()
        .stdout;
    fs::remove_dir_all(place.store().join("balancers")).unwrap();
    assert_eq!(answers(PORT), both, "it serves without a store");
    place
        .run(&["reconcile"])
        .code(1)
        .prints("kvmctl store rebuild");
    assert_eq!(answers(PORT), both, "what is not known is not taken away");
    place
        .run(&["store", "rebuild"])
        .ok()
        .prints(&format!("loadbalancer/{name} rebuilt"));
    let after = place
        .run(&["get", "lb", &name, "-o", "jsonpath={.spec}{.metadata}"])
        .ok()
        .stdout;
    assert_eq!(before, after);
    place.run(&["reconcile", "--check"]).ok();

    place.delete(&a).ok();
    assert_eq!(
        answers(PORT),
        [b.clone()].into(),
        "an instance that is deleted leaves first"
    );
    assert!(!status(&place, &name, ".spec.targets[*].instance").contains(&a));
    place.run(&["lb", "delete", &name]).ok();
    assert_eq!(traces(&place, PORT), Vec::<String>::new());
    place.delete(&b).ok();
    drop(answering);
}

/// Those that other balancers have to the same target are not waited for.
fn drains_its_own_connections(place: &Place, name: &str, port: u16, targets: [&str; 2]) {
    let [target, rest] = targets;
    let other = place.named("other");
    let create = [
        "lb", "create", &other, "--port", "18045", "--target", target,
    ];
    place.run(&create).ok();
    let drain = |target, timeout| place.run(&["lb", "drain", name, target, "--timeout", timeout]);
    drain(rest, "20s").ok();
    let slow = thread::spawn(move || ask_for(port, "/slow"));
    thread::sleep(Duration::from_millis(500));
    place.run(&["lb", "add-target", name, rest]).ok();
    drain(target, "0s").code(6).says(&format!("{target} has 1"));
    let busy = Arc::new(AtomicBool::new(true));
    let asks = Arc::clone(&busy);
    let client = thread::spawn(move || {
        while asks.load(Ordering::Relaxed) {
            assert_eq!(ask_for(18045, "/slow").0, "200");
        }
    });
    drain(target, "20s").ok();
    assert_eq!(
        slow.join().unwrap().0,
        "200",
        "what was open came to its end"
    );
    busy.store(false, Ordering::Relaxed);
    client.join().unwrap();
    place.run(&["lb", "delete", &other]).ok();
    place.run(&["lb", "add-target", name, target]).ok();
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    const PORT: u16 = 18043;
    let place = Place::new("lbrefuse", 83);
    let _ends = Ends(home(&place));
    let (web, name) = (place.named("web"), place.named("lb"));
    instance(&place, &web, "app=a");
    let (target, port) = (format!("{web}:8080"), PORT.to_string());
    let holder = TcpListener::bind(("0.0.0.0", PORT)).unwrap();
    let lb = |more: &[&str]| {
        let mut all = vec!["lb", "create", &name];
        all.extend(more);
        place.run(&all)
    };
    lb(&["--port", &port, "--target", &target])
        .code(5)
        .says("is taken by");
    drop(holder);
    lb(&["--port", &port, "--target", "nobody:80"])
        .code(2)
        .says(&web);
    lb(&["--port", &port, "--algorithm", "fastest"])
        .code(2)
        .says("consistent-hash");
    let backup = format!("{target},backup");
    let hash = [
        "--port",
        &port,
        "--target",
        &target,
        "--target",
        &backup,
        "--algorithm",
        "ip-hash",
    ];
    lb(&hash).code(2).says("no backups with ip-hash");
    place
        .run(&[
            "net",
            "forward",
            &web,
            &format!("{PORT}:80"),
            "--name",
            &name,
        ])
        .ok();
    lb(&["--port", &port, "--target", &target])
        .code(5)
        .says(&format!("forward/{name}"));
    place.run(&["delete", "forward", &name]).ok();
    for text in [
        "x; } server { listen 9; server_name y",
        "x\ninclude /etc/passwd;",
        "$x",
        "x{",
        "x#",
    ] {
        for flag in [
            "--port",
            "--address",
            "--protocol",
            "--algorithm",
            "--target",
            "--selector",
            "--target-port",
            "--hostname",
            "--tls-cert",
            "--tls-key",
            "--health-path",
            "--health-interval",
            "--health-timeout",
            "--unhealthy-threshold",
            "--max-body-size",
            "--connect-timeout",
            "--read-timeout",
            "--label",
        ] {
            let path = format!("/{text}");
            let given = if flag.starts_with("--tls") || flag == "--health-path" {
                &path
            } else {
                text
            };
            let mut all = vec!["--port", &port, flag, given];
            if flag == "--port" {
                all.drain(..2);
            }
            match flag {
                "--tls-cert" => all.extend(["--tls-key", "/k"]),
                "--tls-key" => all.extend(["--tls-cert", "/c"]),
                "--selector" => all.extend(["--target-port", "80"]),
                "--target-port" => all.extend(["--selector", "a=b"]),
                _ => {}
            }
            lb(&all).code(2);
        }
    }
    assert_eq!(traces(&place, PORT), Vec::<String>::new());

    let second = place.named("lb2");
    lb(&["--port", &port, "--target", &target]).ok();
    let twice = [
        "lb", "create", &second, "--port", &port, "--target", &target,
    ];
    place.run(&twice).code(5).says(&name).says("http.hostnames");
    let named = [
        "lb",
        "create",
        &second,
        "--port",
        &port,
        "--hostname",
        "a.example",
    ];
    place.run(&named).ok();
    let forward = ["net", "forward", &web, &format!("{PORT}:80")];
    place.run(&forward).code(5).says("loadbalancer/");
    place.run(&["lb", "delete", &name, &second]).ok();
    assert_eq!(traces(&place, PORT), Vec::<String>::new());
    place.delete(&web).ok();
}

#[test]
fn a_change_that_is_killed_between_its_steps_converges() {
    const PORT: u16 = 18044;
    let place = Place::new("lbstep", 84);
    let _ends = Ends(home(&place));
    let (web, name, port) = (place.named("web"), place.named("lb"), PORT.to_string());
    instance(&place, &web, "app=a");
    let target = format!("{web}:8080");
    place.run(&["lb", "create", &name, "--port", &port]).ok();
    for n in 1.. {
        let at = n.to_string();
        let add = ["lb", "add-target", &name, &target];
        let run = place.run_with(("KVMCTL_FAILPOINT", &at), &add);
        let killed = was_killed(&run);
        if killed {
            place.run(&["reconcile"]).ok();
        } else {
            run.ok();
        }
        place.run(&["reconcile", "--check"]).ok();
        assert_eq!(
            status(&place, &name, ".spec.targets[*].instance"),
            web,
            "boundary {n}"
        );
        assert_eq!(ask(PORT).0, "502", "boundary {n}");
        place.run(&["lb", "remove-target", &name, &web]).ok();
        assert_eq!(ask(PORT).0, "503", "boundary {n}");
        if !killed {
            assert!(n > 2, "the failpoints are gone");
            break;
        }
    }
    place.run(&["lb", "delete", &name]).ok();
    assert_eq!(traces(&place, PORT), Vec::<String>::new());
    place.delete(&web).ok();
}
