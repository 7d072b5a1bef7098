//! Our part of a seed, which cloud-init gets as vendor-data.
//!
//! Why these parts and no others: a cloud-config of ours would lose its lists (`runcmd`,
//! `write_files`) to the user's, wholesale. A boothook runs at every boot and early; a script runs
//! once, and its failure is cloud-init's failure. The one cloud-config part has only `ssh_keys`, a
//! mapping, which is merged key by key: `cc_ssh` deletes the host keys that a boothook would have
//! written, but writes those that it is given here, in the stage that sshd waits for.

use serde_json::json;

use super::env::{EnvEntry, env_file};
use super::input::{SeedInput, SeedMount};
use super::mime::{Part, base64_lines, write};
use super::seed::{cloud_config, sha256_hex};
use super::ssh_key::HostKey;
use crate::api::Uid;

const BOOTHOOK: &str = include_str!("scripts/boothook.sh");
const FIRST_BOOT: &str = include_str!("scripts/first-boot.sh");
const PROFILE: &str = include_str!("scripts/profile.sh");
const REPORTER: &str = include_str!("scripts/reporter.sh");
const MOUNT: &str = include_str!("scripts/mount.sh");
const RUN: &str = include_str!("scripts/run.sh");

/// Ends an embedded file; it cannot stand in base64.
pub(super) const END: &str = "KVMCTL_END";

/// Name of the file with the secret variables in the guest.
pub(super) const SECRET_FILE: &str = "/etc/kvmctl/env.secret";

/// Returns the vendor-data of the first boot.
pub(super) fn full(input: &SeedInput) -> String {
    let mut parts = vec![boothook(&reporting(&input.uid), &first_boot(input))];
    parts.extend(input.host_key.as_ref().map(host_key));
    if has_run(input) {
        parts.push(Part {
            kind: "text/x-shellscript".into(),
            name: "kvmctl-run".into(),
            body: format!("#!/bin/sh\nexec /bin/sh {}/run.sh\n", state(&input.uid)).into_bytes(),
        });
    }
    write(&parts)
}

/// Returns the vendor-data of later boots: the reporter alone.
pub(super) fn reporter_only(uid: &Uid) -> String {
    write(&[boothook(&reporting(uid), "")])
}

/// Returns where the guest keeps what belongs to this instance.
pub(super) fn state(uid: &Uid) -> String {
    format!("/var/lib/kvmctl/{uid}")
}

/// Returns the file by which a guest says that it has kept what it needs of the first seed.
pub(crate) fn sealed_file(uid: &Uid) -> String {
    format!("{}/sealed", state(uid))
}

fn boothook(reporting: &str, first_boot: &str) -> Part {
    Part {
        kind: "text/cloud-boothook".into(),
        name: "kvmctl-boothook".into(),
        body: format!("#!/bin/sh\n{reporting}{first_boot}").into_bytes(),
    }
}

fn reporting(uid: &Uid) -> String {
    let reporter = embed("\"$run/reporter\"", "0700", REPORTER.as_bytes());
    format!("instance={uid}\n{BOOTHOOK}\n{reporter}start_reporter\n")
}

fn first_boot(input: &SeedInput) -> String {
    let user_data = match input.user_data.as_deref() {
        None | Some([]) => "none".to_owned(),
        Some(bytes) => sha256_hex(bytes),
    };
    format!(
        "\nuser_data_sha256={user_data}\n{FIRST_BOOT}\n{}{}seal\n",
        environment(&input.env),
        startup(input)
    )
}

/// The part of the boothook that writes the environment, once for each environment there is.
fn environment(env: &[EnvEntry]) -> String {
    let public = env_file(env.iter().filter(|e| !e.secret));
    let secret = env_file(env.iter().filter(|e| e.secret));
    let hash = sha256_hex(format!("{public}\0{secret}").as_bytes());
    let mut text = format!(
        "env_sha256={hash}\nif [ \"$(cat \"$state/env\" 2>/dev/null)\" != \"$env_sha256\" ]; then\nenv_remove\n"
    );
    if !env.is_empty() {
        text.push_str("open_dir /etc/kvmctl /etc/profile.d\n");
        text.push_str(&embed("/etc/kvmctl/env", "0644", public.as_bytes()));
        if !secret.is_empty() {
            text.push_str(&embed(SECRET_FILE, "0600", secret.as_bytes()));
        }
        text.push_str(&embed(
            "/etc/profile.d/kvmctl-env.sh",
            "0644",
            PROFILE.as_bytes(),
        ));
        text.push_str("env_install\n");
    }
    text.push_str("printf '%s\\n' \"$env_sha256\" >\"$state/env\"\nfi\n");
    text
}

/// The part of the boothook that lays down the startup commands. They travel inside base64: as a
/// script part, cloud-init would change their line endings.
fn startup(input: &SeedInput) -> String {
    if !has_run(input) {
        return String::new();
    }
    let mut script = format!("#!/bin/sh\nkvmctl_state={}\n{RUN}\n", state(&input.uid));
    for mount in &input.mounts {
        script.push_str(&mount_step(mount));
    }
    for (index, line) in input.run.iter().enumerate() {
        script.push_str(&format!(
            "kvmctl_step 'run[{index}]' sh -c {}\n",
            quote(line)
        ));
    }
    if !input.command.is_empty() {
        let words: Vec<String> = input.command.iter().map(|word| quote(word)).collect();
        script.push_str(&format!("kvmctl_step command {}\n", words.join(" ")));
    }
    script.push_str("printf 'done all 0 %s\\n' \"$kvmctl_boot\" | kvmctl_note\n");
    let file = embed("\"$state/run.sh\"", "0700", script.as_bytes());
    format!(
        "if [ ! -e \"$state/run\" ]; then\n{file}echo 'pending startup 0 -' >\"$state/run\"\nfi\n"
    )
}

fn has_run(input: &SeedInput) -> bool {
    !input.mounts.is_empty() || !input.run.is_empty() || !input.command.is_empty()
}

/// A line that formats a volume if it is blank, and mounts it. A boot does not wait for one that is
/// detached later.
fn mount_step(mount: &SeedMount) -> String {
    let access = if mount.read_only { "ro," } else { "" };
    let options = format!("{access}nofail,x-systemd.device-timeout=30");
    let words = [
        MOUNT,
        "sh",
        &mount.serial,
        &mount.path,
        mount.fs.as_str(),
        &options,
    ];
    let words = words.map(quote);
    format!(
        "kvmctl_step 'volume[{}]' sh -c {}\n",
        mount.volume,
        words.join(" ")
    )
}

/// A line that writes a file in the guest.
fn embed(path: &str, mode: &str, bytes: &[u8]) -> String {
    format!(
        "put {path} {mode} <<'{END}'\n{}{END}\n",
        base64_lines(bytes)
    )
}

fn host_key(key: &HostKey) -> Part {
    let config = json!({"ssh_keys": {"ed25519_private": key.private, "ed25519_public": format!("{}\n", key.public)}});
    Part {
        kind: "text/cloud-config".into(),
        name: "kvmctl-host-key".into(),
        body: cloud_config(&config).into_bytes(),
    }
}

/// A word that a POSIX shell reads as exactly this text.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
