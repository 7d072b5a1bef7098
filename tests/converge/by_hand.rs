//! What people do with virsh beside us.

use super::Place;

const DOMAIN: &str = "<domain type='qemu'><name>NAME</name><memory unit='MiB'>64</memory>\
    <os><type arch='x86_64'>hvm</type></os></domain>";

#[test]
fn a_domain_of_others_is_left_alone_until_it_is_adopted() {
    let place = Place::new("hand", 11);
    let name = place.named("web");
    let xml = place.file("domain.xml", &DOMAIN.replace("NAME", &name));
    place.virsh(&["define", &xml]).ok();
    let before = place.virsh(&["dumpxml", &name]).ok().stdout;
    let manifest = place.manifest(&name, "");
    place
        .run(&["apply", "-f", &manifest, "--wait=false"])
        .code(5)
        .says("kvmctl adopt");
    place.delete(&name).code(5).says("kvmctl adopt");
    place.run(&["reconcile"]).ok();
    assert_eq!(place.virsh(&["dumpxml", &name]).ok().stdout, before);
    place.run(&["adopt", "instance", &name]).ok();
    place.run(&["get", "instances"]).ok().prints(&name);
    place.run(&["forget", "instance", &name]).ok();
    assert_eq!(place.virsh(&["dumpxml", &name]).ok().stdout, before);
    place.delete(&name).code(5);
}

#[test]
fn a_forgotten_instance_keeps_its_address_and_its_disk() {
    let place = Place::new("forget", 12);
    let name = place.named("web");
    let create = |name: &str| {
        place
            .run(&[
                "instances",
                "create",
                name,
                "--image",
                "tiny",
                "--type",
                "basic-1",
                "--no-wait",
            ])
            .ok();
    };
    create(&name);
    let address = place.field(&name, ".status.address");
    place.run(&["forget", "instance", &name]).ok();
    let other = place.named("other");
    create(&other);
    assert_ne!(place.field(&other, ".status.address"), address);
    place.run(&["adopt", "instance", &name]).ok();
    assert_eq!(place.field(&name, ".status.address"), address);
    let uid = place.virsh(&["domuuid", &name]).ok().text().to_owned();
    place.delete(&name).ok();
    let disk = place.pool().join(format!("{name}.{}.qcow2", &uid[..8]));
    assert!(disk.exists(), "the disk of an adopted domain stays");
}

#[test]
fn an_instance_undefined_by_hand_is_told_and_can_be_deleted() {
    let place = Place::new("undef", 13);
    let name = place.named("web");
    let manifest = place.manifest(&name, "");
    let before = place.traces();
    let apply = ["apply", "-f", manifest.as_str(), "--wait=false"];
    place.run(&apply).ok();
    place.virsh(&["destroy", &name]).ok();
    place.virsh(&["undefine", &name]).ok();
    assert_eq!(place.field(&name, ".status.phase"), "Failed");
    place
        .run(&["get", "instances"])
        .ok()
        .prints("False(DomainMissing)");
    place
        .run(&["describe", "instance", &name])
        .ok()
        .prints(&format!("kvmctl delete instance {name}"));
    place
        .run(&apply)
        .code(5)
        .says("removed by hand")
        .says("kvmctl delete");
    let told = place.run(&["reconcile"]);
    assert!(
        (told.stdout.clone() + &told.stderr).contains("lost its domain"),
        "{told}"
    );
    place.delete(&name).ok();
    place.is_as(&before, "after the deletion");
    place.run(&apply).ok();
    // Undefined while it runs, it goes on as a transient domain.
    place.virsh(&["undefine", &name]).ok();
    place.run(&["get", "instances"]).ok();
    place.run(&apply).code(5);
    place.virsh(&["destroy", &name]).ok();
    place.delete(&name).ok();
    place.is_as(&before, "after the second deletion");
}

