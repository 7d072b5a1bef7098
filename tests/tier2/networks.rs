//! Networks on a daemon without a firewall: what one command does, the daemon and the next one see.

use super::start;
use crate::support::Env;

fn field(env: &Env, network: &str, path: &str) -> String {
    let format = format!("jsonpath={{{path}}}");
    let told = env.kvmctl(["get", "network", network, "-o", &format]).ok();
    told.text().to_owned()
}

#[test]
fn a_network_comes_stops_starts_and_goes() {
    let (daemon, env) = start();
    let before = daemon.virsh(&["net-list", "--all"]);
    let create = ["net", "create", "blue", "--cidr", "10.71.1.0/24"];
    env.kvmctl(create).ok().prints("network/blue created");
    env.kvmctl(create).code(5).says("already exists");
    let xml = daemon.virsh(&["net-dumpxml", "blue"]);
    let uid = daemon.virsh(&["net-uuid", "blue"]).trim().to_owned();
    assert!(xml.contains(&format!("<kvmctl:uid>{uid}<")), "{xml}");
    assert_eq!(field(&env, "blue", ".metadata.uid"), uid);
    let info = daemon.virsh(&["net-info", "blue"]);
    assert!(info.contains("Autostart:      yes"), "{info}");
    assert_eq!(field(&env, "blue", ".status.phase"), "Active");

    env.kvmctl(["net", "stop", "blue"]).ok();
    assert!(
        daemon
            .virsh(&["net-info", "blue"])
            .contains("Active:         no")
    );
    assert_eq!(field(&env, "blue", ".status.phase"), "Inactive");
    // While a network runs, the test driver shows no definition but that with which it was started.
    env.kvmctl(["label", "network", "blue", "tier=lab"]).ok();
    assert!(daemon.virsh(&["net-dumpxml", "blue"]).contains("tier"));
    env.kvmctl(["net", "start", "blue"]).ok();
    assert!(
        daemon
            .virsh(&["net-info", "blue"])
            .contains("Active:         yes")
    );

    // The mark is the network's own: another store sees it, too.
    std::fs::remove_dir_all(env.path("store")).unwrap();
    assert_eq!(field(&env, "blue", ".metadata.labels.tier"), "lab");
    env.kvmctl(["net", "delete", "blue"]).ok();
    assert_eq!(daemon.virsh(&["net-list", "--all"]), before);
    env.kvmctl(["net", "delete", "blue"]).code(4);
}

#[test]
fn ranges_are_what_no_network_of_the_daemon_has() {
    let (_daemon, env) = start();
    let create = |name: &str, cidr: &str| env.kvmctl(["net", "create", name, "--cidr", cidr]);
    // The test driver's own.
    create("clash", "192.168.122.128/25")
        .code(5)
        .says("network \"default\"");
    for name in ["one", "two"] {
        env.kvmctl(["net", "create", name])
            .ok()
            .says("is free and was taken");
    }
    assert_ne!(
        field(&env, "one", ".status.cidr"),
        field(&env, "two", ".status.cidr")
    );
    let long = "a-network-with-quite-a-long-name";
    create(long, "10.71.2.0/24").ok();
    assert!(field(&env, long, ".status.bridge").len() <= 15);
    env.kvmctl(["net", "delete", "one", "two", long]).ok();
}

#[test]
fn an_edit_of_what_cannot_change_changes_nothing() {
    let (daemon, env) = start();
    let env = env.with("EDITOR", "sed -i s/10.71.3.0/10.71.4.0/");
    env.kvmctl(["net", "create", "blue", "--cidr", "10.71.3.0/24"])
        .ok();
    let before = daemon.virsh(&["net-dumpxml", "blue"]);
    env.kvmctl(["edit", "network", "blue"])
        .code(5)
        .says("spec.cidr: field is immutable");
    assert_eq!(daemon.virsh(&["net-dumpxml", "blue"]), before);
}

#[test]
fn a_network_of_others_is_adopted_before_it_is_changed() {
    let (daemon, env) = start();
    env.kvmctl(["net", "delete", "default"])
        .code(5)
        .says("kvmctl adopt network/default");
    let uuid = daemon.virsh(&["net-uuid", "default"]);
    // As above: what is written shows when it does not run.
    daemon.virsh(&["net-destroy", "default"]);
    env.kvmctl(["net", "adopt", "default"]).ok();
    assert_eq!(daemon.virsh(&["net-uuid", "default"]), uuid);
    assert_eq!(field(&env, "default", ".status.managed"), "true");
    env.kvmctl(["forget", "network", "default"]).ok();
    let xml = daemon.virsh(&["net-dumpxml", "default"]);
    assert!(!xml.contains("kvmctl"), "{xml}");
}

#[test]
fn a_bridge_is_no_network_and_the_way_to_it_is_told() {
    let (_daemon, env) = start();
    let create = [
        "instances",
        "create",
        "web",
        "--image",
        "debian-12",
        "--network",
        "bridge:br0",
    ];
    env.kvmctl(create)
        .code(2)
        .says("kvmctl net create NAME --mode bridge --bridge br0");
}
