//! A member of the libvirt group shares root's world: daemon, pool, network and store.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::host::{PrivateHost, Socket, Who, guest_turn};

const POOL: &str = "varlib/libvirt/images";

#[test]
fn the_whole_main_path_in_the_world_that_root_set_up() {
    let host = PrivateHost::start(Socket::Group);
    let _turn = guest_turn();
    let root = |args: &[&str]| host.kvmctl(Who::Root, args);
    let member = |args: &[&str]| host.kvmctl(Who::Member, args);

    root(&["setup", "--yes", "--cidr", "10.215.0.0/24"]).ok();
    member(&["get", "instances"]).ok().never_says("session");
    member(&["doctor"]).ok();
    let image = host.path("images/debian-12.qcow2").display().to_string();
    member(&[
        "images",
        "import",
        &image,
        "--name",
        "debian",
        "--default-user",
        "debian",
    ])
    .ok();
    let create = [
        "instances",
        "create",
        "web",
        "--image",
        "debian",
        "--type",
        "basic-1",
        "--wait",
        "--timeout",
        "10m",
    ];
    member(&create).ok();
    store_is_the_groups(&host);

    member(&["exec", "web", "--", "hostname"])
        .ok()
        .prints("web");
    member(&["ssh", "web", "--", "id", "-un"])
        .ok()
        .prints("debian");
    member(&["logs", "web"]).ok().prints("Linux version");
    member(&["logs", "web", "--qemu"]).code(1).says("only root");
    // Whoever of the two comes next goes on with what the other one made.
    root(&["get", "instance", "web", "-o", "name"])
        .ok()
        .prints("instance/web");
    root(&["ssh", "web", "--", "true"]).ok();
    root(&["label", "instance", "web", "by=root"]).ok();
    member(&["label", "instance", "web", "by=member", "--overwrite"]).ok();
    root(&["instances", "stop", "web", "--timeout", "120s"]).ok();
    member(&["instances", "start", "web"]).ok();
    member(&["delete", "instance", "web", "--now"]).ok();

    assert_eq!(host.guest_files(POOL), Vec::<String>::new());
    nothing_left(&host);
}

