//! The console, on a terminal; and what a guest with UEFI and TPM says there.

use serde_json::json;

use super::host::{Identity, apply, field, guest_env, host, instance};
use crate::support::Env;

const NAME: &str = "uefi";
const IMAGE: &str = "tiny-uefi";

/// Longer than the firmware takes under emulation on a busy machine.
const SECONDS: u64 = 120;

#[test]
fn a_guest_with_uefi_and_tpm_speaks_on_its_console() {
    let env = guest_env();
    let images = std::env::var("KVMCTL_TEST_IMAGES").expect("tests/run.sh tells the images");
    let image = format!("{images}/tiny-uefi.qcow2");
    let import = [
        "images",
        "import",
        &image,
        "--name",
        IMAGE,
        "--firmware",
        "uefi",
    ];
    env.kvmctl(import).ok();
    let more = json!({"memory": "256Mi", "disk": "64Mi", "tpm": true});
    apply(&env, &instance(NAME, IMAGE, &more), &["--no-wait"]).ok();
    let identity = Identity::of(&env, NAME);
    let uid = field(&env, NAME, ".metadata.uid");
    let tpm = format!("/var/lib/libvirt/swtpm/{uid}");
    assert!(std::path::Path::new(&tpm).exists());

    is_attached_and_left(&env);
    env.kvmctl(["console", NAME]).code(2).says("terminal");

    env.kvmctl(["instances", "stop", NAME, "--timeout", "60s"])
        .ok();
    let mut off = env.terminal("kvmctl console uefi; echo \"left with $?\"", 30);
    off.exp_string("kvmctl instances start uefi").unwrap();
    off.exp_string("left with 5").unwrap();
    env.kvmctl(["delete", "instance", NAME]).ok();
    identity.expect_gone();
    assert!(!std::path::Path::new(&tpm).exists());
    let nvram = ["/var/lib/libvirt/qemu/nvram", "-name", "uefi_*"];
    assert_eq!(host("find", &nvram), "");
    env.kvmctl(["delete", "image", IMAGE]).ok();
}

fn is_attached_and_left(env: &Env) {
    let line = "before=$(stty -g); kvmctl console uefi; echo \"left with $?\"; \
                test \"$before\" = \"$(stty -g)\" && echo as before";
    let mut terminal = env.terminal(line, SECONDS);
    let seen = terminal.exp_string("Leave with Ctrl-]").unwrap();
    assert!(
        seen.contains("Attached to the console of instance/uefi"),
        "{seen}"
    );
    terminal.exp_string("tiny# ").unwrap();
    // A second one is refused as long as the first one is there.
    let mut second = env.terminal("kvmctl console uefi; echo \"left with $?\"", 30);
    second.exp_string("kvmctl console uefi --force").unwrap();
    second.exp_string("left with 5").unwrap();

    let look = "ls -d /sys/firmware/efi /sys/firmware/acpi/tables/TPM2; echo con''sole $((6*7))";
    terminal.send_line(look).unwrap();
    let seen = terminal.exp_string("console 42").unwrap();
    assert!(!seen.contains("No such file"), "{seen}");
    assert!(
        seen.matches("TPM2").count() >= 2,
        "typed and printed: {seen}"
    );
    // Ctrl-C belongs to the guest.
    terminal.send_control('c').unwrap();
    terminal.send_line("echo still $((40+2))").unwrap();
    terminal.exp_string("still 42").unwrap();
    terminal.send("\u{1d}").unwrap();
    terminal.flush().unwrap();
    terminal.exp_string("left with 0").unwrap();
    terminal.exp_string("as before").unwrap();
}
