//! Against the host's own daemon, with real QEMU machines under TCG.
//!
//! Most machines have an empty disk: what QEMU and libvirt do needs no guest. Those that need one
//! boot an image whose path the environment gives: `KVMCTL_TEST_TINY` the small one of
//! `tests/lib/tiny-image.sh`, `KVMCTL_TEST_DEBIAN` one with a guest agent.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::conn::Host;
use super::domain::{AddressQuery, Domain, DomainState, Undefine};
use super::error::Cause;
use super::events::{EventKind, EventWaiter, StopCause, Waited};
use super::pool::Pool;
use super::xml::disk::DiskXml;
use super::xml::domain::DomainXml;
use super::xml::instance::{DiskParams, DomainParams, NicAttachment, NicParams, READY_CHANNEL};
use super::xml::network::NetworkXml;
use super::xml::object::ObjectMetadata;
use super::xml::volume::VolumeXml;
use crate::api::{Accelerator, Firmware, Name, NicModel, Uid};
use crate::error::{Error, Kind};

const MIB: u64 = 1 << 20;

/// A pool of our own with the domains on it; all of it goes with the value.
struct Bench {
    host: Host,
    pool: Pool,
    dir: tempfile::TempDir,
    name: String,
    domains: std::cell::RefCell<Vec<Domain>>,
}