/// A lease is given back by whoever deletes, without any right.
#[test]
fn a_member_gives_the_lease_back() {
    let host = PrivateHost::start(Socket::Group);
    let _turn = guest_turn();
    let member = |args: &[&str]| host.kvmctl(Who::Member, args);
    host.kvmctl(Who::Root, &["setup", "--yes", "--cidr", "10.215.0.0/24"])
        .ok();
    let image = host.path("images/tiny.qcow2").display().to_string();
    member(&["images", "import", &image, "--name", "tiny"]).ok();
    let create = [
        "instances",
        "create",
        "small",
        "--image",
        "tiny",
        "--cpus",
        "1",
        "--memory",
        "128Mi",
        "--no-wait",
    ];
    member(&create).ok();
    let begin = std::time::Instant::now();
    while !leases(&host).contains("10.215.0.") {
        assert!(begin.elapsed().as_secs() < 120, "no lease");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    member(&["delete", "instance", "small", "--now"]).ok();
    nothing_left(&host);
}

/// Rules are root's. Without the right nothing is made; with `privilege: sudo` everything is, and goes.
#[test]
fn forwards_want_a_right_that_sudo_can_give() {
    let host = PrivateHost::start(Socket::Group);
    let _turn = guest_turn();
    let member = |args: &[&str]| host.kvmctl(Who::Member, args);
    host.kvmctl(Who::Root, &["setup", "--yes", "--cidr", "10.215.0.0/24"])
        .ok();
    let image = host.path("images/tiny.qcow2").display().to_string();
    member(&["images", "import", &image, "--name", "tiny"]).ok();
    let before = host.guest_files(POOL);
    let create = "instances create small --image tiny --cpus 1 --memory 128Mi --no-wait -p 8080:80";
    let create: Vec<&str> = create.split(' ').collect();

    member(&create)
        .says("only root may")
        .says(&format!("hint: sudo kvmctl {}\n", create.join(" ")))
        .says("--privilege sudo");
    member(&["volumes", "create", "data", "--size", "1M"]).ok();
    member(&["snapshots", "create", "now", "--volume", "data"])
        .code(5)
        .says("hint: sudo kvmctl snapshots create now --volume data\n");
    member(&["volumes", "delete", "data"]).ok();
    nothing_left(&host);
    assert_eq!(host.guest_files(POOL), before);

    let_sudo(&host);
    let context = "config set-context mine --uri qemu:///system --privilege sudo";
    member(&context.split(' ').collect::<Vec<_>>()).ok();
    member(&["config", "use-context", "mine"]).ok();
    member(&create).ok();
    member(&["get", "forwards"]).ok().prints("Active");
    assert!(rules(&host).contains("--dport 8080"), "{}", rules(&host));
    host.run(Who::Root, &["iptables", "-t", "nat", "-F", "KVMCTL-DNAT"])
        .ok();
    member(&["reconcile", "--check"]).code(1).prints("8080");
    member(&["reconcile"]).ok();
    member(&["reconcile", "--check"]).ok();
    balancers_are_roots(&host);
    member(&["delete", "instance", "small", "--now"]).ok();
    assert!(!rules(&host).contains("8080"), "{}", rules(&host));
    nothing_left(&host);
}

/// A process of root's cannot be led by files of somebody else's: who may not is told before anything
/// is changed, and sees all of it.
fn balancers_are_roots(host: &PrivateHost) {
    let member = |args: &[&str]| host.kvmctl(Who::Member, args);
    let create = "lb create lb --port 8081 --target small:80";
    let create: Vec<&str> = create.split(' ').collect();
    member(&create)
        .code(8)
        .says("for root to run")
        .says(&format!("hint: sudo kvmctl {}\n", create.join(" ")));
    assert!(!host.path("varlib/kvmctl-balancers").exists());
    member(&["get", "lb"]).ok().says("No lb found");

    let root = |args: &[&str]| {
        let uri = ["--uri", "qemu:///system"];
        host.kvmctl(Who::Root, &[&uri, args].concat())
    };
    root(&create).ok();
    member(&["get", "lb"]).ok().prints("lb ");
    member(&["lb", "drain", "lb", "small"]).code(8);
    member(&["delete", "instance", "small", "--now"])
        .code(8)
        .says("cannot take instance/small out of loadbalancer/lb")
        .says("hint: sudo kvmctl delete instance small --now\n");
    member(&["get", "instance", "small"]).ok().prints("Running");
    member(&["lb", "delete", "lb"]).code(8);
    root(&["get", "lb", "lb"]).ok().prints("*:8081/tcp");
    root(&["lb", "delete", "lb"]).ok();
}

/// Lets the member run anything as root, without a password, on this host only.
fn let_sudo(host: &PrivateHost) {
    // The account is in no shadow file, where PAM would look for its end.
    let pam = "auth required pam_permit.so\naccount required pam_permit.so\n";
    let files = [
        ("/etc/sudoers", "kt-member ALL=(root) NOPASSWD: ALL\n"),
        ("/etc/pam.d/sudo", pam),
    ];
    for (place, text) in files {
        let file = host.path(&place.replace('/', "-"));
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o440)).unwrap();
        let file = file.display().to_string();
        host.run(Who::Root, &["mount", "--bind", &file, place]).ok();
    }
}

fn rules(host: &PrivateHost) -> String {
    host.run(Who::Root, &["iptables-save"]).ok().out
}

fn leases(host: &PrivateHost) -> String {
    let argv = [
        "virsh",
        "-q",
        "-c",
        "qemu:///system",
        "net-dhcp-leases",
        "default",
    ];
    host.run(Who::Root, &argv).ok().out
}

fn nothing_left(host: &PrivateHost) {
    assert_eq!(leases(host).trim(), "");
    let domains = [
        "virsh",
        "-q",
        "-c",
        "qemu:///system",
        "list",
        "--all",
        "--name",
    ];
    assert_eq!(host.run(Who::Root, &domains).ok().out.trim(), "");
}

/// Each file belongs to the group, whoever made it, and nobody else reads any.
fn store_is_the_groups(host: &PrivateHost) {
    let store = host.path("varlib/kvmctl");
    let group = std::fs::metadata(host.path("run/libvirt/libvirt-sock"))
        .unwrap()
        .gid();
    let mut folders = vec![store];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        let meta = std::fs::metadata(&folder).unwrap();
        assert_eq!(
            (meta.permissions().mode() & 0o7777, meta.gid()),
            (0o2770, group),
            "{folder:?}"
        );
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let meta = std::fs::metadata(&path).unwrap();
            assert_eq!(
                (meta.permissions().mode() & 0o7777, meta.gid()),
                (0o660, group),
                "{path:?}"
            );
            files += 1;
        }
    }
    assert!(files > 5, "{files}");
}
