//! The tools of the host, from a test.

use std::process::Command;

use super::rig::Backend;

/// Runs a command that must succeed and returns what it prints.
#[track_caller]
pub(super) fn quiet(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{error}");
    text
}

/// Runs a shell line that must succeed and returns what it prints.
#[track_caller]
pub(super) fn sh(line: &str) -> String {
    let mut command = Command::new("bash");
    command.args(["-euc", line]);
    quiet(command)
}

/// Returns all rules and what else is set for forwards, without what counts packets.
pub(super) fn all_rules(backend: Backend) -> String {
    // What iptables shows as its own chains, nft shows only once they were used.
    let tool = match backend {
        Backend::Iptables => "iptables-save; ip6tables-save",
        Backend::Nftables => "nft list ruleset",
    };
    let count = "s/\\[[0-9]*:[0-9]*\\]//; s/packets [0-9]* bytes [0-9]*//";
    sh(&format!(
        "{{ {tool}; grep -H . /proc/sys/net/ipv4/conf/*/route_localnet; }} \
         | grep -v '^#' | sed '{count}'"
    ))
}
