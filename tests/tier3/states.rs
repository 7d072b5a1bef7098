//! Deleting an instance from whatever state it is in, and power.

use serde_json::json;

use super::host::{
    Background, Identity, apply, expect_no_trace, field, guest_env, host, instance, tiny,
};
use crate::support::{CommandOutput, Env};

/// What may be left in the folders that libvirt keeps the state of domains in.
const STATE_OF_DOMAINS: [&str; 5] = ["save", "snapshot", "checkpoint", "nvram", "ram"];

fn make(env: &Env, name: &str) {
    apply(env, &tiny(name), &["--no-wait"]).ok();
}

fn virsh(env: &Env, args: &[&str]) -> CommandOutput {
    let mut all = vec!["-q", "-c", "qemu:///system"];
    all.extend(args);
    env.run("virsh", &all).ok()
}

/// Makes one and waits for it to be Ready, which it has not become yet.
fn waiting_for(env: &Env, name: &str) -> Background {
    let file = env.file(&format!("{name}.json"), &tiny(name).to_string());
    let file = file.display().to_string();
    let args = ["apply", "-f", &file, "--wait", "--timeout=10m"];
    let wait = Background::start(env, &format!("{name}.out"), &args);
    wait.says("booting");
    wait
}

/// Deletes it and expects no trace of it, nor a file of libvirt's.
fn delete(env: &Env, name: &str) -> CommandOutput {
    let identity = Identity::of(env, name);
    let deleted = env.kvmctl(["delete", "instance", name, "--force"]).ok();
    env.kvmctl(["get", "instance", name]).code(4);
    identity.expect_gone();
    for state in STATE_OF_DOMAINS {
        let place = format!("/var/lib/libvirt/qemu/{state}");
        let pattern = format!("{name}*");
        assert_eq!(host("find", &[&place, "-name", &pattern]), "");
    }
    deleted
}

#[test]
fn an_instance_is_deleted_from_every_state() {
    let env = guest_env();
    make(&env, "st-paused");
    virsh(&env, &["suspend", "st-paused"]);
    assert_eq!(field(&env, "st-paused", ".status.phase"), "Paused");
    env.kvmctl(["describe", "instance", "st-paused"])
        .ok()
        .prints("paused (by the user)");
    let wait = ["wait", "--for=condition=Ready", "instance/st-paused"];
    env.kvmctl([&wait[..], &["--timeout=1s"]].concat())
        .code(6)
        .says("last seen: booting");
    delete(&env, "st-paused");

    let wait = waiting_for(&env, "st-crashed");
    let pid = std::fs::read_to_string("/run/libvirt/qemu/st-crashed.pid").unwrap();
    env.run("kill", &["-9", pid.trim()]).ok();
    let said = wait.ends(1);
    assert!(
        said.contains("did not become Ready: the guest crashed"),
        "{said}"
    );
    env.kvmctl([
        "wait",
        "--for=jsonpath={.status.phase}=Crashed",
        "instance/st-crashed",
    ])
    .ok();
    delete(&env, "st-crashed");

    let wait = waiting_for(&env, "st-off");
    virsh(&env, &["destroy", "st-off"]);
    let said = wait.ends(1);
    assert!(said.contains("powered off before it was ready"), "{said}");
    delete(&env, "st-off");

    make(&env, "st-saved");
    virsh(&env, &["managedsave", "st-saved"]);
    assert_eq!(field(&env, "st-saved", ".status.phase"), "Stopped");
    // What one comes to shows while another is still waited for.
    let wait = ["wait", "--for=condition=Ready", "--timeout=1h"];
    let both = [&wait[..], &["instance/st-nobody", "instance/st-saved"]].concat();
    Background::start(&env, "both.out", &both).says("instance/st-saved is not running");
    delete(&env, "st-saved");

    let mut uefi = tiny("st-uefi");
    uefi["spec"]["firmware"] = json!("uefi");
    apply(&env, &uefi, &["--no-wait"]).ok();
    let nvram = host(
        "find",
        &["/var/lib/libvirt/qemu/nvram", "-name", "st-uefi*"],
    );
    assert!(!nvram.is_empty());
    delete(&env, "st-uefi");
}

