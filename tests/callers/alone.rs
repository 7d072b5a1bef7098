//! A user with only a session daemon: nothing of the main path needs a right.

use super::host::{PrivateHost, Socket, Who, guest_turn};

const POOL: &str = "home/kt-alone/.local/share/libvirt/images";

#[test]
fn the_whole_main_path_without_any_right() {
    let host = PrivateHost::start(Socket::Group);
    let _turn = guest_turn();
    let run = |args: &[&str]| host.kvmctl(Who::Alone, args);

    let first = run(&["get", "instances"]).ok();
    first
        .says("Using qemu:///session from now on")
        .says("No instances found");
    let again = run(&["get", "instances"]).ok();
    again.never_says("qemu:///session");

    run(&["setup", "--yes"])
        .ok()
        .prints("made pool \"default\"");
    run(&["setup", "--yes"])
        .ok()
        .says("Everything is set up: pool \"default\", network \"user\"");
    let image = host.path("images/debian-12.qcow2").display().to_string();
    run(&["images", "import", &image, "--name", "debian"]).ok();
    // The catalogue knows who logs in to an image of this name.
    run(&[
        "get",
        "image",
        "debian",
        "-o",
        "jsonpath={.spec.defaultUser}",
    ])
    .ok()
    .prints("debian");
    // Checks that hold for the system daemon only are not made.
    let doctor = run(&["doctor"]).ok();
    assert!(!doctor.out.contains("dnsmasq"), "{}", doctor.out);

    let create = [
        "instances",
        "create",
        "solo",
        "--image",
        "debian",
        "--type",
        "basic-1",
        "-e",
        "GREETING=it's $HOME",
        "--wait",
        "--timeout",
        "10m",
    ];
    run(&create).ok().prints("instance/solo created");
    run(&[
        "get",
        "instance",
        "solo",
        "-o",
        "jsonpath={.status.conditions[?(@.type=='Ready')].status}",
    ])
    .ok()
    .prints("True");

    let inside = [
        "exec",
        "solo",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ];
    let inside = run(&inside).code(7);
    assert_eq!(
        (inside.out.as_str(), inside.err.as_str()),
        ("out\n", "err\n")
    );
    run(&["exec", "solo", "--", "sh", "-lc", "printf %s \"$GREETING\""])
        .ok()
        .prints("it's $HOME");
    ssh_leads_in_and_leaves_nothing(&host, "solo");
    a_new_store_is_let_in(&host, "solo");
    run(&["logs", "solo"]).ok().prints("Linux version");
    run(&["logs", "solo", "--cloud-init"])
        .ok()
        .prints("finished");
    run(&["logs", "solo", "--qemu"]).ok().prints("-netdev");
    run(&["instances", "seed", "solo"]).ok();

    run(&["instances", "stop", "solo", "--timeout", "120s"]).ok();
    run(&["instances", "start", "solo"]).ok();
    run(&["delete", "instance", "solo", "--now"]).ok();
    assert_eq!(host.guest_files(POOL), Vec::<String>::new());
    let domains = host.run(
        Who::Alone,
        &["virsh", "-c", "qemu:///session", "list", "--all", "--name"],
    );
    assert_eq!(domains.ok().out.trim(), "");
    run(&["get", "instances"]).ok().says("No instances found");
    // The host's own world never heard of it.
    host.kvmctl(Who::Root, &["get", "instances", "--all"])
        .ok()
        .says("No instances found");
    assert!(!host.path("varlib/kvmctl").exists());
}

/// Returns what QEMU forwards to a guest.
#[track_caller]
fn forwarded(host: &PrivateHost, name: &str) -> usize {
    let ask = ["qemu-monitor-command", name, "--hmp", "info usernet"];
    let virsh = [&["virsh", "-q", "-c", "qemu:///session"][..], &ask].concat();
    let told = host.run(Who::Alone, &virsh).ok().out;
    told.matches("HOST_FORWARD").count()
}