impl Bench {
    fn new() -> Self {
        let host = Host::open("qemu:///system").unwrap();
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let mode = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(dir.path(), mode).unwrap();
        let name = format!("lv-{}", Uid::random().short());
        let pool = host.define_directory_pool(&name, dir.path()).unwrap();
        pool.build().unwrap();
        pool.start().unwrap();
        Self {
            host,
            pool,
            dir,
            name,
            domains: std::cell::RefCell::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn params(&self) -> DomainParams {
        let disk = format!("{}.qcow2", Uid::random().short());
        let volume = VolumeXml::empty(&disk, "qcow2", 64 * MIB);
        self.pool.create_volume(&volume).unwrap();
        DomainParams {
            name: Name::new(format!("{}-{}", self.name, Uid::random().short())).unwrap(),
            uid: Uid::random(),
            cpus: 1,
            memory_kib: 128 * 1024,
            accelerator: Accelerator::Tcg,
            arch: "x86_64".to_owned(),
            root: DiskParams {
                path: self.path(&disk),
                format: "qcow2".to_owned(),
                serial: Some("0123456789abcdef0123".to_owned()),
            },
            volumes: Vec::new(),
            seed: None,
            nics: Vec::new(),
            firmware: Firmware::Bios,
            tpm: false,
            serial_log: None,
            metadata: None,
        }
    }

    fn define(&self, params: &DomainParams) -> Domain {
        let domain = DomainXml::for_instance(params);
        let defined = self.host.define_domain(&domain).unwrap();
        self.domains.borrow_mut().push(defined.clone());
        defined
    }

    fn fill(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let size = bytes.len() as u64;
        let volume = VolumeXml::empty(name, "raw", size);
        let made = self.pool.create_volume(&volume).unwrap();
        made.upload(&mut &*bytes, size, &mut |_| true).unwrap();
        self.path(name)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for domain in self.domains.borrow().iter() {
            let _ = domain.destroy();
            let _ = domain.undefine(Undefine::Everything);
        }
        let _ = self.pool.stop();
        let _ = self.pool.undefine();
    }
}

fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

#[test]
#[ignore = "needs the host's libvirtd with QEMU"]
fn a_machine_goes_through_its_states() {
    let bench = Bench::new();
    let domain = bench.define(&bench.params());
    assert_eq!(domain.state().unwrap(), DomainState::Off);
    let events = EventWaiter::new(&bench.host, [domain.uid()]).unwrap();
    domain.start().unwrap();
    assert!(domain.run_id().is_some());
    domain.suspend().unwrap();
    assert!(domain.state().unwrap().is_paused());
    domain.resume().unwrap();
    assert_eq!(domain.state().unwrap(), DomainState::Running);
    let twice = domain.start().unwrap_err();
    assert_eq!(twice.cause(), Cause::NotNow);
    assert_eq!(Error::from(twice).kind(), Kind::Conflict);
    domain.block_resize("vda", 80 * MIB).unwrap();
    let usage = bench.host.domain_usage().unwrap();
    let (_, used) = usage.iter().find(|(b, _)| b.uid == domain.uid()).unwrap();
    assert!(used.cpu_ns > 0 && used.memory.is_some());
    domain.destroy().unwrap();
    let stopped = EventKind::Stopped(StopCause::Destroyed);
    let mut seen = Vec::new();
    while let Waited::Event(event) = events.next(soon(10)) {
        seen.push(event.kind);
        if event.kind == stopped {
            break;
        }
    }
    assert!(seen.contains(&EventKind::Started), "{seen:?}");
    assert_eq!(seen.last(), Some(&stopped));
    domain.undefine(Undefine::Everything).unwrap();
    assert!(domain.state().unwrap_err().is_not_found());
}

#[test]
#[ignore = "needs the host's libvirtd with QEMU"]
fn firmware_and_tpm_come_and_leave_nothing() {
    let bench = Bench::new();
    let params = DomainParams {
        firmware: Firmware::Uefi,
        tpm: bench.host.domain_capabilities().unwrap().has_tpm(),
        ..bench.params()
    };
    let domain = bench.define(&params);
    domain.start().unwrap();
    let live = domain.live().unwrap();
    assert!(live.is_uefi());
    let nvram = format!("/var/lib/libvirt/qemu/nvram/{}_VARS.fd", params.name);
    assert!(std::path::Path::new(&nvram).exists());
    domain.destroy().unwrap();
    domain.undefine(Undefine::Everything).unwrap();
    assert!(!std::path::Path::new(&nvram).exists());
    let tpm = format!("/var/lib/libvirt/swtpm/{}", params.uid);
    assert!(!std::path::Path::new(&tpm).exists());
}

#[test]
#[ignore = "needs the host's libvirtd with QEMU"]
fn a_saved_machine_is_undefined_too() {
    let bench = Bench::new();
    let domain = bench.define(&bench.params());
    domain.start().unwrap();
    domain.raw.managed_save(0).unwrap();
    domain.undefine(Undefine::Everything).unwrap();
    assert!(domain.state().unwrap_err().is_not_found());
}

#[test]
#[ignore = "needs the host's libvirtd with QEMU"]
fn the_seed_is_exchanged_while_it_runs() {
    let bench = Bench::new();
    let first = bench.fill("first.iso", &[1; 4096]);
    let second = bench.fill("second.iso", &[2; 4096]);
    let domain = bench.define(&DomainParams {
        seed: Some(first),
        ..bench.params()
    });
    domain.start().unwrap();
    let drive = domain.definition().unwrap().cdrom().cloned().unwrap();
    domain.change_medium(&drive.with_medium(&second)).unwrap();
    for xml in [domain.live().unwrap(), domain.definition().unwrap()] {
        let path = xml.cdrom().and_then(DiskXml::path).map(PathBuf::from);
        assert_eq!(path.as_ref(), Some(&second));
    }
    bench.pool.volume("first.iso").unwrap().delete().unwrap();
}

#[test]
#[ignore = "needs the host's libvirtd with QEMU"]
fn a_redefinition_keeps_what_libvirt_chose() {
    let bench = Bench::new();
    let domain = bench.define(&bench.params());
    let mut note = ObjectMetadata::new(domain.uid());
    note.spec = Some("{\"a\":\"<&>\\u0000\"}".to_owned());
    domain.set_metadata_config(&note).unwrap();
    let before = domain.raw.xml_desc(2).unwrap();
    domain.resize_config(&bench.host, 2, 256 * 1024).unwrap();
    let after = domain.raw.xml_desc(2).unwrap();
    let expected = before
        .replace(">131072<", ">262144<")
        .replace("<vcpu placement='static'>1<", "<vcpu placement='static'>2<");
    assert_eq!(after, expected);
    assert_eq!(domain.metadata_config().unwrap(), Some(note));
}

#[test]
#[ignore = "needs the host's libvirtd with QEMU"]
fn volumes_are_filled_read_and_refused() {
    let bench = Bench::new();
    let bytes: Vec<u8> = (0..3 * MIB + 17).map(|n| (n % 251) as u8).collect();
    let path = bench.fill("data.raw", &bytes);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let volume = bench.pool.volume("data.raw").unwrap();
    let mut back = Vec::new();
    volume.download(&mut back, 0, 0).unwrap();
    assert_eq!(back, bytes);
    back.clear();
    volume.download(&mut back, 3 * MIB, 0).unwrap();
    assert_eq!(back, &bytes[bytes.len() - 17..]);
    bench.fill("empty.raw", &[]);

    let mut early = &bytes[..100];
    let size = bytes.len() as u64;
    let short = volume.upload(&mut early, size, &mut |_| true).unwrap_err();
    assert!(short.message().contains("100 of"), "{short}");
    let stopped = volume.upload(&mut bytes.as_slice(), size, &mut |_| false);
    assert!(stopped.is_err());
    let twice = bench
        .pool
        .create_volume(&VolumeXml::empty("data.raw", "raw", 1));
    assert_eq!(twice.unwrap_err().cause(), Cause::Exists);
    // Streams that were given up hold nothing.
    volume.delete().unwrap();
    assert!(volume.delete().unwrap_err().is_not_found());
}

#[test]
#[ignore = "needs the host's libvirtd with QEMU"]
fn an_overlay_knows_its_base() {
    let bench = Bench::new();
    let base = VolumeXml::empty("base.qcow2", "qcow2", 64 * MIB);
    bench.pool.create_volume(&base).unwrap();
    let base = bench.path("base.qcow2");
    let overlay = VolumeXml::overlay("top.qcow2", 128 * MIB, &base, "qcow2");
    let made = bench.pool.create_volume(&overlay).unwrap();
    bench.pool.refresh().unwrap();
    let back = made.backing_path().unwrap();
    assert_eq!(back.map(PathBuf::from), Some(base));
    assert_eq!(made.info().unwrap().capacity, 128 * MIB);
}

/// Boots the image whose path the environment gives, on an overlay.
fn boot(bench: &Bench, variable: &str, memory_kib: u64) -> Domain {
    let image = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names no image"));
    let base = bench.path("base.qcow2");
    std::fs::copy(&image, &base).unwrap();
    bench.pool.refresh().unwrap();
    let overlay = VolumeXml::overlay("root.qcow2", 4096 * MIB, &base, "qcow2");
    bench.pool.create_volume(&overlay).unwrap();
    let mut params = DomainParams {
        memory_kib,
        nics: vec![NicParams {
            mac: "52:54:00:00:00:01".to_owned(),
            model: NicModel::Virtio,
            attachment: NicAttachment::User,
        }],
        ..bench.params()
    };
    params.root.path = bench.path("root.qcow2");
    let domain = bench.define(&params);
    domain.start().unwrap();
    domain
}

#[test]
#[ignore = "boots a guest"]
fn a_guest_speaks_over_console_and_port() {
    let bench = Bench::new();
    let domain = boot(&bench, "KVMCTL_TEST_TINY", 128 * 1024);
    let console = domain.open_console(&bench.host, false).unwrap();
    let mut heard = String::new();
    let until = |heard: &mut String, word: &str| {
        let deadline = soon(120);
        while !heard.contains(word) {
            assert!(Instant::now() < deadline, "no {word:?} in {heard}");
            let bytes = console.receive().unwrap();
            assert!(!bytes.is_empty(), "console closed after {heard}");
            heard.push_str(&String::from_utf8_lossy(&bytes));
        }
        heard.clear();
    };
    until(&mut heard, "tiny# ");
    let second = domain.open_console(&bench.host, false).unwrap_err();
    assert_eq!(Error::from(second).kind(), Kind::Conflict);

    // A reader that nobody needs any more gives the port back though the guest is silent.
    drop(domain.open_channel(&bench.host, READY_CHANNEL).unwrap());
    let lines = domain.open_channel(&bench.host, READY_CHANNEL).unwrap();
    let port = "p=$(grep -l kvmctl /sys/class/virtio-ports/*/name); p=${p%/name};";
    let say = format!("{port} printf 'one\\ntwo\\n' > /dev/${{p##*/}}; echo do''ne\n");
    console.send(say.as_bytes()).unwrap();
    until(&mut heard, "done");
    let next = || lines.next(soon(20));
    assert_eq!(next(), super::Line::Text("one".to_owned()));
    assert_eq!(next(), super::Line::Text("two".to_owned()));
    assert_eq!(lines.next(soon(0)), super::Line::TimedOut);

    // Closing from another thread wakes the one that waits.
    let other = console.clone();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| console.receive());
        std::thread::sleep(Duration::from_millis(200));
        other.close();
        let deadline = soon(5);
        while !waits.is_finished() {
            assert!(Instant::now() < deadline, "the reader was not woken");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    drop(domain.open_console(&bench.host, false).unwrap());

    assert_eq!(
        domain.addresses(AddressQuery::Agent).unwrap_err().cause(),
        Cause::Agent
    );
    assert!(!domain.agent_answers());
    let events = EventWaiter::new(&bench.host, [domain.uid()]).unwrap();
    domain.shutdown().unwrap();
    let deadline = soon(60);
    loop {
        match events.next(deadline) {
            Waited::Event(event) if event.kind == EventKind::Stopped(StopCause::Shutdown) => break,
            Waited::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next(), super::Line::Closed);
}

/// A network that goes with the value.
struct TestNetwork(super::Network);

impl Drop for TestNetwork {
    fn drop(&mut self) {
        let _ = self.0.stop();
        let _ = self.0.undefine();
    }
}

#[test]
#[ignore = "needs the host's libvirtd with QEMU"]
fn reservations_converge_from_either_half() {
    let host = Host::open("qemu:///system").unwrap();
    let xml = format!(
        "<network><name>lv-{}</name><ip address='10.201.0.1' prefix='24'><dhcp>\
         <range start='10.201.0.2' end='10.201.0.9'/></dhcp></ip></network>",
        Uid::random().short()
    );
    let xml = NetworkXml::from_xml(&xml).unwrap();
    let network = TestNetwork(host.define_network(&xml).unwrap());
    let net = &network.0;
    let ip = |last| std::net::Ipv4Addr::new(10, 201, 0, last);
    let cause = |result: Result<(), super::LibvirtError>| result.unwrap_err().cause();
    let count = || {
        let text = net.definition_text().unwrap();
        let definition = NetworkXml::from_xml(&text).unwrap();
        let live = net.definition().unwrap();
        (
            live.reservations().count(),
            definition.reservations().count(),
        )
    };
    let (one, two) = ("52:54:00:00:AB:01", "52:54:00:00:ab:02");
    net.add_host(one, ip(20), "one").unwrap();
    net.start().unwrap();
    net.add_host(two, ip(21), "two").unwrap();
    assert_eq!(count(), (2, 2));
    for (mac, last, name) in [
        (one, 22, "x"),
        ("52:54:00:00:ab:03", 20, "x"),
        (one, 20, "one"),
    ] {
        assert_eq!(cause(net.add_host(mac, ip(last), name)), Cause::Exists);
    }
    assert_eq!(host.leases(&net.name).unwrap(), []);

    net.remove_half(two, false);
    assert_eq!(count(), (1, 2));
    net.add_host(two, ip(21), "two").unwrap();
    assert_eq!(count(), (2, 2));
    net.remove_half(two, true);
    assert_eq!(count(), (2, 1));
    net.remove_host(two).unwrap();
    net.remove_host(&one.to_ascii_lowercase()).unwrap();
    assert_eq!(count(), (0, 0));
    assert_eq!(cause(net.remove_host(one)), Cause::NotFound);
}

#[test]
#[ignore = "boots a guest"]
fn the_agent_runs_commands_and_moves_files() {
    let bench = Bench::new();
    let domain = boot(&bench, "KVMCTL_TEST_DEBIAN", 512 * 1024);
    let events = EventWaiter::new(&bench.host, [domain.uid()]).unwrap();
    let deadline = soon(300);
    loop {
        match events.next(deadline) {
            Waited::Event(event) if event.kind == EventKind::AgentConnected => break,
            Waited::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(domain.agent_answers());
    let run = |argv: &[&str], input: &[u8]| {
        let argv: Vec<String> = argv.iter().map(|&a| a.to_owned()).collect();
        domain.agent_exec(&argv, input, Duration::from_secs(30))
    };
    let script = "cat; printf %s \"$1\" >&2; exit 7";
    let done = run(&["sh", "-c", script, "sh", "a 'b\n\u{fc}"], b"in\0put").unwrap();
    assert_eq!((done.code, done.truncated), (7, false));
    assert_eq!(done.stdout, b"in\0put");
    assert_eq!(done.stderr, "a 'b\n\u{fc}".as_bytes());
    let nosuch = run(&["/nosuch"], b"").unwrap_err();
    assert_eq!(nosuch.cause(), Cause::AgentRefused, "{nosuch}");
    let argv = ["sleep", "60"].map(str::to_owned);
    let long = domain.agent_exec(&argv, b"", Duration::from_secs(1));
    assert_eq!(long.unwrap_err().cause(), Cause::TimedOut);

    let path = super::GuestPath("/root/data".to_owned());
    let bytes: Vec<u8> = (0..2 * MIB + 5).map(|n| (n % 253) as u8).collect();
    let handle = domain.agent_open(&path, "w").unwrap();
    domain.agent_write(handle, &bytes).unwrap();
    domain.agent_close(handle).unwrap();
    let handle = domain.agent_open(&path, "r").unwrap();
    let mut back = Vec::new();
    loop {
        let piece = domain.agent_read(handle).unwrap();
        if piece.is_empty() {
            break;
        }
        back.extend(piece);
    }
    domain.agent_close(handle).unwrap();
    assert!(back == bytes);
    let addresses = domain.addresses(AddressQuery::Agent).unwrap();
    assert!(
        addresses.iter().any(|a| a.ip.is_loopback()),
        "{addresses:?}"
    );
}
