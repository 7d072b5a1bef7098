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

#[track_caller]
fn similar(before: &str, after: &str) {
    assert_eq!(before, after);
}
