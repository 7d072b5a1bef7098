//! A store that was lost, on a host of which a part cannot be looked at.

use std::fs;

use super::rig::{Rig, sh};

#[test]
fn a_pool_that_cannot_be_looked_at_does_not_keep_the_rest_from_being_rebuilt() {
    let rig = Rig::new();
    let dirs = ["a-broken", "whole"].map(|name| (name, rig.path(name)));
    for (name, dir) in &dirs {
        fs::create_dir(dir).unwrap();
        let dir = dir.display();
        sh(&format!(
            "virsh -q pool-create-as {name} dir --target {dir}"
        ));
    }
    rig.run(&["net", "create", "blue", "--cidr", "10.73.9.0/24"])
        .ok();
    let create = ["volumes", "create", "data", "--size", "8Mi"];
    rig.run(&[&create[..], &["--pool", "whole"]].concat()).ok();
    fs::remove_dir_all(rig.path("store")).unwrap();
    fs::remove_dir(&dirs[0].1).unwrap();
    rig.run(&["store", "rebuild"])
        .prints("network/blue rebuilt")
        .prints("volume/data rebuilt")
        .says("a-broken")
        .code(9);
    // libvirt does not take it for active any more.
    rig.run(&["store", "rebuild"])
        .ok()
        .prints("nothing is missing");
    rig.run(&["delete", "volume", "data"]).ok();
    rig.delete(&["blue"]);
    sh("virsh -q pool-destroy whole");
}
