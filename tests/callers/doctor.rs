//! What doctor says changes when the host does, and what is missing is said before anything is made.

use serde_json::Value;

use super::host::{PrivateHost, Seen, Socket, Who};

struct Host {
    host: PrivateHost,
}

impl Host {
    fn new() -> Self {
        let host = PrivateHost::start(Socket::Group);
        let it = Self { host };
        // Whether the machine has polkit does not matter here.
        it.sh("pkcheck=$(command -v pkcheck) && mount --bind /dev/null $pkcheck || true");
        it.setup();
        it
    }

    fn setup(&self) {
        let setup = ["setup", "--yes", "--cidr", "10.215.0.0/24"];
        self.host.kvmctl(Who::Root, &setup).ok();
    }

    fn sh(&self, line: &str) -> Seen {
        self.host.run(Who::Root, &["sh", "-ec", line]).ok()
    }

    /// Returns the exit code and the line of a check: `level finding | remedy`.
    fn doctor(&self, who: Who, check: &str) -> (i32, String) {
        let args = ["--uri", "qemu:///system", "doctor", "-o", "json"];
        let seen = self.host.kvmctl(who, &args);
        let report: Value = serde_json::from_str(&seen.out).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let checks = report["checks"].as_array().unwrap();
        let lines: Vec<String> = checks
            .iter()
            .filter(|c| c["name"] == check)
            .map(|c| {
                let (level, finding) = (text(&c["level"]), text(&c["finding"]));
                format!("{level} {finding} | {}", text(&c["remedy"]))
            })
            .collect();
        (seen.code, lines.join("\n"))
    }

    /// Expects a check's line to have these parts.
    #[track_caller]
    fn says(&self, check: &str, parts: &[&str]) {
        let (code, line) = self.doctor(Who::Root, check);
        for part in parts {
            assert!(line.contains(part), "{check}: no {part:?} in {line:?}");
        }
        assert_eq!(code != 0, line.starts_with("failed"), "{check}: {line}");
    }

    /// Ends the daemon and starts it again, with this folder first where it looks for tools.
    fn restart_libvirtd(&self, tools: &str) {
        self.host.stop_libvirtd();
        self.start_libvirtd(tools);
    }

    fn start_libvirtd(&self, tools: &str) {
        self.sh(&format!(
            "PATH={tools}:$PATH libvirtd -d --listen --pid-file /run/libvirtd.pid </dev/null
             until timeout 5 virsh -q -c qemu:///system uri >/dev/null 2>&1; do sleep 0.2; done"
        ));
    }
}

#[test]
fn doctor_sees_what_changes_on_the_host() {
    let it = Host::new();
    sockets_and_groups(&it);
    pool_and_network(&it);
    setup_changes_only_what_came_with_libvirt(&it);
    tools(&it);
    firewall(&it);
    without_a_daemon(&it);
}

/// The network that comes with libvirt gets slots while nobody uses it; another's is only started.
fn setup_changes_only_what_came_with_libvirt(it: &Host) {
    let network = |name: &str, n: u8| {
        format!(
            "cat > /run/net.xml <<XML
<network><name>{name}</name><forward mode='nat'/><bridge name='vb{n}'/>
<ip address='10.215.{n}.1' netmask='255.255.255.0'>
<dhcp><range start='10.215.{n}.2' end='10.215.{n}.254'/></dhcp></ip></network>
XML
virsh -q net-define /run/net.xml; rm /run/net.xml"
        )
    };
    let xml = |name: &str| it.sh(&format!("virsh net-dumpxml --inactive {name}")).out;
    let kvmctl = |args: &[&str]| it.host.kvmctl(Who::Root, args).ok();
    let place = ["--uri", "qemu:///system", "--network"];
    for network in ["theirs", "default"] {
        kvmctl(&[&["config", "set-context", network][..], &place, &[network]].concat());
    }
    let setup = |context: &str| kvmctl(&["--context", context, "setup", "--yes", "--no-probe"]);
    it.sh(&network("theirs", 1));
    let theirs = xml("theirs");
    setup("theirs").prints("started network \"theirs\"");
    assert_eq!(xml("theirs"), theirs);
    it.sh("virsh -q net-destroy theirs; virsh -q net-undefine theirs");

    it.sh("virsh -q net-destroy default; virsh -q net-undefine default");
    it.sh(&format!(
        "{}; virsh -q net-start default",
        network("default", 2)
    ));
    // Something is plugged in: it would be cut off. The machine's own /sys shows another network.
    it.sh("mount -t sysfs sysfs /sys");
    it.sh("ip link add guest type veth peer name guest0; ip link set guest master vb2");
    assert!(!setup("default").out.contains("slots"));
    it.sh("virsh -q net-autostart default --disable; ip link del guest");
    setup("default")
        .prints("address slots")
        .prints("restarted network \"default\"");
    let live = it.sh("virsh net-dumpxml default").out;
    assert!(live.matches("<host mac=").count() > 100, "{live}");
    setup("default").says("Everything is set up");
}

