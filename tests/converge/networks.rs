//! Interfaces that come and go, killed anywhere.

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
