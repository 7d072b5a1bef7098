//! Against a private daemon: libvirt's test driver behind a real socket, which may die.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::conn::Host;
use super::error::Cause;
use super::events::{EventWaiter, Waited};
use super::xml::domain::DomainXml;
use crate::api::Uid;
use crate::error::{Error, Kind};
use crate::host::Tool;

/// A daemon of our own; it ends with the value.
struct Daemon {
    dir: tempfile::TempDir,
    pid: String,
}

impl Daemon {
    /// Starts one as a user without rights, who cannot touch the host's own.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let root = rustix::process::geteuid().is_root();
        let user = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        let script = format!(
            "cd {path} && chown 65534:65534 . 2>/dev/null; exec {} env -u DISPLAY HOME={path} \
             XDG_RUNTIME_DIR={path} XDG_CONFIG_HOME={path} XDG_CACHE_HOME={path} XDG_DATA_HOME={path} \
             libvirtd -d --timeout 120 --pid-file {path}/pid",
            if root { user.join(" ") } else { String::new() },
        );
        shell(&script);
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let pid = pid.trim().to_owned();
        Self { dir, pid }
    }

    fn uri(&self) -> String {
        let socket = self.socket();
        format!("test+unix:///default?socket={}", socket.display())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("libvirt/libvirt-sock")
    }

    fn kill(&self) {
        shell(&format!("kill -9 {}", self.pid));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may be dead already.
        shell(&format!("kill {} 2>/dev/null || true", self.pid));
    }
}

fn shell(script: &str) {
    let sh = Tool::find(&["sh"], "dash").unwrap();
    sh.run(&["-c", script], b"", None).unwrap();
}

fn domain(name: &str) -> DomainXml {
    let xml = format!(
        "<domain type='test'><name>{name}</name><uuid>{}</uuid><memory>8192</memory>\
         <os><type>hvm</type></os></domain>",
        Uid::random()
    );
    DomainXml::from_xml(&xml).unwrap()
}

#[test]
fn a_daemon_that_dies_is_told_at_once() {
    let daemon = Daemon::start();
    let host = Host::open(&daemon.uri()).unwrap();
    assert!(host.is_local());
    let waiter = EventWaiter::all(&host).unwrap();
    let begun = Instant::now();
    daemon.kill();
    assert_eq!(waiter.next(begun + Duration::from_secs(30)), Waited::Closed);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let later = EventWaiter::all(&host).unwrap();
    assert_eq!(later.next(begun + Duration::from_secs(30)), Waited::Closed);
    let lost = host.domain_briefs().unwrap_err();
    assert_eq!(lost.cause(), Cause::Lost, "{lost}");
    assert_eq!(Error::from(lost).kind(), Kind::Unavailable);
    let gone = Host::open(&daemon.uri()).unwrap_err();
    assert_eq!(gone.cause(), Cause::Unreachable, "{gone}");
    assert!(!Error::from(gone).hints().is_empty());
}

#[test]
fn refusals_are_told_apart() {
    let daemon = Daemon::start();
    let host = Host::open(&daemon.uri()).unwrap();
    let cause = |result: Result<(), super::LibvirtError>| result.unwrap_err().cause();
    host.define_domain(&domain("one")).unwrap();
    let again = host.define_domain(&domain("one")).map(drop);
    assert_eq!(cause(again), Cause::Exists);
    assert_eq!(cause(host.domain("nosuch").map(drop)), Cause::NotFound);
    assert_eq!(
        cause(host.domain_by_uid(Uid::random()).map(drop)),
        Cause::NotFound
    );
    assert_eq!(cause(host.network("nosuch").map(drop)), Cause::NotFound);
    assert_eq!(cause(host.pool("nosuch").map(drop)), Cause::NotFound);
    let pool = host.pool("default-pool").unwrap();
    assert_eq!(cause(pool.volume("nosuch").map(drop)), Cause::NotFound);
    assert_eq!(cause(host.domain("a\0b").map(drop)), Cause::Other);
    let one = host.domain("one").unwrap();
    assert_eq!(cause(one.suspend()), Cause::NotNow);
    one.start().unwrap();
    assert_eq!(cause(one.start()), Cause::NotNow);
    let mut bad = domain("bad");
    bad.on_crash = Some("explode".to_owned());
    assert_eq!(cause(host.define_domain(&bad).map(drop)), Cause::BadXml);
}

/// `virsh list --all` makes a call for each domain and takes 0.3 s for these.
#[test]
fn a_thousand_domains_are_listed_in_one_call() {
    let daemon = Daemon::start();
    let host = Host::open(&daemon.uri()).unwrap();
    for number in 0..1000 {
        host.define_domain(&domain(&format!("d{number}"))).unwrap();
    }
    let begun = Instant::now();
    let briefs = host.domain_briefs().unwrap();
    let taken = begun.elapsed();
    assert_eq!(briefs.len(), 1001);
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}

#[test]
fn threads_share_a_connection() {
    let daemon = Daemon::start();
    let host = Host::open(&daemon.uri()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let host = &host;
            scope.spawn(move || {
                for number in 0..25 {
                    let name = format!("t{thread}-{number}");
                    let made = host.define_domain(&domain(&name)).unwrap();
                    made.start().unwrap();
                    assert!(host.domain("nosuch").unwrap_err().is_not_found());
                    made.destroy().unwrap();
                    made.undefine(super::Undefine::Everything).unwrap();
                }
            });
        }
    });
    assert_eq!(host.domain_briefs().unwrap().len(), 1);
}
