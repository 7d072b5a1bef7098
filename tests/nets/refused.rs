//! What is refused because of somebody else, and what a failure leaves.

use std::net::UdpSocket;

use super::rig::{Rig, sh};

const DOMAIN: &str = "<domain type='qemu'><name>legacy</name><memory unit='MiB'>16</memory>\
    <os><type arch='x86_64'>hvm</type></os><devices><interface type='network'>\
    <source network='blue'/></interface></devices></domain>";

#[test]
fn a_network_that_a_stopped_domain_uses_stays() {
    let rig = Rig::new();
    let before = rig.traces();
    rig.run(&["net", "create", "blue", "--cidr", "10.73.1.0/24"])
        .ok();
    let file = rig.file("legacy.xml", DOMAIN);
    sh(&format!("virsh -q define {file}"));
    rig.run(&["net", "delete", "blue"])
        .code(5)
        .says("domain \"legacy\" (unmanaged, stopped)");
    rig.run(&["net", "delete", "blue", "--cascade", "--yes"])
        .code(5)
        .says("not kvmctl's to delete");
    rig.run(&["net", "describe", "blue"]).ok().prints("legacy");
    // It does not run, so nobody loses anything.
    rig.run(&["net", "stop", "blue"])
        .ok()
        .prints("network/blue stopped");
    rig.run(&["net", "stop", "blue"])
        .ok()
        .prints("already stopped");
    assert_eq!(rig.field("blue", ".status.phase"), "Inactive");
    rig.run(&["net", "start", "blue"]).ok();
    sh("virsh -q undefine legacy");
    rig.delete(&["blue"]);
    assert_eq!(rig.traces(), before);
}

#[test]
fn a_network_that_cannot_start_is_not_there() {
    let rig = Rig::new();
    let before = rig.traces();
    // A name server of the host's that listens everywhere, where dnsmasq wants to.
    let holder = UdpSocket::bind("0.0.0.0:53").unwrap();
    rig.run(&["net", "create", "blue", "--cidr", "10.73.2.0/24"])
        .code(5)
        .says("cannot create network/blue");
    assert_eq!(rig.traces(), before);
    drop(holder);
    rig.run(&["net", "create", "blue", "--cidr", "10.73.2.0/24"])
        .ok();
    rig.delete(&["blue"]);
}

#[test]
fn what_others_made_is_not_touched_until_it_is_adopted() {
    let rig = Rig::new();
    let xml = "<network><name>lab</name><forward mode='nat'/><ip address='10.73.3.1' \
               netmask='255.255.255.0'><dhcp><range start='10.73.3.2' end='10.73.3.254'/></dhcp>\
               </ip></network>";
    let file = rig.file("lab.xml", xml);
    sh(&format!(
        "virsh -q net-define {file}; virsh -q net-start lab"
    ));
    let before = sh("virsh -q net-dumpxml --inactive lab");
    for verb in [
        &["stop", "lab", "--yes"][..],
        &["delete", "lab"],
        &["label", "lab", "a=b"],
    ] {
        let mut args = vec!["net"];
        args.extend(verb);
        rig.run(&args).code(5).says("kvmctl adopt network/lab");
    }
    rig.run(&["net", "list"]).ok().says("not managed by kvmctl");
    rig.run(&["net", "list", "--all"]).ok().prints("lab");
    assert_eq!(sh("virsh -q net-dumpxml --inactive lab"), before);
    rig.run(&["net", "adopt", "lab"]).ok();
    rig.run(&["net", "adopt", "lab"]).ok();
    assert_eq!(rig.field("lab", ".status.managed"), "true");
    let printed = rig.run(&["get", "network", "lab", "-o", "yaml"]).ok();
    let again = rig.file("lab.yaml", &printed.stdout);
    rig.run(&["apply", "-f", &again]).ok().prints("unchanged");
    rig.run(&["net", "forget", "lab"]).ok();
    assert_eq!(sh("virsh -q net-dumpxml --inactive lab"), before);
    rig.run(&["net", "adopt", "lab"]).ok();
    rig.delete(&["lab"]);
}
