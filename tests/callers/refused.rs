//! Who may not, and what is stopped, is told so: never an empty world, never `chmod`.

use super::host::{PrivateHost, Socket, Who};

#[test]
fn a_stranger_who_asks_for_the_system_daemon_learns_what_the_group_means() {
    for socket in [Socket::Group, Socket::Polkit] {
        let host = PrivateHost::start(socket);
        for args in [["get", "instances"], ["setup", "--yes"]] {
            let argv = [&["--uri", "qemu:///system"], args.as_slice()].concat();
            host.kvmctl(Who::Alone, &argv)
                .code(8)
                .says("rights of root")
                .says("usermod -aG libvirt")
                .says("qemu:///session")
                .never_says("chmod")
                .never_says("No instances");
        }
        assert!(!host.path("varlib/kvmctl").exists());
    }
}

#[test]
fn where_polkit_decides_a_refusal_leads_to_the_session_once() {
    let host = PrivateHost::start(Socket::Polkit);
    let list = || host.kvmctl(Who::Alone, &["get", "instances"]);
    list().ok().says("Using qemu:///session from now on");
    list().ok().never_says("Using");
    // What was decided stays decided, whatever becomes of the system daemon.
    host.stop_libvirtd();
    list().ok().says("No instances found");
    let changed = [
        "config",
        "set-context",
        "default",
        "--uri",
        "qemu:///system",
    ];
    host.kvmctl(Who::Alone, &changed).ok();
    list().code(8);
}

#[test]
fn a_system_daemon_that_is_stopped_is_no_empty_world() {
    for socket in [Socket::Group, Socket::Polkit] {
        let host = PrivateHost::start(socket);
        host.stop_libvirtd();
        let mut callers = vec![Who::Root, Who::Member];
        // A stranger to a socket that is open to all cannot know yet whose host it is.
        callers.extend(matches!(socket, Socket::Polkit).then_some(Who::Alone));
        for who in callers {
            host.kvmctl(who, &["get", "instances"])
                .code(8)
                .says("start the daemon")
                .never_says("session from now on")
                .never_says("No instances");
        }
    }
}
