//! Port forwards: who gets which port, what a kill leaves, and that packets really arrive.
//!
//! The guests need not boot but for one, whose web server answers. The firewall is one for all, so
//! each test looks only at rules that lead into its own networks.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::place::was_killed;
use super::{Place, Recovery};

/// Rules of all tests stand in the same chains, and one of them flushes these: each is alone.
static FLUSHING: Mutex<()> = Mutex::new(());

pub(super) fn alone() -> MutexGuard<'static, ()> {
    FLUSHING.lock().unwrap_or_else(|e| e.into_inner())
}

pub(super) fn host(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The rules of forwards into the test's own network, without counters.
pub(super) fn rules(net: u8) -> BTreeSet<String> {
    let all = host("iptables-save", &[]);
    let own = format!("10.213.{net}.");
    let ours = all
        .lines()
        .filter(|l| l.contains("kvmctl:") && l.contains(&own));
    ours.map(str::to_owned).collect()
}

/// Makes an instance that may or may not boot.
pub(super) fn instance(place: &Place, name: &str, more: &[&str]) {
    let mut create = vec![
        "instances",
        "create",
        name,
        "--image",
        "tiny",
        "--cpus",
        "1",
    ];
    create.extend(["--memory", "96Mi", "--disk", "64Mi", "--no-wait"]);
    create.extend(more);
    place.run(&create).ok();
}

pub(super) fn manifest(place: &Place, name: &str, instance: &str, host: u16) -> String {
    let text = format!(
        "apiVersion: kvmctl/v1\nkind: PortForward\nmetadata: {{name: {name}}}\n\
         spec: {{instance: {instance}, hostPort: {host}, guestPort: 80}}\n"
    );
    place.file(&format!("{name}.yaml"), &text)
}

pub(super) fn phase(place: &Place, name: &str) -> String {
    let phase = ["get", "forward", name, "-o", "jsonpath={.status.phase}"];
    place.run(&phase).ok().text().to_owned()
}

pub(super) fn records(place: &Place) -> usize {
    std::fs::read_dir(place.store().join("forwards")).map_or(0, Iterator::count)
}

#[test]
fn a_forward_that_is_killed_anywhere_converges() {
    const NET: u8 = 31;
    let _alone = alone();
    let place = Place::new("pfkill", NET);
    let (web, name) = (place.named("web"), place.named("f"));
    instance(&place, &web, &[]);
    let manifest = manifest(&place, &name, &web, 18031);
    let apply = ["apply", "-f", manifest.as_str()];
    let delete = ["delete", "forward", name.as_str(), "--ignore-not-found"];
    let clean = {
        place.run(&apply).ok();
        let rules = rules(NET);
        place.run(&delete).ok();
        rules.len()
    };
    assert!(clean > 2, "one forward has {clean} rules");
    for recovery in Recovery::ALL {
        for n in 1.. {
            let when = format!("killed at boundary {n}, then {recovery:?}");
            let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &apply);
            if !was_killed(&run) {
                run.ok();
                assert!(n > 2, "the failpoints are gone");
                place.run(&delete).ok();
                break;
            }
            match recovery {
                Recovery::SameCommand => place.run(&apply).ok(),
                Recovery::Delete => place.run(&delete).ok(),
                Recovery::Reconcile => place.run(&["reconcile"]).ok(),
            };
            if recovery == Recovery::Delete {
                assert_eq!((rules(NET).len(), records(&place)), (0, 0), "{when}");
                continue;
            }
            assert_eq!((rules(NET).len(), records(&place)), (clean, 1), "{when}");
            assert_eq!(phase(&place, &name), "Active", "{when}");
            place.run(&["reconcile", "--check"]).ok();
            place.run(&delete).ok();
            assert_eq!((rules(NET).len(), records(&place)), (0, 0), "{when}");
        }
    }
    for n in 1.. {
        let when = format!("deletion killed at boundary {n}");
        place.run(&apply).ok();
        let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &delete);
        if !was_killed(&run) {
            assert!(n > 2, "the failpoints are gone");
            break;
        }
        match n % 2 {
            0 => place.run(&delete).ok(),
            _ => place.run(&["reconcile"]).ok(),
        };
        assert_eq!((rules(NET).len(), records(&place)), (0, 0), "{when}");
    }
    place.delete(&web).ok();
}

