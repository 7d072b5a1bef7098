//! Machines that need no guest.

use std::path::PathBuf;

use kvmctl::api::Firmware;
use kvmctl::error::{Error, Kind};
use kvmctl::libvirt::xml::disk::DiskXml;
use kvmctl::libvirt::xml::instance::DomainParams;
use kvmctl::libvirt::{
    Cause, DomainState, EventKind, EventWaiter, ObjectMetadata, StopCause, Undefine, Waited,
};

use super::super::host::host;
use super::bench::{Bench, MIB, soon};

#[test]
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
fn a_saved_machine_is_undefined_too() {
    let bench = Bench::new();
    let domain = bench.define(&bench.params());
    domain.start().unwrap();
    host("virsh", &["managedsave", &domain.uid().to_string()]);
    assert_eq!(domain.state().unwrap(), DomainState::Off);
    domain.undefine(Undefine::Everything).unwrap();
    assert!(domain.state().unwrap_err().is_not_found());
}

#[test]
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
fn a_redefinition_keeps_what_libvirt_chose() {
    let bench = Bench::new();
    let domain = bench.define(&bench.params());
    let mut note = ObjectMetadata::new(domain.uid());
    note.spec = Some("{\"a\":\"<&>\\u0000\"}".to_owned());
    domain.set_metadata_config(&note).unwrap();
    let before = host(
        "virsh",
        &["dumpxml", "--inactive", &domain.uid().to_string()],
    );
    domain.resize_config(&bench.host, 2, 256 * 1024).unwrap();
    let after = host(
        "virsh",
        &["dumpxml", "--inactive", &domain.uid().to_string()],
    );
    let expected = before
        .replace(">131072<", ">262144<")
        .replace("<vcpu placement='static'>1<", "<vcpu placement='static'>2<");
    assert_eq!(after, expected);
    assert_eq!(domain.metadata_config().unwrap(), Some(note));
}