/// Overlays of snapshots lie beside the disk and go with it; what lies elsewhere stays and is named.
#[test]
fn snapshots_go_and_what_is_not_ours_stays() {
    let env = guest_env();
    let name = "st-snap";
    make(&env, name);
    virsh(&env, &["snapshot-create-as", name, "inside"]);
    virsh(&env, &["snapshot-create-as", name, "beside", "--disk-only"]);
    let overlays = host(
        "find",
        &["/var/lib/libvirt/images", "-name", "st-snap.*.beside"],
    );
    assert!(!overlays.is_empty());
    let foreign = env.path("foreign.qcow2").display().to_string();
    host("chmod", &["711", &env.path("").display().to_string()]);
    env.run("qemu-img", &["create", "-q", "-f", "qcow2", &foreign, "1M"])
        .ok();
    let attach = [
        "attach-disk",
        name,
        &foreign,
        "vdb",
        "--subdriver",
        "qcow2",
        "--persistent",
    ];
    virsh(&env, &attach);
    let told = delete(&env, name);
    let kept = format!("kept {foreign} (disk vdb)");
    assert!(told.stderr.contains(&kept), "{told}");
    assert!(!told.stderr.contains("images/"), "{told}");
    assert!(std::path::Path::new(&foreign).exists());

    make(&env, "st-check");
    virsh(&env, &["checkpoint-create-as", "st-check", "point"]);
    delete(&env, "st-check");
}

/// A guest without an operating system hears no power button.
#[test]
fn power_of_a_guest_that_does_not_listen() {
    let env = guest_env();
    let name = "st-deaf";
    let disk = env.path("deaf.raw").display().to_string();
    // A partition table, so that it passes for a disk, and nothing that boots.
    env.run("truncate", &["-s", "4M", &disk]).ok();
    let table = format!("echo '2048,,83' | sfdisk -q {disk}");
    env.run("sh", &["-c", &table]).ok();
    env.kvmctl(["images", "import", &disk, "--name", "deaf"])
        .ok();
    let manifest = instance(name, "deaf", &json!({"memory": "64Mi", "disk": "8Mi"}));
    apply(&env, &manifest, &["--no-wait"]).ok();
    let identity = Identity::of(&env, name);

    env.kvmctl(["instances", "stop", name, "--timeout", "2s"])
        .code(6)
        .says("it is still running")
        .says("hint: kvmctl instances stop st-deaf --force");
    assert_eq!(field(&env, name, ".status.phase"), "Running");
    env.kvmctl(["instances", "restart", name, "--timeout", "1s"])
        .code(6);

    env.kvmctl(["instances", "pause", name]).ok();
    assert_eq!(virsh(&env, &["domstate", name]).text(), "paused");
    env.kvmctl(["instances", "pause", name, "--error-unchanged"])
        .code(3);
    env.kvmctl(["instances", "resume", name]).ok();
    assert_eq!(virsh(&env, &["domstate", name]).text(), "running");

    let pid = || std::fs::read_to_string(format!("/run/libvirt/qemu/{name}.pid")).unwrap();
    let before = pid();
    env.kvmctl(["instances", "restart", name, "--force", "--timeout", "1s"])
        .ok();
    assert_ne!(pid(), before, "another QEMU");
    env.kvmctl(["instances", "stop", name, "--force", "--timeout", "1s"])
        .ok();
    assert_eq!(field(&env, name, ".status.phase"), "Stopped");
    env.kvmctl(["instances", "resume", name]).code(5);

    grows_while_off(&env, name);
    env.kvmctl(["delete", "instance", name]).ok();
    identity.expect_gone();
    expect_no_trace(name);
    env.kvmctl(["delete", "image", "deaf"]).ok();
}

fn grows_while_off(env: &Env, name: &str) {
    let capacity = || -> String {
        let disk = host("virsh", &["-q", "domblkinfo", name, "vda"]);
        let line = disk.lines().find(|l| l.starts_with("Capacity"));
        line.unwrap().split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(capacity(), (8 << 20).to_string());
    env.kvmctl([
        "instances",
        "resize",
        name,
        "--disk",
        "24Mi",
        "--memory",
        "80Mi",
    ])
    .ok();
    assert_eq!(capacity(), (24 << 20).to_string());
    env.kvmctl(["instances", "resize", name, "--disk", "16Mi"])
        .code(5)
        .says("cannot shrink");
    assert_eq!(capacity(), (24 << 20).to_string());
    env.kvmctl(["instances", "start", name]).ok();
    let memory = virsh(env, &["dominfo", name]);
    assert!(memory.stdout.contains("81920 KiB"), "{memory}");
    env.kvmctl(["instances", "stop", name, "--force", "--timeout", "1s"])
        .ok();
}