#[test]
fn a_change_of_an_instances_ports_that_is_killed_anywhere_converges() {
    const NET: u8 = 32;
    let _alone = alone();
    let place = Place::new("pflist", NET);
    let web = place.named("web");
    instance(&place, &web, &["-p", "18032:80"]);
    let before = rules(NET);
    assert!(
        before.iter().any(|r| r.contains("--dport 18032")),
        "{before:#?}"
    );
    for n in 1..20u16 {
        let (a, b) = (18100 + 2 * n, 18101 + 2 * n);
        let patch = format!("{{\"spec\":{{\"ports\":[\"{a}:80\",\"{b}:81/udp\"]}}}}");
        let change = ["patch", "instance", web.as_str(), "-p", patch.as_str()];
        let when = format!("killed at boundary {n}");
        let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &change);
        let killed = was_killed(&run);
        match n % 2 {
            _ if !killed => run.ok(),
            0 => place.run(&change).ok(),
            _ => place.run(&["reconcile"]).ok(),
        };
        let now = rules(NET);
        let has = |port: u16| now.iter().any(|r| r.contains(&format!("--dport {port} ")));
        // What was never written down is not wanted either.
        let began = place.field(&web, ".spec.ports[0]") == format!("{a}:80");
        assert_eq!((has(a), has(b)), (began, began), "{when}: {now:#?}");
        let dnat = now.iter().filter(|r| r.contains("-A KVMCTL-DNAT")).count();
        assert_eq!(
            dnat,
            if n == 1 && !began { 1 } else { 2 },
            "{when}: {now:#?}"
        );
        place.run(&["reconcile", "--check"]).ok();
        if !killed {
            assert!(n > 2, "the failpoints are gone");
            place.delete(&web).ok();
            assert_eq!(rules(NET), BTreeSet::new());
            return;
        }
    }
    panic!("the sweep does not end");
}

#[test]
fn many_at_once_take_different_ports_and_conflicts_are_refused_by_name() {
    const NET: u8 = 33;
    let _alone = alone();
    let place = Place::new("pfmany", NET);
    let (web, other) = (place.named("web"), place.named("other"));
    instance(&place, &web, &["-p", "18033:80"]);
    thread::scope(|scope| {
        for n in 0..20 {
            let (place, web) = (&place, &web);
            scope.spawn(move || {
                let name = place.named(&format!("f{n}"));
                let create = ["forwards", "create", &name, "--instance", web, "-p", "0:80"];
                place.run(&create).ok();
            });
        }
    });
    let list = [
        "get",
        "forwards",
        "-o",
        "jsonpath={.items[*].status.hostPort}",
    ];
    let ports = place.run(&list).ok();
    let ports: Vec<&str> = ports.text().split_whitespace().collect();
    let unique: BTreeSet<&&str> = ports.iter().collect();
    assert_eq!((ports.len(), unique.len()), (21, 21), "{ports:?}");
    let lines = place.run(&["instances", "port", &web]).ok();
    assert_eq!(lines.stdout.lines().count(), 21, "{lines}");
    place.run(&["instances", "port", &web, "443"]).code(4);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listening = taken.local_addr().unwrap().port();
    let foreign = [
        "-t",
        "nat",
        "-A",
        "PREROUTING",
        "-p",
        "tcp",
        "--dport",
        "18733",
    ];
    let target = ["-j", "DNAT", "--to-destination", "192.0.2.1:80"];
    host("iptables", &[&foreign[..], &target].concat());
    let before = (rules(NET).len(), records(&place), place.domains());
    for (port, holder) in [
        ("18033:81".to_owned(), format!("instance/{web}")),
        (format!("{}:81", ports[0]), "forward/".to_owned()),
        (format!("{listening}:81"), "pid".to_owned()),
        ("18733:80".to_owned(), "a rule of somebody else".to_owned()),
    ] {
        let forward = ["forwards", "create", "no", "--instance", &web, "-p", &port];
        place.run(&forward).says(&holder).code(5);
        let list = [
            "instances",
            "create",
            other.as_str(),
            "--image",
            "tiny",
            "-p",
            &port,
        ];
        place.run(&list).says(&holder).code(5);
    }
    let ssh = [
        "forwards",
        "create",
        "no",
        "--instance",
        &web,
        "-p",
        "22:22",
    ];
    place.run(&ssh).says("port 22").code(2);
    let view = format!("{web}-18033");
    place
        .run(&["delete", "forward", &view])
        .says(&format!("kvmctl edit instance {web}"))
        .code(5);
    assert_eq!((rules(NET).len(), records(&place), place.domains()), before);
    let foreign = [&["-t", "nat", "-D"], &foreign[3..], &target].concat();
    host("iptables", &foreign);

    place.delete(&web).ok();
    assert_eq!(rules(NET).len(), 0, "rules to an address that is free");
    assert_eq!(phase(&place, &place.named("f0")), "Stale");
    place.run(&["delete", "forwards", "--all", "--yes"]).ok();
    assert_eq!(records(&place), 0);
}

