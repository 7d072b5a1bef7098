//! Many at once.

use std::collections::BTreeSet;
use std::process::Child;

use super::Place;

fn all_done(children: Vec<Child>) {
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
    }
}

#[test]
fn twenty_creations_at_once_have_twenty_addresses() {
    let place = Place::new("many", 7);
    let before = place.traces();
    let names: Vec<String> = (0..20).map(|n| place.named(&format!("i{n}"))).collect();
    let create = |name: &String| {
        place.spawn(&[
            "instances",
            "create",
            name,
            "--image",
            "tiny",
            "--type",
            "basic-1",
            "--no-wait",
        ])
    };
    all_done(names.iter().map(create).collect());
    let listed = place.run(&["get", "instances", "--no-headers"]).ok().stdout;
    let ours: Vec<&str> = listed
        .lines()
        .filter(|l| l.starts_with(&place.name))
        .collect();
    assert_eq!(ours.len(), 20, "{listed}");
    let addresses: BTreeSet<&str> = ours
        .iter()
        .filter_map(|l| l.split_whitespace().find(|w| w.starts_with("10.213.")))
        .collect();
    assert_eq!(addresses.len(), 20, "{listed}");
    let mut macs = BTreeSet::new();
    for name in &names {
        let xml = place.virsh(&["dumpxml", name]).ok().stdout;
        let mac = xml
            .lines()
            .find(|l| l.contains("<mac address="))
            .unwrap()
            .trim()
            .to_owned();
        macs.insert(mac);
    }
    assert_eq!(macs.len(), 20, "{macs:?}");
    let held = place
        .traces()
        .iter()
        .filter(|t| t.starts_with("slot"))
        .count();
    assert_eq!(held, 20);
    let mut delete = vec!["delete", "instance", "--grace-period", "0"];
    delete.extend(names.iter().map(String::as_str));
    place.run(&delete).ok();
    place.is_as(&before, "all deleted");
}

#[test]
fn two_applies_of_one_file_make_one_instance() {
    let place = Place::new("two", 8);
    let name = place.named("web");
    let manifest = place.manifest(&name, "");
    let before = place.traces();
    let apply = ["apply", "-f", manifest.as_str(), "--wait=false"];
    let outputs: Vec<String> = [place.spawn(&apply), place.spawn(&apply)]
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
        .collect();
    let all = outputs.concat();
    assert!(
        all.contains("created") && all.contains("unchanged"),
        "{all}"
    );
    place.is_whole(&name, &before, "after both");
}

#[test]
fn a_delete_while_create_runs_waits_and_deletes() {
    let place = Place::new("race", 9);
    let name = place.named("web");
    let before = place.traces();
    let create = [
        "instances",
        "create",
        name.as_str(),
        "--image",
        "tiny",
        "--type",
        "basic-1",
        "--no-wait",
    ];
    let creating = place.spawn(&create);
    while place.run(&["get", "instance", &name]).status != 0 {}
    let phase = place.run(&["get", "instances"]).ok();
    assert!(
        !phase.stdout.contains("Interrupted"),
        "somebody is at it: {phase}"
    );
    place.delete(&name).ok();
    all_done(vec![creating]);
    place.is_as(&before, "after both");
}

/// The first one's reservation does not make a network of others one with slots.
#[test]
fn several_instances_fit_into_a_network_without_slots() {
    let place = Place::new("plain", 17);
    let names = ["a", "b", "c"].map(|n| place.named(n));
    let before = place.traces();
    let manifests: Vec<String> = names.iter().map(|n| place.manifest(n, "")).collect();
    let mut apply = vec!["apply", "--wait=false"];
    for manifest in &manifests {
        apply.extend(["-f", manifest]);
    }
    place.run(&apply).ok();
    let path = ".status.addresses[1].address";
    let addresses: BTreeSet<String> = names.iter().map(|n| place.field(n, path)).collect();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    for name in &names {
        place.delete(name).ok();
    }
    place.is_as(&before, "all deleted");
}