#[test]
fn a_domain_renamed_by_hand_goes_by_its_new_name_and_keeps_its_disk() {
    let place = Place::new("rename", 27);
    let (old, new) = (place.named("old"), place.named("new"));
    let networks = [place.name.clone(), place.plain()];
    let xml = || {
        networks
            .clone()
            .map(|n| place.virsh(&["net-dumpxml", &n]).ok().stdout)
    };
    let (xml_before, before) = (xml(), place.traces());
    place
        .run(&["apply", "-f", &place.manifest(&old, ""), "--wait=false"])
        .ok();
    // Its network's guests find it before it has booted.
    let address = place.field(&old, ".status.address");
    assert_eq!(place.address_of(&old), Some(address.clone()));
    let uid = place.virsh(&["domuuid", &old]).ok().text().to_owned();
    let disk = place.pool().join(format!("{old}.{}.qcow2", &uid[..8]));
    place.virsh(&["destroy", &old]).ok();
    place.virsh(&["domrename", &old, &new]).ok();

    place.run(&["get", "instance", &old]).code(4);
    place.delete(&old).code(4);
    assert!(
        disk.exists(),
        "what is left of the old name is the new one's disk"
    );
    // Only its own: those of tests beside it would be made anew where they are gone by now.
    let printed = place.run(&["get", "instances", &new, "-o", "yaml"]);
    let printed = printed.ok().stdout;
    let printed = place.file("printed.yaml", &printed);
    place
        .run(&["apply", "-f", &printed])
        .ok()
        .prints("unchanged");
    let told = format!("instance/{new} is known as \"{old}\"");
    place.run(&["reconcile", "--check"]).code(1).prints(&told);
    place.run(&["reconcile"]).ok();
    assert_eq!(
        (place.address_of(&old), place.address_of(&new)),
        (None, Some(address.clone()))
    );
    // Somebody takes the name away, and calls another address something.
    let entry = format!("<host ip='{address}'/>");
    let update = |command: &str, entry: &str| {
        let args = ["net-update", &place.name, command, "dns-host", entry];
        place
            .virsh(&[&args[..], &["--live", "--config"]].concat())
            .ok();
    };
    update("delete", &entry);
    let printer = "<host ip='10.213.27.3'><hostname>printer</hostname></host>";
    update("add-last", printer);
    place
        .run(&["reconcile"])
        .ok()
        .prints("not known by its name");
    assert_eq!(place.address_of(&new), Some(address));
    place.run(&["reconcile", "--check"]).ok();
    place.run(&["instances", "start", &new, "--no-wait"]).ok();
    place.delete(&new).ok();
    assert!(place.address_of("printer").is_some() && place.address_of(&new).is_none());
    update("delete", printer);
    place.is_as(&before, "after the deletion");
    assert_eq!(xml(), xml_before);
}

#[test]
fn a_mark_taken_away_by_hand_is_given_back_with_all_that_is_known() {
    let place = Place::new("mark", 28);
    let name = place.named("web");
    let before = place.traces();
    place
        .run(&["apply", "-f", &place.manifest(&name, ""), "--wait=false"])
        .ok();
    let metadata = [
        "metadata",
        &name,
        "--uri",
        "https://kvmctl.dev/ns/v1",
        "--remove",
    ];
    for config in ["--config", "--live"] {
        place.virsh(&[&metadata[..], &[config]].concat()).ok();
    }
    let listed = || {
        let list = place.run(&["get", "instances", "-o", "name"]).ok();
        list.stdout.contains(&name)
    };
    assert!(!listed(), "it is nobody's");
    place
        .run(&["get", "instances", "--all"])
        .ok()
        .prints("<unmanaged>");
    place.delete(&name).code(5).says("kvmctl adopt");
    place.run(&["adopt", "instance", &name]).ok();
    assert!(listed());
    assert_eq!(place.field(&name, ".spec.image"), "tiny");
    place.delete(&name).ok();
    place.is_as(&before, "after the deletion");
}

/// A change was cut off, and then the domain was renamed: it is finished under the name that it has.
#[test]
fn a_change_that_was_cut_off_is_finished_under_the_new_name() {
    let place = Place::new("moved", 41);
    let before = place.traces();
    for reconciles in [true, false] {
        let (old, new) = (place.named("old"), place.named("new"));
        place
            .run(&["apply", "-f", &place.manifest(&old, ""), "--wait=false"])
            .ok();
        place.virsh(&["destroy", &old]).ok();
        let change = ["label", "instance", &old, "round=two"];
        let cut = place.run_with(("KVMCTL_FAILPOINT", "1"), &change);
        assert!(super::place::was_killed(&cut), "{cut}");
        place.virsh(&["domrename", &old, &new]).ok();
        match reconciles {
            true => place.run(&["reconcile"]).ok(),
            false => place.run(&["label", "instance", &new, "round=two"]).ok(),
        };
        assert_eq!(place.field(&new, ".metadata.labels.round"), "two");
        assert_eq!(place.field(&new, ".status.reason"), "");
        place.run(&["get", "instance", &old]).code(4);
        // The old name is free, and leads to nothing of the new one's.
        place
            .run(&["apply", "-f", &place.manifest(&old, ""), "--wait=false"])
            .ok()
            .prints("created");
        place.delete(&old).ok();
        place.delete(&new).ok();
        place.is_as(&before, "after the deletion");
    }
}
