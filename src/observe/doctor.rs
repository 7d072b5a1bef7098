//! Every prerequisite of the main job: whether it is there, what that means, and what mends it.

use serde::Serialize;

use super::world::World;
use crate::api::Accelerator;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::host::{self, HostError, Tool};
use crate::libvirt::Host;
use crate::plan::accelerator::{KvmFacts, decide};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something that may hurt, or a feature that is missing.
    Warning,
    /// The main job cannot be done.
    Failed,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was looked at, in one word.
    pub name: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found, and what it means.
    pub finding: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// All checks.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// In the order of the work: CPU, daemon, pool, network, tools.
    pub checks: Vec<Check>,
}

impl Report {
    fn ok(&mut self, name: &'static str, finding: impl Into<String>) {
        self.push(name, Level::Ok, finding, None);
    }

    fn warning(&mut self, name: &'static str, finding: impl Into<String>, remedy: &str) {
        self.push(name, Level::Warning, finding, Some(remedy));
    }

    fn failed(&mut self, name: &'static str, finding: impl Into<String>, remedy: &str) {
        self.push(name, Level::Failed, finding, Some(remedy));
    }

    fn push(
        &mut self,
        name: &'static str,
        level: Level,
        finding: impl Into<String>,
        remedy: Option<&str>,
    ) {
        let (finding, remedy) = (finding.into(), remedy.map(str::to_owned));
        self.checks.push(Check {
            name,
            level,
            finding,
            remedy,
        });
    }
}

/// Looks at everything. What cannot be looked at because something before it failed is left out.
pub fn run(settings: &Settings, world: Result<&World>) -> Report {
    let mut report = Report { checks: Vec::new() };
    let opened = world.and_then(|w| Ok((w, w.host()?)));
    match &opened {
        Ok((_, host)) => daemon(&mut report, host),
        Err(error) => unreachable_daemon(&mut report, settings, error),
    }
    if let Ok((world, host)) = &opened {
        kvm(&mut report, world, host);
        pool(&mut report, world, host);
        if !host.is_session() {
            network(&mut report, world, host);
        }
        store(&mut report, world);
        if host.is_local() {
            socket_mode(&mut report);
        }
    }
    let local = opened.is_err() || opened.is_ok_and(|(_, host)| host.is_local());
    tools(&mut report, if local { &[HERE, ON_HOST] } else { &[HERE] });
    report
}

fn daemon(report: &mut Report, host: &Host) {
    report.ok("socket", format!("libvirt answers at {}", host.uri()));
    let versions = host
        .lib_version()
        .and_then(|l| Ok((l, host.hypervisor_version()?)));
    match versions {
        Ok((libvirt, qemu)) => report.ok("version", format!("libvirt {libvirt}, QEMU {qemu}")),
        Err(e) => report.failed(
            "version",
            format!("{e}"),
            "apt-get install libvirt-daemon-driver-qemu qemu-system-x86",
        ),
    }
    if let Ok(caps) = host.capabilities() {
        let models = caps.security_models.join(", ");
        let models = if models.is_empty() {
            "none".to_owned()
        } else {
            models
        };
        report.ok("security", format!("security drivers: {models}"));
    }
}

fn unreachable_daemon(report: &mut Report, settings: &Settings, error: &Error) {
    let remedy = error.hints().first().cloned();
    let remedy = remedy.unwrap_or_else(|| "systemctl start libvirtd".to_owned());
    report.failed("socket", format!("{} ({error})", settings.uri), &remedy);
    if !host::in_group("libvirt") && !rustix::process::geteuid().is_root() {
        report.warning(
            "group",
            "you are not in the group libvirt, whose members are root's equals",
            "sudo usermod -aG libvirt $USER, then log in again",
        );
    }
}

fn kvm(report: &mut Report, world: &World, host: &Host) {
    let facts = world.kvm_facts();
    let Ok(facts) = facts else { return };
    extension(report, host, &facts);
    if host.is_local() {
        dev_kvm(report, std::path::Path::new("/dev/kvm"));
    }
    match decide(Accelerator::Auto, &facts) {
        Ok(decision) if decision.accelerator == Accelerator::Kvm && decision.unproven => report
            .warning("kvm", "KVM is offered; no boot has shown yet that it works", "kvmctl doctor --probe-kvm"),
        Ok(decision) if decision.accelerator == Accelerator::Kvm => {
            report.ok("kvm", "KVM runs guests");
        }
        Ok(decision) => report.warning(
            "kvm",
            decision.warning.unwrap_or_default(),
            "enable virtualisation in the firmware, or nested virtualisation on the host of this host",
        ),
        Err(why) => report.warning("kvm", why, "kvmctl doctor --probe-kvm"),
    }
}

