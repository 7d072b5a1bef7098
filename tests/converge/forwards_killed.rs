//! Forwards that are killed at every call that makes something last, and many of one run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::forwards::{alone, host, instance, manifest, phase, records, rules};
use super::{Place, Recovery};
use crate::support::{CommandOutput, Sweep};

/// Runs a command that is killed at a call, or not.
fn killed_at(place: &Place, call: &str, n: usize, args: &[&str]) -> (CommandOutput, bool) {
    let run = place.tampered(call, &format!("signal=KILL:when={n}"), args);
    let killed = place.strace_log().contains("killed by SIGKILL");
    (run, killed)
}

#[test]
fn a_creation_and_a_deletion_that_are_killed_at_any_call_converge() {
    const NET: u8 = 70;
    let _alone = alone();
    let place = Place::new("pfcall", NET);
    let (web, name) = (place.named("web"), place.named("f"));
    instance(&place, &web, &[]);
    let manifest = manifest(&place, &name, &web, 18037);
    let apply = ["apply", "-f", manifest.as_str()];
    let delete = ["delete", "forward", name.as_str(), "--ignore-not-found"];
    place.run(&apply).ok();
    let whole = rules(NET);
    place.run(&delete).ok();
    let is_whole = |when: &str| {
        // Its identity is another one each time.
        let dnat = |rules: &BTreeSet<String>| rules.iter().filter(|r| r.contains("DNAT")).count();
        let now = rules(NET);
        assert_eq!(
            (now.len(), dnat(&now)),
            (whole.len(), dnat(&whole)),
            "{when}"
        );
        assert_eq!(
            (records(&place), &*phase(&place, &name)),
            (1, "Active"),
            "{when}"
        );
        place.run(&["reconcile", "--check"]).ok();
    };
    let is_gone = |when: &str| assert_eq!((rules(NET).len(), records(&place)), (0, 0), "{when}");

    let mut sweep = Sweep::new();
    while let Some((call, n)) = sweep.place() {
        let (run, killed) = killed_at(&place, call, n, &apply);
        let when = format!("creation killed at {call} {n}");
        if killed {
            sweep.killed();
        } else {
            run.ok();
            sweep.survived();
        }
        match sweep.kills() % 3 {
            0 => drop(place.run(&apply).ok()),
            1 => drop(place.run(&["reconcile"]).ok()),
            _ => drop(place.run(&delete).ok()),
        }
        match records(&place) {
            0 => is_gone(&when),
            _ => is_whole(&when),
        }
        place.run(&delete).ok();
        is_gone(&when);
    }
    assert!(sweep.kills() > 6, "the calls are gone: {}", sweep.kills());

    let mut sweep = Sweep::new();
    while let Some((call, n)) = sweep.place() {
        place.run(&apply).ok();
        let (run, killed) = killed_at(&place, call, n, &delete);
        let when = format!("deletion killed at {call} {n}");
        if killed {
            sweep.killed();
        } else {
            run.ok();
            sweep.survived();
        }
        let begun = records(&place) == 1 && phase(&place, &name) == "Terminating";
        match sweep.kills() % 2 {
            0 if begun => drop(place.run(&["reconcile"]).ok()),
            _ => drop(place.run(&delete).ok()),
        }
        is_gone(&when);
    }
    assert!(sweep.kills() > 6, "the calls are gone: {}", sweep.kills());

    let at = writer(&place, &apply);
    place.run(&delete).ok();
    for recovery in Recovery::ALL {
        let when = format!("creation killed while rules are written, then {recovery:?}");
        assert!(killed_at(&place, "pidfd_open", at, &apply).1, "{when}");
        match recovery {
            Recovery::SameCommand => drop(place.run(&apply).ok()),
            Recovery::Reconcile => drop(place.run(&["reconcile"]).ok()),
            Recovery::Delete => {}
        }
        if recovery != Recovery::Delete {
            is_whole(&when);
        }
        place.run(&delete).ok();
        is_gone(&when);
    }
    place.run(&apply).ok();
    let at = writer(&place, &delete);
    for recovery in [&delete[..], &["reconcile"]] {
        let when = format!("deletion killed while rules are removed, then {recovery:?}");
        place.run(&apply).ok();
        assert!(killed_at(&place, "pidfd_open", at, &delete).1, "{when}");
        place.run(recovery).ok();
        is_gone(&when);
    }

    outlived(&place, &apply, &delete);
    is_gone("rules that are written after their run was killed");
    place.delete(&web).ok();
}

