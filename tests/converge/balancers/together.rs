//! Several balancers in one run: nginx takes its configuration over once, each has its own result, and
//! a kill anywhere leaves what the next run finishes.

use std::net::{TcpListener, TcpStream};
use std::process::Command;

use super::rig::{Ends, home, instance, processes, status, traces};
use crate::converge::Place;
use crate::converge::place::was_killed;

fn document(name: &str, port: u16, targets: &str, more: &str) -> String {
    format!(
        "---\napiVersion: kvmctl/v1\nkind: LoadBalancer\nmetadata: {{name: {name}}}\n\
         spec: {{port: {port}, targets: [{targets}]{more}}}\n"
    )
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Counts how often the last command let nginx read its files again.
fn reloads(place: &Place) -> usize {
    let log = place.strace_log();
    let reload = |line: &&str| line.contains("kill(") && line.contains("SIGHUP");
    log.lines().filter(reload).count()
}

#[test]
fn balancers_of_one_run_are_taken_over_at_once_and_fail_alone() {
    const FIRST: u16 = 18_600;
    const MANY: u16 = 20;
    let place = Place::new("lbrun", 86);
    let _ends = Ends(home(&place));
    let traced = |args: &[&str]| place.tampered("kill", "delay_enter=1", args);
    let one = ["lb", "create", &place.named("one"), "--port", "18620"];
    place.run(&one).ok();
    let names: Vec<String> = (0..MANY).map(|n| place.named(&format!("b{n}"))).collect();
    let all = (FIRST..)
        .zip(&names)
        .map(|(port, name)| document(name, port, "", ""));
    let file = place.file("all.yaml", &all.collect::<String>());
    traced(&["apply", "-f", &file]).ok();
    assert_eq!(reloads(&place), 1, "{}", place.strace_log());
    assert!((FIRST..FIRST + MANY).all(listens));
    place.run(&["reconcile", "--check"]).ok();
    traced(&["apply", "-f", &file]).ok().prints("unchanged");
    assert_eq!(reloads(&place), 0);

    // Those that nobody can serve fail with their own errors, and the others are made or changed.
    let _holder = TcpListener::bind(("0.0.0.0", 18_630)).unwrap();
    let certificate = place.file("no.crt", "this is no certificate");
    let tls = format!(", tls: {{certificateFile: {certificate}, keyFile: {certificate}}}");
    let taken = place.named("taken");
    let (broken, good) = (place.named("broken"), place.named("good"));
    let more = [
        document(&taken, 18_630, "", ""),
        document(&broken, 18_631, "", &tls),
        document(&names[0], 18_632, "", ""),
        document(&names[1], FIRST + 1, "", &tls),
        document(&good, 18_633, "", ""),
    ];
    let more = place.file("more.yaml", &more.concat());
    traced(&["apply", "-f", &more])
        .says("18630")
        .says(&format!("cannot create loadbalancer/{broken}"))
        .says(&certificate)
        .code(9);
    assert_eq!(reloads(&place), 1, "{}", place.strace_log());
    let now = [FIRST, FIRST + 1, 18_631, 18_632, 18_633].map(listens);
    assert_eq!(now, [false, true, false, true, true]);
    assert_eq!(status(&place, &names[1], ".spec.tls"), "");
    for name in [&taken, &broken] {
        place.run(&["get", "lb", name]).code(4);
    }
    place.run(&["reconcile", "--check"]).ok();

    traced(&["delete", "-f", &file, "-f", &file]).ok();
    assert_eq!(reloads(&place), 1);
    assert!(!listens(FIRST + 5) && listens(18_633));
    place.run(&["delete", "lb", "--all", "--yes"]).ok();
    assert_eq!(traces(&place, 18_633), Vec::<String>::new());
    assert!(processes(&home(&place)).is_empty());
}

#[test]
fn a_run_of_several_balancers_that_is_killed_anywhere_converges() {
    const PORTS: [u16; 2] = [18_640, 18_641];
    let place = Place::new("lbruns", 87);
    let _ends = Ends(home(&place));
    let (web, other) = (place.named("web"), place.named("other"));
    instance(&place, &other, "app=a");
    let targets = format!("{{instance: {web}, port: 80}}, {{instance: {other}, port: 80}}");
    let names = PORTS.map(|port| place.named(&format!("b{port}")));
    let documents = |targets: &str| {
        let each = PORTS.iter().zip(&names);
        let each = each.map(|(port, name)| document(name, *port, targets, ""));
        each.collect::<String>()
    };
    let file = place.file("all.yaml", &documents(&targets));
    let apply = ["apply", "-f", file.as_str()];
    let delete = ["delete", "-f", file.as_str()];
    let leave = ["delete", "instance", &web, "--yes"];
    for what in [&apply[..], &leave, &delete] {
        for n in 1.. {
            if place.run(&["get", "instance", &web]).status != 0 {
                instance(&place, &web, "app=a");
            }
            if what[0] == "delete" {
                place.run(&apply).ok();
            }
            let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), what);
            let killed = was_killed(&run);
            let when = format!("{what:?} killed at boundary {n}: {run}");
            if killed && n % 2 == 0 {
                place.run(&["reconcile"]).ok();
            } else if killed && what[0] == "apply" {
                place.run(what).ok();
            } else if killed {
                place.run(&[what, &["--ignore-not-found"]].concat()).ok();
            } else {
                run.ok();
            }
            place.run(&["reconcile", "--check"]).ok();
            for (port, name) in PORTS.iter().zip(&names) {
                let there = place.run(&["get", "lb", name]).status == 0;
                assert_eq!(listens(*port), there, "{when}");
                let is_target = there && status(&place, name, ".spec.targets").contains(&web);
                let lives = place.run(&["get", "instance", &web]).status == 0;
                assert!(!is_target || lives, "{when}");
            }
            place
                .run(&[&delete[..], &["--ignore-not-found"]].concat())
                .ok();
            assert_eq!(traces(&place, PORTS[0]), Vec::<String>::new(), "{when}");
            if !killed {
                assert!(n > 2, "the failpoints are gone");
                break;
            }
            // What comes later in the deletion of an instance is no balancer's business.
            if what[1] == "instance" && n == 4 {
                break;
            }
        }
    }
    let both = [
        "delete",
        "instance",
        &web,
        &other,
        "--yes",
        "--ignore-not-found",
    ];
    place.run(&both).ok();
}

