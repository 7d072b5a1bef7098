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
