//! A guest that speaks over its console and a port.

use std::time::{Duration, Instant};

use kvmctl::api::NicModel;
use kvmctl::error::{Error, Kind};
use kvmctl::libvirt::xml::instance::{DomainParams, NicAttachment, NicParams, READY_CHANNEL};
use kvmctl::libvirt::xml::volume::VolumeXml;
use kvmctl::libvirt::{
    AddressQuery, Cause, Domain, EventKind, EventWaiter, Line, StopCause, Waited,
};

use super::bench::{Bench, MIB, soon};

/// Boots one of the test images, on an overlay.
fn boot(bench: &Bench, image: &str, memory_kib: u64) -> Domain {
    let images = std::env::var("KVMCTL_TEST_IMAGES").expect("tests/run.sh tells the images");
    let image = format!("{images}/{image}.qcow2");
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
fn a_guest_speaks_over_console_and_port() {
    let bench = Bench::new();
    let domain = boot(&bench, "tiny", 128 * 1024);
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
    assert_eq!(next(), Line::Text("one".to_owned()));
    assert_eq!(next(), Line::Text("two".to_owned()));
    assert_eq!(lines.next(soon(0)), Line::TimedOut);

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
    assert_eq!(next(), Line::Closed);
}