/// What can be seen without a daemon is said without one.
fn without_a_daemon(it: &Host) {
    it.host.stop_libvirtd();
    let (code, line) = it.doctor(Who::Root, "socket");
    assert!(code == 1 && line.starts_with("failed "), "{line}");
    for check in ["cpu", "dev-kvm", "socket-mode", "nginx"] {
        let (_, line) = it.doctor(Who::Root, check);
        assert_ne!(line, "", "{check}");
    }
}

fn sockets_and_groups(it: &Host) {
    it.says("socket-mode", &["ok ", "owner and group only"]);
    it.sh("chmod 0666 /run/libvirt/libvirt-sock");
    let remedy = "| set unix_sock_rw_perms = \"0770\"";
    it.says(
        "socket-mode",
        &["warning ", "writable by everybody", remedy],
    );
    it.sh("chmod 0770 /run/libvirt/libvirt-sock");
    it.says("socket-mode", &["ok "]);

    let (code, line) = it.doctor(Who::Member, "group");
    assert!(
        code == 0 && line.starts_with("ok you are in the group"),
        "{line}"
    );
    let (code, line) = it.doctor(Who::Alone, "group");
    assert!(
        line.starts_with("warning you are not in the group libvirt"),
        "{line}"
    );
    assert!(line.contains("usermod -aG libvirt"), "{line}");
    assert_eq!(code, 1);
}

fn pool_and_network(it: &Host) {
    for (kind, check) in [("pool", "pool"), ("net", "network")] {
        it.says(check, &["ok "]);
        it.sh(&format!("virsh -q {kind}-destroy default"));
        it.says(check, &["failed ", "is not active", "| kvmctl setup"]);
        it.sh(&format!("virsh -q {kind}-autostart --disable default"));
        let starts = format!("{check}-autostart");
        it.setup();
        it.says(check, &["ok "]);
        it.says(&starts, &["ok "]);
    }
}

fn tools(it: &Host) {
    for (tool, package, level) in [
        ("nginx", "nginx-light", "warning "),
        ("nft", "nftables", "warning "),
        ("qemu-img", "qemu-utils", "failed "),
        ("dnsmasq", "dnsmasq-base", "failed "),
    ] {
        let path = format!("$(PATH=$PATH:/usr/sbin command -v {tool})");
        it.says(tool, &["ok "]);
        it.sh(&format!("mount --bind /dev/null {path}"));
        let remedy = format!("| apt-get install {package}");
        it.says(tool, &[level, "not found", &remedy]);
        it.sh(&format!("umount $(findmnt -nro TARGET | grep /{tool}$)"));
        it.says(tool, &["ok "]);
    }
    it.says("nginx-stream", &["ok "]);
    it.sh(
        "modules=$(nginx -V 2>&1 | sed -n 's/.*--modules-path=\\([^ ]*\\).*/\\1/p')
         mount --bind /dev/null $modules/ngx_stream_module.so",
    );
    let remedy = "| apt-get install libnginx-mod-stream";
    it.says("nginx-stream", &["warning ", "no stream module", remedy]);
    let tcp = "lb create lb --protocol tcp --port 8080";
    let tcp: Vec<&str> = tcp.split(' ').collect();
    it.host
        .kvmctl(Who::Root, &tcp)
        .code(8)
        .says("libnginx-mod-stream");
}

