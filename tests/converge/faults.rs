//! What the host does to us: one clear error, and nothing half made.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::Place;

fn create(name: &str) -> [&str; 8] {
    [
        "instances",
        "create",
        name,
        "--image",
        "tiny",
        "--type",
        "basic-1",
        "--no-wait",
    ]
}

/// A directory with a tool that does as `script` says, to be put first on PATH.
fn fake(place: &Place, tool: &str, script: &str) -> String {
    let dir = place.store().with_file_name("fake");
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join(tool);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", dir.display())
}

#[test]
fn a_tool_that_fails_or_lies_leaves_nothing() {
    let place = Place::new("tool", 14);
    let name = place.named("web");
    let before = place.traces();
    let path = fake(&place, "genisoimage", "echo out of tea >&2; exit 3");
    place
        .run_with(("PATH", &path), &create(&name))
        .code(1)
        .says("out of tea");
    place.is_as(&before, "a tool that fails");
    let path = fake(&place, "genisoimage", "exit 0");
    place
        .run_with(("PATH", &path), &create(&name))
        .code(1)
        .says("genisoimage");
    place.is_as(&before, "a tool that does nothing");
    place.run(&create(&name)).ok();
}

#[test]
fn a_store_that_cannot_be_written_changes_nothing() {
    let place = Place::new("eio", 15);
    let name = place.named("web");
    let before = place.traces();
    for fault in ["error=EIO:when=1", "error=EIO:when=2", "error=EIO:when=3"] {
        let run = place.tampered("fsync", fault, &create(&name));
        assert_ne!(run.status, 0, "{fault}: {run}");
        run.says("error:");
        if place.run(&["get", "instance", &name]).status == 0 {
            place.delete(&name).ok();
        }
        place.is_as(&before, fault);
    }
    let run = place.tampered("renameat", "error=ENOSPC:when=1+", &create(&name));
    run.code(1).says("error:");
    place.is_as(&before, "a full disk");
    place.run(&create(&name)).ok();
    let run = place.tampered(
        "fsync",
        "error=EIO",
        &["delete", "instance", &name, "--grace-period", "0"],
    );
    assert_ne!(run.status, 0, "{run}");
    place.delete(&name).ok();
    place.is_as(&before, "deleted after the fault");
}

#[test]
fn a_missing_tool_is_named_before_anything_is_made() {
    let place = Place::new("missing", 18);
    let name = place.named("web");
    let before = place.traces();
    // Only timeout, which runs kvmctl.
    let dir = place.store().with_file_name("bare");
    fs::create_dir_all(&dir).unwrap();
    std::os::unix::fs::symlink("/usr/bin/timeout", dir.join("timeout")).unwrap();
    let run = place.run_with(("PATH", &dir.display().to_string()), &create(&name));
    run.code(8).says("genisoimage").says("hint:");
    place.is_as(&before, "no tool");
}

#[test]
fn a_full_pool_is_refused_or_undone() {
    let place = Place::new("full", 19);
    let name = place.named("web");
    let before = place.traces();
    let pool = place.pool().display().to_string();
    let image = place.pool().join("../cv-full-image");
    fs::create_dir_all(&image).unwrap();
    let copied = std::process::Command::new("sh")
        .args(["-c", &format!("cp -a {pool}/. {0}/ && mount -t tmpfs -o size=20m none {pool} && cp -a {0}/. {pool}/", image.display())])
        .status()
        .unwrap();
    assert!(copied.success());
    place.virsh(&["pool-refresh", &place.name]).ok();
    let run = place.run(&create(&name));
    let unmounted = std::process::Command::new("umount")
        .args(["-l", &pool])
        .status()
        .unwrap();
    let _ = fs::remove_dir_all(&image);
    assert!(unmounted.success());
    run.code(1).says("full").says("hint:");
    place.virsh(&["pool-refresh", &place.name]).ok();
    place.is_as(&before, "a full pool");
}

#[test]
fn a_store_that_others_may_change_is_refused() {
    let place = Place::new("mode", 16);
    let name = place.named("web");
    let before = place.traces();
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o777)).unwrap();
    let run = place.run(&create(&name));
    assert_ne!(run.status, 0, "{run}");
    run.says("hint:");
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o700)).unwrap();
    place.is_as(&before, "refused");
}
