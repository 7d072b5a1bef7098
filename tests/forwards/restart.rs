//! What is written on a domain outlives the daemon.

use super::net::sh;
use super::rig::{Backend, Rig};
use crate::support::Env;

/// Point 76 of kubectl's conventions.
#[test]
fn a_label_of_a_guest_that_runs_outlives_the_daemon() {
    let rig = Rig::new(Backend::Iptables);
    let env = Env::bare();
    let name = "fwa-label";
    let xml = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory>\
         <os><type arch='x86_64'>hvm</type></os></domain>"
    );
    let file = env.file("domain.xml", &xml).display().to_string();
    sh(&format!("virsh -q define {file} && virsh -q start {name}"));
    let run_id = || env.run("virsh", &["-q", "domid", name]).ok();
    let before = run_id();
    env.kvmctl(["adopt", "instance", name]).ok();
    env.kvmctl(["label", "instance", name, "tier=front"]).ok();

    rig.restart_daemon();
    let found = || env.kvmctl(["get", "instances", "-l", "tier=front", "-o", "name"]);
    assert_eq!(found().ok().text(), format!("instance/{name}"));
    // Nor is it the index alone that knows.
    std::fs::remove_file("/var/lib/kvmctl/index.json").unwrap();
    assert_eq!(found().ok().text(), format!("instance/{name}"));
    assert_eq!(before.text(), run_id().text(), "the guest ran on");

    env.kvmctl(["forget", "instance", name]).ok();
    sh(&format!(
        "virsh -q destroy {name}; virsh -q undefine {name}"
    ));
}
