//! Without its store, everything is found again in libvirt and the pool.

use super::Place;

#[test]
fn the_store_is_rebuilt_and_the_addresses_are_known() {
    let place = Place::new("rebuild", 10);
    let name = place.named("web");
    let manifest = place.manifest(
        &name,
        "  env: [{name: GREETING, value: \"it's $HOME\"}]\n  run: [\"echo hello\"]\n",
    );
    place.run(&["apply", "-f", &manifest, "--wait=false"]).ok();
    let all = ["get", "instances", "-o", "yaml"];
    let ours = |text: &str| {
        let list: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
        let items = list["items"].as_sequence().unwrap().clone();
        let mine = items
            .into_iter()
            .find(|i| i["metadata"]["name"] == name.as_str());
        serde_yaml::to_string(&mine.expect("it is listed")).unwrap()
    };
    let before = ours(&place.run(&all).ok().stdout);
    std::fs::remove_dir_all(place.store()).unwrap();
    place.run(&["store", "rebuild"]).ok().prints(&name);
    similar(&before, &ours(&place.run(&all).ok().stdout));
    place
        .run(&["apply", "-f", &manifest, "--wait=false"])
        .ok()
        .prints("unchanged");
    let mine = place.field(&name, ".status.address");
    let other = place.named("other");
    let create = [
        "instances",
        "create",
        other.as_str(),
        "--image",
        "tiny",
        "--type",
        "basic-1",
        "--no-wait",
    ];
    place.run(&create).ok();
    assert_ne!(place.field(&other, ".status.address"), mine);
    let before = place.traces();
    place.delete(&name).ok();
    let after = place.traces();
    assert!(after.is_subset(&before));
    assert!(!after.iter().any(|t| t.contains(&name)), "{after:#?}");
    let reserved = after
        .iter()
        .filter(|t| t.starts_with(&format!("host in {}", place.plain())));
    assert_eq!(reserved.count(), 0);
}

/// What is secret stands in the domain as a hash that nobody can try words against, also when it is all
/// that is left: the key is in the seed, and lost with it.
#[test]
fn what_is_left_of_secrets_is_learnt_from_the_next_manifest() {
    let place = Place::new("learn", 42);
    let name = place.named("web");
    let manifest = |run: &str| {
        let secrets = format!(
            "  userData: \"#!/bin/sh\\ntrue\"\n  env: [{{name: PIN, value: \"1234\"}}]\n  run: [\"{run}\"]\n"
        );
        place.manifest(&name, &secrets)
    };
    let apply = |file: &str| place.run(&["apply", "-f", file, "--wait=false"]);
    apply(&manifest("echo hello")).ok();
    let public = || place.virsh(&["dumpxml", &name]).ok().stdout;
    let unsalted = "03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4";
    let xml = public();
    assert!(xml.contains("***hmac:") && !xml.contains(unsalted), "{xml}");
    let run_id = place.virsh(&["domid", &name]).ok();

    std::fs::remove_dir_all(place.store()).unwrap();
    place.run(&["store", "rebuild"]).ok();
    apply(&manifest("echo hello")).ok().prints("unchanged");
    assert_eq!(xml, public(), "the key was in the seed");

    let uid = place.virsh(&["domuuid", &name]).ok().text().to_owned();
    let seed = format!("{name}.{}.seed.iso", &uid[..8]);
    std::fs::remove_dir_all(place.store()).unwrap();
    std::fs::remove_file(place.pool().join(seed)).unwrap();
    place
        .run(&["store", "rebuild"])
        .ok()
        .prints("known only by its hash");
    apply(&manifest("echo hello")).ok().prints("unchanged");
    assert_ne!(xml, public(), "there is another key");
    assert_eq!(place.field(&name, ".spec.env[0].value"), "1234");
    apply(&manifest("echo another"))
        .code(5)
        .says("spec.run: field is immutable");
    assert_eq!(run_id.text(), place.virsh(&["domid", &name]).ok().text());
    place.delete(&name).ok();
    // The domains of other tests were found by the rebuild, too.
    let after = place.traces();
    let left = |trace: &String| trace.contains(&name) || trace.contains(&uid);
    assert!(!after.iter().any(left), "{after:#?}");
}

#[track_caller]
fn similar(before: &str, after: &str) {
    assert_eq!(before, after);
}