/// nginx reads a certificate when it takes a configuration over, and never again by itself.
#[test]
fn a_renewed_certificate_is_loaded_and_a_broken_one_is_named() {
    const PORT: u16 = 18_650;
    let place = Place::new("lbcert", 88);
    let _ends = Ends(home(&place));
    let (secure, plain) = (place.named("secure"), place.named("plain"));
    let (key, certificate) = (place.file("web.key", ""), place.file("web.crt", ""));
    let issue = || {
        let line = format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj /CN=web.test -keyout {key} -out {certificate} 2>/dev/null"
        );
        assert!(
            Command::new("sh")
                .args(["-c", &line])
                .status()
                .unwrap()
                .success()
        );
    };
    issue();
    let tls = format!(", tls: {{certificateFile: {certificate}, keyFile: {key}}}");
    let file = place.file("tls.yaml", &document(&secure, PORT, "", &tls));
    place.run(&["apply", "-f", &file]).ok();
    place.run(&["lb", "create", &plain, "--port", "18651"]).ok();
    let serial = || {
        let line = format!(
            "echo | openssl s_client -connect 127.0.0.1:{PORT} 2>/dev/null | openssl x509 -noout -serial"
        );
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let first = serial();
    issue();
    place
        .run(&["reconcile", "--check"])
        .code(1)
        .prints(&format!("loadbalancer/{secure}"));
    place.run(&["reconcile"]).ok();
    let second = serial();
    assert_ne!(first, second);
    place.run(&["reconcile", "--check"]).ok();
    issue();
    place.run(&["apply", "-f", &file]).ok().prints("configured");
    assert_ne!(second, serial());
    place.run(&["apply", "-f", &file]).ok().prints("unchanged");

    // With a broken one nginx takes nothing over, and serves on with the one that it has.
    std::fs::write(&certificate, "this is none").unwrap();
    let edit = ["patch", "lb", &plain, "-p", "{\"spec\":{\"port\":18652}}"];
    place
        .run(&edit)
        .code(1)
        .says(&format!("because of loadbalancer/{secure}"))
        .says(&certificate);
    assert!(listens(18_651) && listens(PORT));
    place.run(&["delete", "lb", &secure]).ok();
    place.run(&edit).ok();
    place.run(&["delete", "lb", &plain, &plain]).ok();
    assert_eq!(traces(&place, PORT), Vec::<String>::new());
}