/// The device itself; that it is there does not mean that a guest runs on it.
fn dev_kvm(report: &mut Report, device: &std::path::Path) {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let Ok(metadata) = std::fs::metadata(device) else {
        return report.warning(
            "dev-kvm",
            "/dev/kvm does not exist: guests run under TCG, slowly",
            "modprobe kvm_intel || modprobe kvm_amd",
        );
    };
    let root_only = metadata.gid() == 0 && metadata.mode() & 0o006 != 0o006;
    if !metadata.file_type().is_char_device() {
        report.warning(
            "dev-kvm",
            "/dev/kvm is not a device",
            "rm /dev/kvm && udevadm trigger",
        );
    } else if root_only {
        // libvirtd asks QEMU, as its own user, again at every define: each costs a second more.
        report.warning(
            "dev-kvm",
            "/dev/kvm is for root only: QEMU's user cannot open it, and libvirt asks QEMU anew at every define",
            "chgrp kvm /dev/kvm && chmod 0660 /dev/kvm",
        );
    } else {
        report.ok("dev-kvm", "/dev/kvm is there and open to QEMU's user");
    }
}

fn extension(report: &mut Report, host: &Host, facts: &KvmFacts) {
    let cpu = host.capabilities().ok().and_then(|c| c.cpu_model.clone());
    let cpu = cpu.unwrap_or_else(|| "an unknown CPU".to_owned());
    if facts.extension {
        report.ok("cpu", format!("{cpu} has hardware virtualisation"));
    } else {
        report.warning(
            "cpu",
            format!("{cpu} has neither vmx nor svm"),
            "enable virtualisation in the firmware",
        );
    }
}

fn pool(report: &mut Report, world: &World, host: &Host) {
    const SCARCE: u64 = 5 << 30;
    let name = &world.settings().pool;
    let found = host.pool(name);
    let pool = match found {
        Ok(pool) => pool,
        Err(e) => {
            return report.failed(
                "pool",
                format!("storage pool {name:?}: {e}"),
                "kvmctl setup",
            );
        }
    };
    match pool.is_active() {
        Ok(true) => {}
        _ => {
            return report.failed(
                "pool",
                format!("storage pool {name:?} is not active"),
                "kvmctl setup",
            );
        }
    }
    match pool.info() {
        Ok(info) if info.available < SCARCE => report.warning(
            "pool",
            format!(
                "storage pool {name:?} has only {} MiB free",
                info.available >> 20
            ),
            "kvmctl images prune",
        ),
        Ok(info) => report.ok(
            "pool",
            format!(
                "storage pool {name:?} is active, {} GiB free",
                info.available >> 30
            ),
        ),
        Err(e) => report.failed("pool", e.to_string(), "kvmctl setup"),
    }
    let starts = pool.autostart().ok();
    autostart(
        report,
        "pool-autostart",
        &format!("storage pool {name:?}"),
        starts,
    );
}

fn autostart(report: &mut Report, check: &'static str, what: &str, starts: Option<bool>) {
    match starts {
        Some(true) => report.ok(check, format!("{what} starts with the host")),
        Some(false) => report.warning(
            check,
            format!("{what} does not start with the host"),
            "kvmctl setup",
        ),
        None => {}
    }
}

fn network(report: &mut Report, world: &World, host: &Host) {
    let name = &world.settings().network;
    let network = match host.network(name) {
        Ok(network) => network,
        Err(e) => {
            return report.failed("network", format!("network {name:?}: {e}"), "kvmctl setup");
        }
    };
    match network.is_active() {
        Ok(true) => report.ok("network", format!("network {name:?} is active")),
        _ => report.failed(
            "network",
            format!("network {name:?} is not active: guests get no address"),
            "kvmctl setup",
        ),
    }
    let starts = network.autostart().ok();
    autostart(
        report,
        "network-autostart",
        &format!("network {name:?}"),
        starts,
    );
    if host.is_local()
        && let (Ok(true), Ok(xml)) = (network.is_active(), network.definition())
        && let Some(bridge) = xml.bridge.and_then(|b| b.name)
    {
        firewall(report, &bridge);
    }
}