/// Under libvirt's nftables rules a FORWARD policy of DROP cuts guests off; under its iptables rules
/// it does not. The kernel of test machines has no csum action of tc, which guests can do without.
fn firewall(it: &Host) {
    it.says("firewall", &["ok ", "in iptables"]);
    it.says("network-dhcp", &["ok "]);
    it.sh("kill $(cat /run/libvirt/network/default.pid); sleep 0.2");
    let remedy = "| systemctl restart libvirtd";
    it.says("network-dhcp", &["failed ", "does not run", remedy]);
    it.sh("iptables -P FORWARD DROP");
    let (_, quiet) = it.doctor(Who::Root, "forward-policy");
    assert_eq!(quiet, "");
    let bin = it.host.path("bin").display().to_string();
    it.sh(&format!(
        "mkdir {bin}; printf '#!/bin/sh\\nexit 0\\n' > {bin}/tc; chmod 755 {bin}/tc
         echo 'firewall_backend = \"nftables\"' > /etc/libvirt/network.conf"
    ));
    it.restart_libvirtd(&bin);
    it.says("network-dhcp", &["ok "]);
    it.says("firewall", &["ok ", "in nftables"]);
    it.says(
        "forward-policy",
        &["warning ", "is DROP", "| iptables -I FORWARD"],
    );
    it.sh("iptables -P FORWARD ACCEPT");
    let (_, quiet) = it.doctor(Who::Root, "forward-policy");
    assert_eq!(quiet, "");
    it.sh("nft flush ruleset");
    let remedy = "| systemctl restart libvirtd";
    it.says("firewall", &["warning ", "rules for it are gone", remedy]);
    it.restart_libvirtd(&bin);
    it.says("firewall", &["ok ", "in nftables"]);
}

/// What the host cannot give is refused with the package that has it, and nothing is made.
#[test]
fn firmware_and_tpm_that_are_missing_are_named() {
    let it = Host::new();
    let image = it.host.path("images/tiny.qcow2").display().to_string();
    let import = ["images", "import", &image, "--name", "tiny"];
    it.host.kvmctl(Who::Root, &import).ok();
    let create = |flags: &[&str]| {
        let what = [
            "instances",
            "create",
            "vm",
            "--image",
            "tiny",
            "--type",
            "basic-1",
        ];
        let seen = it.host.kvmctl(Who::Root, &[&what[..], flags].concat());
        let listed = it
            .host
            .kvmctl(Who::Root, &["get", "instances", "--all", "-o", "name"]);
        assert_eq!(listed.ok().out, "");
        assert_eq!(
            it.host.guest_files("varlib/libvirt/images"),
            Vec::<String>::new()
        );
        seen
    };
    it.sh("mount --bind /dev/null $(command -v swtpm)");
    create(&["--tpm", "--no-wait"])
        .code(8)
        .says("swtpm is not installed")
        .says("hint: apt-get install swtpm");
    it.sh("mount -t tmpfs tmpfs /usr/share/qemu/firmware");
    create(&["--firmware", "uefi", "--no-wait"])
        .code(1)
        .says("hint: install the UEFI firmware on the host: apt-get install ovmf");
}

/// The tool that makes the seed ends the daemon first: the disk is there, the domain is not.
#[test]
fn a_creation_whose_daemon_dies_is_told_and_finished_by_the_next() {
    let it = Host::new();
    let image = it.host.path("images/tiny.qcow2").display().to_string();
    let import = ["images", "import", &image, "--name", "tiny"];
    it.host.kvmctl(Who::Root, &import).ok();
    let tools = it.host.path("tools").display().to_string();
    it.sh(&format!(
        "mkdir {tools}; for name in genisoimage mkisofs xorriso; do
             real=$(command -v $name) || continue
             printf '#!/bin/sh\nkill -KILL $(cat /run/libvirtd.pid)\nexec %s \"$@\"\n' $real > {tools}/$name
             chmod 755 {tools}/$name
         done"
    ));
    let path = format!("{tools}:{}", std::env::var("PATH").unwrap());
    let create = "instances create web --image tiny --cpus 1 --memory 96Mi --disk 64Mi --no-wait";
    let create: Vec<&str> = create.split(' ').collect();
    let program = it.host.path("kvmctl").display().to_string();
    let argv = [&[program.as_str()][..], &create].concat();
    let seen = it.host.run_with(Who::Root, &[("PATH", &path)], &argv);
    let seen = seen.code(8).says("cannot create instance/web");
    let errors = seen.err.lines().filter(|l| l.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{}", seen.err);
    it.start_libvirtd("");
    it.host.kvmctl(Who::Root, &create).ok();
    let phase = ["get", "instance", "web", "-o", "jsonpath={.status.phase}"];
    it.host.kvmctl(Who::Root, &phase).ok().prints("Running");
    let delete = ["delete", "instance", "web", "--yes", "--grace-period", "0"];
    it.host.kvmctl(Who::Root, &delete).ok();
    let left = it.host.guest_files("varlib/libvirt/images");
    assert_eq!(left, Vec::<String>::new());
}