/// Kills a run whose program goes on and writes its rules late, and takes back what the run did: that
/// waits for the program.
fn outlived(place: &Place, apply: &[&str], delete: &[&str]) {
    let script = "#!/bin/sh\ncd ${0%/*} && cat > rules && echo $PPID > pid && mv pid began\n\
                  until [ -e go ]; do sleep 0.02; done\n\
                  exec /usr/sbin/iptables-restore \"$@\" < rules\n";
    let late = PathBuf::from(place.file("iptables-restore", script));
    host("chmod", &["755", &late.display().to_string()]);
    let dir = late.parent().unwrap();
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    let mut killed = place.spawn_with(&[("PATH", &path)], apply);
    until(|| dir.join("began").exists());
    let writer = std::fs::read_to_string(dir.join("began")).unwrap();
    host("kill", &["-KILL", writer.trim()]);
    killed.wait().unwrap();
    let mut next = place.spawn(delete);
    let id = next.id().to_string();
    let wants_lock = || {
        // It runs under timeout(1).
        let child = Command::new("pgrep").args(["-P", &id]).output().unwrap();
        let fds = format!("/proc/{}/fd", String::from_utf8_lossy(&child.stdout).trim());
        let fds = std::fs::read_dir(&fds).into_iter().flatten().flatten();
        let mut files = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        files.any(|file| file.ends_with("kvmctl-firewall.lock"))
    };
    until(|| wants_lock() || next.try_wait().unwrap().is_some());
    assert!(next.try_wait().unwrap().is_none(), "it waited for nobody");
    std::fs::write(dir.join("go"), "").unwrap();
    assert!(next.wait().unwrap().success());
}