/// Which backend libvirt uses for a bridge, whether its rules are there, and what would cut guests off.
fn firewall(report: &mut Report, bridge: &str) {
    let iptables = Tool::find(&["iptables"], "iptables")
        .and_then(|t| t.run(&["-w", "5", "-S"], b"", None))
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    let nft = Tool::find(&["nft"], "nftables")
        .and_then(|t| t.run_any(&["list", "table", "ip", "libvirt_network"], b"", None))
        .map(|(_, out)| String::from_utf8_lossy(&out.stdout).into_owned());
    let by_iptables = iptables.as_ref().is_ok_and(|rules| {
        rules
            .lines()
            .any(|l| l.contains("LIBVIRT_FW") && l.contains(bridge))
    });
    let by_nft = nft.as_ref().is_ok_and(|rules| rules.contains(bridge));
    match (by_iptables, by_nft, &iptables) {
        (true, _, _) => report.ok(
            "firewall",
            format!("libvirt's rules for {bridge} are in iptables"),
        ),
        (_, true, _) => report.ok(
            "firewall",
            format!("libvirt's rules for {bridge} are in nftables"),
        ),
        (_, _, Err(HostError::Failed { .. })) => report.warning(
            "firewall",
            "the firewall's rules can only be read by root",
            "sudo kvmctl doctor",
        ),
        _ => report.warning(
            "firewall",
            format!(
                "{bridge} is up but libvirt's rules for it are gone: guests reach nothing outside"
            ),
            "systemctl restart libvirtd (modular: virtnetworkd)",
        ),
    }
    if by_nft && iptables.is_ok_and(|rules| rules.lines().any(|l| l == "-P FORWARD DROP")) {
        report.warning(
            "forward-policy",
            "the FORWARD policy is DROP (Docker sets it) and libvirt uses nftables: guests are cut off",
            "iptables -I FORWARD -i virbr+ -j ACCEPT && iptables -I FORWARD -o virbr+ -j ACCEPT",
        );
    }
}

fn store(report: &mut Report, world: &World) {
    match world.store_for_reading() {
        Ok(store) if store.exists() => {
            report.ok("store", format!("store in {}", store.path().display()));
        }
        Ok(store) => report.warning(
            "store",
            format!("no store yet in {}", store.path().display()),
            "kvmctl setup",
        ),
        Err(e) => {
            let remedy = e
                .hints()
                .first()
                .cloned()
                .unwrap_or_else(|| "kvmctl setup".to_owned());
            report.failed("store", e.to_string(), &remedy);
        }
    }
}

/// A socket that anybody may write to gives anybody the rights of root.
fn socket_mode(report: &mut Report) {
    use std::os::unix::fs::MetadataExt as _;
    for socket in ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"] {
        let Ok(metadata) = std::fs::metadata(socket) else {
            continue;
        };
        let open = metadata.mode() & 0o002 != 0;
        // With polkit the socket is open to all and the daemon asks who is there.
        if open && !host::polkit_is_there() {
            report.warning(
                "socket-mode",
                format!("{socket} is writable by everybody, who so has the rights of root"),
                "set unix_sock_rw_perms = \"0770\" in /etc/libvirt/libvirtd.conf and restart libvirtd",
            );
        }
    }
}

/// A tool: its check, the programs that will do, their package, what it does, what its lack means.
type Needed = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
    Level,
);

/// Tools that kvmctl itself calls, wherever libvirt is.
const HERE: &[Needed] = &[
    (
        "iso",
        &["genisoimage", "mkisofs", "xorriso"],
        "genisoimage",
        "makes the cloud-init seeds",
        Level::Failed,
    ),
    (
        "ssh",
        &["ssh"],
        "openssh-client",
        "logs in to guests",
        Level::Warning,
    ),
];

/// Tools of the host that runs the guests.
const ON_HOST: &[Needed] = &[
    (
        "qemu-img",
        &["qemu-img"],
        "qemu-utils",
        "is used by libvirt to make disks",
        Level::Failed,
    ),
    (
        "dnsmasq",
        &["dnsmasq"],
        "dnsmasq-base",
        "gives guests their addresses",
        Level::Failed,
    ),
    (
        "iptables",
        &["iptables"],
        "iptables",
        "lets guests out",
        Level::Warning,
    ),
    (
        "nft",
        &["nft"],
        "nftables",
        "is the other firewall that libvirt may use",
        Level::Warning,
    ),
    (
        "nginx",
        &["nginx"],
        "nginx-light",
        "will serve load balancers",
        Level::Warning,
    ),
];

fn tools(report: &mut Report, needed: &[&[Needed]]) {
    for &(name, names, package, what, level) in needed.iter().copied().flatten() {
        match host::find_in_sbin(names, package) {
            Ok(tool) => report.ok(name, format!("{} {what}", tool.path().display())),
            Err(e) => report.push(
                name,
                level,
                format!("{e}; it {what}"),
                Some(&format!("apt-get install {package}")),
            ),
        }
    }
}