/// Nothing reaches a guest without rights but QEMU, which opens a port for as long as it is needed.
fn ssh_leads_in_and_leaves_nothing(host: &PrivateHost, name: &str) {
    let run = |args: &[&str]| host.kvmctl(Who::Alone, args);
    run(&["ssh", name, "--", "exit", "7"]).code(7);
    let words = ["sh", "-c", "cat; echo \"$1\" >&2; exit 3", "sh", "a  b"];
    let inside = [&["exec", name, "--via", "ssh", "--"][..], &words].concat();
    assert_eq!(run(&inside).code(3).err, "a  b\n");
    assert_eq!(forwarded(host, name), 0);

    let program = host.path("kvmctl").display().to_string();
    // Whoever ends it, and the terminal too, leaves no port open.
    let script = format!(
        "for signal in TERM HUP; do
             {program} exec {name} --via ssh -- sleep 300 & P=$!
             for i in $(seq 200); do
                 virsh -c qemu:///session qemu-monitor-command {name} --hmp 'info usernet' |
                     grep -q 'ESTABLISHED.*127.0.0.1' && break
                 sleep 0.2
             done
             kill -$signal $P; wait $P; echo $signal rc=$?
         done"
    );
    let ended = host.run(Who::Alone, &["bash", "-c", &script]).ok();
    ended.prints("TERM rc=143").prints("HUP rc=143");
    assert_eq!(forwarded(host, name), 0);
}

/// Who lost the store has lost its key, and the guest's agent learns the new one; a guest that shows
/// another key than its own is none.
fn a_new_store_is_let_in(host: &PrivateHost, name: &str) {
    let run = |args: &[&str]| host.kvmctl(Who::Alone, args);
    let store = run(&["store", "path"]).ok().out.trim().to_owned();
    let key = format!("{store}/ssh/id_ed25519.pub");
    let old = std::fs::read_to_string(&key).unwrap();
    host.run(Who::Alone, &["rm", "-r", &store]).ok();
    run(&["store", "rebuild"]).ok();
    run(&["ssh", name, "--", "true"])
        .ok()
        .says("did not know the SSH key of this store");
    assert_ne!(std::fs::read_to_string(&key).unwrap(), old);
    run(&["exec", name, "--via", "ssh", "--", "true"])
        .ok()
        .never_says("SSH key");

    let words: Vec<&str> = old.split(' ').collect();
    let other = format!(
        "sed -i 's|^sshHostKey: .*|sshHostKey: {} {}|' {store}/instances/*.yaml",
        words[0], words[1]
    );
    host.run(Who::Alone, &["sh", "-c", &other]).ok();
    run(&["exec", name, "--via", "ssh", "--", "true"])
        .code(5)
        .says("shows another SSH host key");
    run(&["ssh", name, "--accept-new-host-key", "--", "true"]).ok();
    assert_eq!(forwarded(host, name), 0);
}

#[test]
fn a_network_that_a_session_cannot_have_is_named() {
    let host = PrivateHost::start(Socket::Group);
    let run = |args: &[&str]| host.kvmctl(Who::Alone, args);
    run(&["setup", "--yes"]).ok();
    let image = host.path("images/tiny.qcow2").display().to_string();
    run(&["images", "import", &image, "--name", "tiny"]).ok();
    let create = [
        "instances",
        "create",
        "net",
        "--image",
        "tiny",
        "--cpus",
        "1",
        "--memory",
        "128Mi",
        "--no-wait",
        "--network",
    ];
    let named = |network: &str| run(&[create.as_slice(), &[network]].concat());
    named("blue").code(2).says("there is no network \"blue\"");
    let _turn = guest_turn();
    named("user").ok();
    run(&["delete", "instance", "net", "--now"]).ok();
    assert_eq!(host.guest_files(POOL), Vec::<String>::new());
}

/// Asks for a page of the guest, as a program of the user's on the host, until one comes.
#[track_caller]
fn page(host: &PrivateHost, port: &str) -> String {
    let url = format!("http://127.0.0.1:{port}/");
    let args = [
        "curl",
        "-sS",
        "--max-time",
        "5",
        "--retry",
        "40",
        "--retry-delay",
        "1",
    ];
    let args = [
        &args[..],
        &["--retry-all-errors", "--retry-max-time", "90", &url],
    ]
    .concat();
    host.run(Who::Alone, &args).ok().out
}

#[track_caller]
fn closed(host: &PrivateHost, port: &str) {
    let url = format!("http://127.0.0.1:{port}/");
    host.run(Who::Alone, &["curl", "-sS", "--max-time", "5", &url])
        .code(7);
}