#[test]
fn a_store_that_is_lost_comes_back_with_its_forwards() {
    const NET: u8 = 35;
    let _alone = alone();
    let place = Place::new("pflost", NET);
    let web = place.named("web");
    instance(&place, &web, &["-p", "0:80"]);
    place.run(&["net", "forward", &web, "18035:81/udp"]).ok();
    let name = format!("{web}-18035-udp");
    place.run(&["label", "forward", &name, "tier=front"]).ok();
    let shown = |place: &Place| {
        let columns = "custom-columns=N:.metadata.name,L:.metadata.labels,S:.spec,P:.status.phase,H:.status.hostPort";
        let list = ["get", "forwards", "-o", columns];
        place.run(&list).ok().stdout
    };
    let (before, rules_before) = (shown(&place), rules(NET));
    assert_eq!(before.matches("Active").count(), 2, "{before}");
    std::fs::remove_dir_all(place.store()).unwrap();
    let rebuilt = place.run(&["store", "rebuild"]).ok();
    rebuilt.prints(&format!("forward/{name} rebuilt"));
    assert_eq!(shown(&place), before);
    place.run(&["reconcile", "--check"]).ok();
    assert_eq!(rules(NET), rules_before);
    assert!(before.contains("front"), "{before}");
    place.run(&["delete", "forward", &name]).ok();
    let domain = place.virsh(&["dumpxml", "--inactive", &web]).ok();
    assert!(!domain.stdout.contains("front"), "{domain}");
    place.delete(&web).ok();
    assert_eq!(rules(NET).len(), 0);
}

/// Asks for the page of the guest's web server.
fn page(url: &str, seconds: u64) -> Option<String> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let args = ["-sS", "-m", "2", url];
        let output = Command::new("curl").args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Some(text);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_guest_is_reached_and_stays_so() {
    const NET: u8 = 34;
    let _alone = alone();
    let place = Place::new("pfreal", NET);
    let web = place.named("web");
    instance(&place, &web, &["-p", "18034:80"]);
    let by_name = "http://localhost:18034/".to_owned();
    let by_address = format!("http://10.213.{NET}.1:18034/");
    assert!(page(&by_name, 60).is_some(), "localhost");
    assert!(page(&by_address, 5).is_some(), "the host's own address");
    let told = place.run(&["describe", "instance", &web]).ok();
    told.prints("Active, the guest answers");

    host("iptables", &["-t", "nat", "-F", "KVMCTL-DNAT"]);
    host("iptables", &["-t", "nat", "-F", "KVMCTL-OUT"]);
    assert_eq!(phase(&place, &format!("{web}-18034")), "Missing");
    let check = ["reconcile", "--check", "-o", "json"];
    place.run(&check).code(1).prints("is missing");
    assert_eq!(page(&by_name, 0), None);
    place.run(&["reconcile"]).ok();
    assert!(page(&by_name, 5).is_some(), "after reconcile");
    let once = rules(NET);
    place
        .run(&["reconcile"])
        .ok()
        .says("Everything is as it should be");
    assert_eq!(rules(NET), once, "a second run changes nothing");

    // The guest goes on running, and its network is another one.
    place.virsh(&["net-destroy", &place.name]).ok();
    place.virsh(&["net-start", &place.name]).ok();
    place.run(&check).code(1).prints("is cut off from network");
    place.run(&["reconcile"]).ok();
    place.run(&["reconcile", "--check"]).ok();
    assert!(
        page(&by_name, 10).is_some(),
        "after a restart of the network"
    );

    place.delete(&web).ok();
    assert_eq!(page(&by_name, 0), None);
    assert_eq!(rules(NET), BTreeSet::new());
}
