//! Ranges and bridges: what is free, and what is refused.

use std::collections::BTreeSet;

use super::rig::{Rig, sh};
use crate::support::CommandOutput;

#[test]
fn six_at_once_get_six_ranges() {
    let rig = Rig::new();
    let before = rig.traces();
    let names: Vec<String> = (0..6).map(|n| format!("n{n}")).collect();
    let running: Vec<_> = names
        .iter()
        .map(|n| rig.spawn(&["net", "create", n]))
        .collect();
    for (name, child) in names.iter().zip(running) {
        let output = child.wait_with_output().unwrap();
        CommandOutput::new("kvmctl", &["net", "create", name], &output).ok();
    }
    let ranges: BTreeSet<String> = names.iter().map(|n| rig.field(n, ".status.cidr")).collect();
    assert_eq!(ranges.len(), 6, "{ranges:?}");
    for name in &names {
        assert_eq!(rig.field(name, ".status.phase"), "Active");
        let bridge = rig.field(name, ".status.bridge");
        assert!(bridge.len() <= 15 && bridge.starts_with("kvm-"), "{bridge}");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.delete(&names);
    assert_eq!(rig.traces(), before);
}

#[test]
fn a_range_that_somebody_has_is_refused_by_name() {
    let rig = Rig::new();
    let before = rig.traces();
    let create = |name: &str, cidr: &str| rig.run(&["net", "create", name, "--cidr", cidr]);
    create("blue", "10.72.1.0/24").ok();
    create("red", "10.72.1.128/25")
        .code(5)
        .says("network \"blue\"");
    sh(
        "ip link add out0 type veth peer name out1; ip link set out0 up; ip link set out1 up
        ip addr add 10.72.2.1/24 dev out0; ip addr add 10.72.3.1/32 dev lo
        ip route add 10.72.4.0/22 via 10.72.2.9",
    );
    create("red", "10.72.2.128/25")
        .code(5)
        .says("10.72.2.0/24, the route via out0");
    create("red", "10.72.3.0/24")
        .code(5)
        .says("10.72.3.1/32, an address of this host");
    create("red", "10.72.5.0/24")
        .code(5)
        .says("10.72.4.0/22, the route via out0");
    rig.run(&["net", "create", "red", "--bridge", "out1"])
        .code(5)
        .says("\"out1\" is the name of a device of this host");
    rig.run(&[
        "net", "create", "red", "--mode", "bridge", "--bridge", "out1",
    ])
    .code(2)
    .says("there is no bridge \"out1\"");
    rig.run(&[
        "net", "create", "red", "--mode", "macvtap", "--dev", "nope0",
    ])
    .code(2)
    .says("there is no network device \"nope0\"");
    sh("ip link del out0; ip addr del 10.72.3.1/32 dev lo");
    rig.delete(&["blue"]);
    assert_eq!(rig.traces(), before, "what was refused left nothing");
}

#[test]
fn each_mode_is_one_that_libvirt_starts() {
    let rig = Rig::new();
    let before = rig.traces();
    sh("ip link add br-t type bridge; ip link set br-t up
        ip link add out0 type veth peer name out1; ip link set out0 up; ip link set out1 up");
    for (mode, more) in [
        ("nat", &["--ipv6", "fd00:72::/64"][..]),
        ("isolated", &["--no-dhcp"]),
        ("route", &["--dev", "out0"]),
        ("open", &["--dhcp-range", "10.72.9.100-10.72.9.199"]),
        ("bridge", &["--bridge", "br-t"]),
        ("macvtap", &["--dev", "out0"]),
    ] {
        let mut args = vec!["net", "create", mode, "--mode", mode, "--no-autostart"];
        if !["bridge", "macvtap"].contains(&mode) {
            args.extend(["--cidr", "10.72.9.0/24"]);
        }
        args.extend(more);
        rig.run(&args).ok();
        assert_eq!(rig.field(mode, ".status.phase"), "Active", "{mode}");
        assert_eq!(rig.field(mode, ".status.mode"), mode);
        assert_eq!(rig.field(mode, ".status.autostart"), "false");
        // What is printed can be applied again, and changes nothing.
        let printed = rig.run(&["get", "network", mode, "-o", "yaml"]).ok();
        let file = rig.file("again.yaml", &printed.stdout);
        rig.run(&["apply", "-f", &file]).ok().prints("unchanged");
        rig.delete(&[mode]);
    }
    sh("ip link del br-t; ip link del out0");
    assert_eq!(rig.traces(), before);
}

#[test]
fn a_change_keeps_what_was_written_by_hand() {
    let rig = Rig::new();
    rig.run(&["net", "create", "blue", "--cidr", "10.72.7.0/24"])
        .ok();
    // A reservation of somebody's, and a portgroup.
    sh("virsh -q net-update blue add-last ip-dhcp-host \
        \"<host mac='52:54:00:01:02:03' name='printer' ip='10.72.7.5'/>\" --live --config
        virsh -q net-update blue add-last portgroup \"<portgroup name='lab'/>\" --live --config");
    let patch = r#"{"spec":{"mtu":1300,"dhcp":{"range":"10.72.7.200-10.72.7.220"}}}"#;
    rig.run(&["patch", "network", "blue", "-p", patch])
        .ok()
        .prints("patched");
    let xml = sh("virsh -q net-dumpxml blue");
    assert!(xml.contains("name='printer' ip='10.72.7.5'"), "{xml}");
    assert!(xml.contains("<portgroup name='lab'"), "{xml}");
    assert!(xml.contains("<mtu size='1300'/>"), "{xml}");
    assert_eq!(
        rig.field("blue", ".status.dynamicRange"),
        "10.72.7.200-10.72.7.220"
    );
    rig.run(&[
        "patch",
        "network",
        "blue",
        "-p",
        r#"{"spec":{"mode":"route"}}"#,
    ])
    .code(5)
    .says("spec.mode: field is immutable");
    rig.run(&["net", "label", "blue", "tier=lab"]).ok();
    rig.run(&["net", "list", "-l", "tier=lab"])
        .ok()
        .prints("blue");
    rig.delete(&["blue"]);
}

#[test]
fn an_edit_changes_a_network_that_runs_or_says_why_not() {
    let rig = Rig::new();
    rig.run(&["net", "create", "blue", "--cidr", "10.72.8.0/24"])
        .ok();
    let edit = |editor: &str| rig.run_with(("EDITOR", editor), &["edit", "network", "blue"]);
    edit("true").ok().says("Edit cancelled, no changes made.");
    edit("sed -i s/10.72.8.0/10.72.9.0/")
        .code(5)
        .says("spec.cidr: field is immutable");
    assert_eq!(rig.field("blue", ".status.cidr"), "10.72.8.0/24");
    edit("sed -i '/^spec:/a\\ \\ mtu: 1380'")
        .ok()
        .prints("network/blue");
    let xml = sh("virsh -q net-dumpxml blue; virsh -q net-dumpxml --inactive blue");
    assert_eq!(xml.matches("<mtu size='1380'/>").count(), 2, "{xml}");
    rig.delete(&["blue"]);
}