fn until(mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command and returns which of the programs that it ran, and waited for by pidfd_open(2), was
/// the one that wrote rules.
fn writer(place: &Place, args: &[&str]) -> usize {
    place.tampered("execve", "delay_enter=1", args).ok();
    let log = place.strace_log();
    let programs = log
        .lines()
        .filter(|l| l.contains("execve(\"") && !l.contains("ENOENT"));
    let is_writer = |line: &str| line.contains("/iptables-restore\"");
    // The first one is kvmctl itself.
    let at = programs.skip(1).position(is_writer);
    at.unwrap_or_else(|| panic!("nothing is written: {log}")) + 1
}

/// Counts how often the last command wrote rules.
fn writings(place: &Place) -> usize {
    let log = place.strace_log();
    let write = |line: &&str| line.contains("execve(\"") && line.contains("/iptables-restore\"");
    log.lines().filter(write).count()
}

#[test]
fn forwards_of_one_run_are_made_together_and_fail_alone() {
    const NET: u8 = 71;
    const MANY: u16 = 30;
    let _alone = alone();
    let place = Place::new("pfrun", NET);
    let web = place.named("web");
    instance(&place, &web, &["-p", "18038:80"]);
    let before = rules(NET);
    let document = |name: &str, host: u16| {
        format!(
            "---\napiVersion: kvmctl/v1\nkind: PortForward\nmetadata: {{name: {name}}}\n\
             spec: {{instance: {web}, hostPort: {host}, guestPort: 80}}\n"
        )
    };
    let names: Vec<String> = (0..MANY).map(|n| place.named(&format!("f{n}"))).collect();
    let all = (18_300..)
        .zip(&names)
        .map(|(host, name)| document(name, host));
    let all: String = all.collect();
    let file = place.file("all.yaml", &all);
    let traced = |args: &[&str]| place.tampered("execve", "delay_enter=1", args);
    traced(&["apply", "-f", &file]).ok();
    assert_eq!(writings(&place), 1, "{}", place.strace_log());
    let made = rules(NET);
    for (n, name) in names.iter().enumerate() {
        let port = format!("--dport {} ", 18_300 + n);
        assert!(made.iter().any(|r| r.contains(&port)), "{name}: {made:#?}");
    }
    let phases = ["get", "forwards", "-o", "jsonpath={.items[*].status.phase}"];
    let told = place.run(&phases).ok();
    assert_eq!(told.text().matches("Active").count(), usize::from(MANY) + 1);

    traced(&["apply", "-f", &file]).ok().prints("unchanged");
    assert_eq!(writings(&place), 0);
    assert_eq!(rules(NET), made);

    // One that cannot have its port fails with its own error, and the others are made.
    let more = [
        document(&place.named("good"), 18_340),
        document(&place.named("bad"), 18_038),
        document(&place.named("moved"), 18_341),
        document(&names[0], 18_342),
    ];
    let more = place.file("more.yaml", &more.concat());
    traced(&["apply", "-f", &more])
        .says(&format!("taken by instance/{web}"))
        .code(9);
    assert_eq!(writings(&place), 1);
    let now = rules(NET);
    let has = |port: u16| now.iter().any(|r| r.contains(&format!("--dport {port} ")));
    assert_eq!(
        [18_300, 18_340, 18_341, 18_342].map(has),
        [false, true, true, true]
    );
    assert_eq!(records(&place), usize::from(MANY) + 2);

    traced(&["delete", "forwards", "--all", "--yes"]);
    assert_eq!(writings(&place), 1);
    assert_eq!((rules(NET), records(&place)), (before, 0));
    place.delete(&web).ok();
}

/// A kill between the writing of all rules and the end leaves what the next run finishes.
#[test]
fn a_run_of_many_that_is_killed_anywhere_converges() {
    const NET: u8 = 72;
    let _alone = alone();
    let place = Place::new("pfruns", NET);
    let web = place.named("web");
    instance(&place, &web, &[]);
    let documents = (0..3).map(|n| {
        format!(
            "---\napiVersion: kvmctl/v1\nkind: PortForward\nmetadata: {{name: {}}}\n\
             spec: {{instance: {web}, hostPort: {}, guestPort: 80}}\n",
            place.named(&format!("f{n}")),
            18_390 + n
        )
    });
    let file = place.file("all.yaml", &documents.collect::<String>());
    let (apply, delete) = (
        ["apply", "-f", file.as_str()],
        ["delete", "-f", file.as_str()],
    );
    for args in [&apply[..], &delete[..]] {
        for n in 1.. {
            if args[0] == "delete" {
                place.run(&apply).ok();
            }
            let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), args);
            if !super::place::was_killed(&run) {
                assert!(n > 5, "the failpoints are gone");
                break;
            }
            match n % 2 {
                0 => drop(place.run(&["reconcile"]).ok()),
                _ if args[0] == "apply" => drop(place.run(&apply).ok()),
                _ => drop(place.run(&[args, &["--ignore-not-found"]].concat()).ok()),
            }
            let begun = ["get", "forwards", "-o", "jsonpath={.items[*].status.phase}"];
            let phases = place.run(&begun).ok();
            let phases: BTreeSet<&str> =
                phases.text().split(' ').filter(|p| !p.is_empty()).collect();
            let when = format!("{args:?} killed at boundary {n}: {phases:?}");
            assert!(phases.iter().all(|p| *p == "Active"), "{when}");
            place.run(&["reconcile", "--check"]).ok();
            place.run(&["delete", "forwards", "--all", "--yes"]);
            assert_eq!((rules(NET).len(), records(&place)), (0, 0), "{when}");
        }
        place.run(&["delete", "forwards", "--all", "--yes"]);
    }
    place.delete(&web).ok();
}
