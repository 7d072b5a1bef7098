//! Interfaces that come and go, killed anywhere.

use super::forwards::{alone, host, instance, rules};
use super::place::was_killed;
use super::{Place, Recovery};

/// Returns the networks of an instance's definition, by their interfaces.
fn networks(place: &Place, name: &str) -> Vec<String> {
    let list = place.virsh(&["domiflist", name, "--inactive"]).ok().stdout;
    let sources = list.lines().filter_map(|l| l.split_whitespace().nth(2));
    sources.map(str::to_owned).collect()
}

/// Kills a command at every place in turn and gets on in every way.
fn sweep(place: &Place, name: &str, args: &[&str], end: &[String], back: &[&str]) {
    let before = place.traces();
    for n in 1.. {
        let when = format!("{args:?} killed at boundary {n}");
        let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), args);
        if !was_killed(&run) {
            run.ok();
            assert!(n > 2, "the failpoints are gone");
            assert_eq!(networks(place, name), end, "{when}");
            place.run(back).ok();
            break;
        }
        match Recovery::turn(n) {
            Recovery::SameCommand | Recovery::Delete => place.run(args),
            Recovery::Reconcile => place.run(&["reconcile"]),
        }
        .ok();
        assert_eq!(networks(place, name), end, "{when}");
        place.run(args).ok().prints("already");
        place.run(back).ok();
        place.is_as(&before, &when);
    }
    place.is_as(&before, "at the end");
}

#[test]
fn an_attached_network_comes_and_goes_whole() {
    let place = Place::new("nic", 20);
    let empty = place.traces();
    let (name, plain) = (place.named("web"), place.plain());
    let (slots, both) = (
        vec![place.name.clone()],
        vec![place.name.clone(), plain.clone()],
    );
    let create = ["instances", "create", &name, "--image", "tiny"];
    place
        .run(&[&create[..], &["--type", "basic-1", "--no-wait"]].concat())
        .ok();
    // Without a guest nobody asks for leases, and nobody has to let go.
    let stop = ["instances", "stop", &name, "--force", "--timeout", "1s"];
    place.run(&stop).ok();
    let attach = ["instances", "attach-network", &name, &plain];
    let detach = ["instances", "detach-network", &name, &plain];
    sweep(&place, &name, &attach, &both, &detach);
    place.run(&attach).ok();
    // A second detach finds nothing to detach; the network's absence is what was wanted.
    let manifest = place.run(&["get", "instance", &name, "-o", "yaml"]).ok();
    let file = place.file("printed.yaml", &manifest.stdout);
    place.run(&["diff", "-f", &file]).ok();
    for n in 1.. {
        let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &detach);
        let killed = was_killed(&run);
        match Recovery::turn(n) {
            _ if !killed => run.ok(),
            Recovery::Delete => {
                place.delete(&name).ok();
                place.is_as(&empty, &format!("deleted after a kill at boundary {n}"));
                place
                    .run(&[&create[..], &["--type", "basic-1", "--no-wait"]].concat())
                    .ok();
                place.run(&stop).ok()
            }
            _ => place.run(&["reconcile"]).ok(),
        };
        assert_eq!(networks(&place, &name), slots, "killed at boundary {n}");
        if !killed {
            break;
        }
        place.run(&attach).ok();
    }
    place.delete(&name).ok();
    place.is_as(&empty, "after all");
}

#[test]
fn a_network_goes_with_the_instances_that_use_it_only_where_that_is_said() {
    const NET: u8 = 73;
    let _alone = alone();
    let place = Place::new("netgone", NET);
    let (net, web, other) = (place.named("net"), place.named("web"), place.named("other"));
    let create = ["net", "create", &net, "--cidr", "10.213.250.0/24"];
    place.run(&create).ok();
    instance(&place, &other, &["-p", "18073:80"]);
    // The guest may boot meanwhile.
    let traces = || {
        let mut traces = place.traces();
        traces.retain(|t| !t.starts_with("lease"));
        traces
    };
    let others = (rules(NET), traces());
    instance(&place, &web, &["--network", &net, "-p", "18074:80"]);
    assert!(!rules(250).is_empty());
    let user = format!("instance/{web}");
    place
        .run(&["net", "delete", &net])
        .code(5)
        .says(&user)
        .says("--cascade");
    // Nobody is there to be asked.
    let asked = place.run(&["net", "delete", &net, "--cascade"]);
    assert_ne!(asked.status, 0, "{asked}");
    asked.says(&format!("This also deletes, with their disks: {user}"));
    // Tried only, the instances are there still.
    let told = format!("network \"{net}\" deleted (dry run)");
    place
        .run(&["net", "delete", &net, "--cascade", "--dry-run=client"])
        .ok()
        .prints(&told);
    assert_eq!(place.domains().len(), 2);
    place
        .run(&["net", "delete", &net, "--cascade", "--yes"])
        .ok()
        .says(&user);
    assert_eq!(place.domains(), [other.as_str()]);
    let networks = place.virsh(&["net-list", "--all", "--name"]).ok().stdout;
    assert!(!networks.contains(&net), "{networks}");
    assert!(rules(250).is_empty());
    // What uses another network stays.
    assert_eq!((rules(NET), traces()), others);
    place.delete(&other).ok();
}

#[test]
fn a_network_that_comes_or_goes_brings_lost_rules_back() {
    const NET: u8 = 74;
    let _alone = alone();
    let place = Place::new("netrules", NET);
    let (web, other) = (place.named("web"), place.named("other"));
    let plain = place.plain();
    instance(&place, &web, &["-p", "18075:80"]);
    instance(&place, &other, &["-p", "18076:80"]);
    let whole = rules(NET);
    let flush = || {
        for chain in ["KVMCTL-DNAT", "KVMCTL-OUT"] {
            host("iptables", &["-t", "nat", "-F", chain]);
        }
        assert_ne!(rules(NET), whole);
    };
    for verb in ["attach-network", "detach-network"] {
        flush();
        let done = place.run(&["instances", verb, &web, &plain]).ok();
        done.says(&format!("forward/{other}-18076"));
        assert_eq!(rules(NET), whole, "{verb}");
    }
    flush();
    place
        .run(&["net", "create", &place.named("new"), "--mode", "isolated"])
        .ok();
    assert_eq!(rules(NET), whole, "net create");
    place.run(&["net", "delete", &place.named("new")]).ok();
    place.delete(&web).ok();
    place.delete(&other).ok();
}