#[test]
fn ports_lead_to_a_guest_without_any_right() {
    let host = PrivateHost::start(Socket::Group);
    let run = |args: &[&str]| host.kvmctl(Who::Alone, args);
    run(&["setup", "--yes"]).ok();
    let image = host.path("images/tiny.qcow2").display().to_string();
    run(&["images", "import", &image, "--name", "tiny"]).ok();
    let create = |name: &str, ports: &[&str]| {
        let fixed = [
            "instances",
            "create",
            name,
            "--image",
            "tiny",
            "--cpus",
            "1",
        ];
        let more = ["--memory", "128Mi", "--no-wait"];
        run(&[&fixed[..], &more, ports].concat())
    };
    let _turn = guest_turn();
    create("low", &["-p", "80:80", "--force"])
        .code(5)
        .says("only root");
    create("six", &["-p", "[::1]:18080:80"])
        .code(2)
        .says("IPv4");
    create(
        "web",
        &["-p", "18080:80", "-p", "0:80", "-p", "18090-18091:80-81"],
    )
    .ok();
    create("other", &["-p", "18080:80"])
        .code(5)
        .says("instance/web");
    assert!(page(&host, "18080").contains("address="));
    let listed = run(&["instances", "port", "web"]).ok();
    let free = listed.out.lines().nth(1).unwrap();
    let free = free.rsplit(':').next().unwrap().to_owned();
    assert!(page(&host, &free).contains("address="), "{free}");
    assert!(page(&host, "18090").contains("address="));
    run(&["get", "forwards"]).ok().prints("Active");
    run(&["reconcile", "--check"]).ok();

    // Changed while it runs.
    let ports = r#"{"spec":{"ports":["18081:80"]}}"#;
    run(&["patch", "instance", "web", "-p", ports]).ok();
    assert!(page(&host, "18081").contains("address="));
    closed(&host, "18080");
    run(&["instances", "port", "web", "80"])
        .ok()
        .prints("0.0.0.0:18081");

    let balancer =
        |name: &str, port: &str| run(&["lb", "create", name, "--port", port, "--target", "web:80"]);
    balancer("low", "80")
        .code(8)
        .says("choose a port from 1024 on");
    balancer("lb", "18081").code(5).says("instance/web");
    balancer("lb", "18086").ok();
    assert!(page(&host, "18086").contains("address="));
    let listed = run(&["get", "lb"]).ok();
    assert_eq!(listed.out.lines().count(), 2, "{}", listed.out);
    listed.prints("1/1").prints("Active");

    // A start past kvmctl forgets them, and reconcile finds that out.
    let virsh = |args: &[&str]| {
        let all = [&["virsh", "-q", "-c", "qemu:///session"][..], args].concat();
        host.run(Who::Alone, &all).ok()
    };
    virsh(&["destroy", "web"]);
    virsh(&["start", "web"]);
    run(&["reconcile", "--check"]).code(1).prints("18081:80");
    run(&["reconcile"]).ok();
    assert!(page(&host, "18081").contains("address="));
    assert!(page(&host, "18086").contains("address="));
    run(&["instances", "restart", "web", "--force", "--timeout", "1s"]).ok();
    assert!(page(&host, "18081").contains("address="));
    assert!(page(&host, "18086").contains("address="));
    run(&["lb", "delete", "lb"]).ok();
    closed(&host, "18086");
    let home = host.path("home/kt-alone/.local/state/kvmctl");
    assert!(home.exists() && !home.with_file_name("kvmctl-balancers").exists());

    // In the foreground, through QEMU as well; nothing of it stays.
    let program = host.path("kvmctl").display().to_string();
    let script = format!(
        "{program} port-forward instance/web 18085:80 & P=$!; sleep 2; \
         curl -sS --max-time 10 http://127.0.0.1:18085/; kill -INT $P; wait $P; echo rc=$?"
    );
    let forwarded = host.run(Who::Alone, &["bash", "-c", &script]).ok();
    forwarded
        .prints("Forwarding from 127.0.0.1:18085 -> 80")
        .prints("address=")
        .prints("rc=130");
    let monitor = virsh(&["qemu-monitor-command", "web", "--hmp", "info usernet"]);
    assert_eq!(
        monitor.out.matches("HOST_FORWARD").count(),
        1,
        "{}",
        monitor.out
    );

    run(&["delete", "instance", "web", "--now"]).ok();
    closed(&host, "18081");
    assert_eq!(host.guest_files(POOL), Vec::<String>::new());
}
