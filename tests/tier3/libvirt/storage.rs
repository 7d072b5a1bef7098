//! Volumes and the reservations of networks.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use kvmctl::api::Uid;
use kvmctl::libvirt::xml::network::NetworkXml;
use kvmctl::libvirt::xml::volume::VolumeXml;
use kvmctl::libvirt::{Cause, Host, LibvirtError, Network};

use super::super::host::host;
use super::bench::{Bench, MIB};

#[test]
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

/// A network that goes with the value.
struct TestNetwork(Network);

impl Drop for TestNetwork {
    fn drop(&mut self) {
        let _ = self.0.stop();
        let _ = self.0.undefine();
    }
}

#[test]
fn reservations_converge_from_either_half() {
    let daemon = Host::open("qemu:///system").unwrap();
    let xml = format!(
        "<network><name>lv-{}</name><ip address='10.201.0.1' prefix='24'><dhcp>\
         <range start='10.201.0.2' end='10.201.0.9'/></dhcp></ip></network>",
        Uid::random().short()
    );
    let xml = NetworkXml::from_xml(&xml).unwrap();
    let network = TestNetwork(daemon.define_network(&xml).unwrap());
    let net = &network.0;
    let ip = |last| std::net::Ipv4Addr::new(10, 201, 0, last);
    let cause = |result: Result<(), LibvirtError>| result.unwrap_err().cause();
    let count = || {
        let text = net.definition_text().unwrap();
        let definition = NetworkXml::from_xml(&text).unwrap();
        let live = net.definition().unwrap();
        (
            live.reservations().count(),
            definition.reservations().count(),
        )
    };
    let halve = |where_: &str| {
        let entry = "<host mac='52:54:00:00:ab:02'/>";
        let args = [
            "net-update",
            &net.name,
            "delete",
            "ip-dhcp-host",
            entry,
            where_,
        ];
        host("virsh", &args);
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
    // A name is for people, and one of two goes without.
    let namesake = "52:54:00:00:ab:04";
    net.add_host(namesake, ip(23), "one").unwrap();
    assert_eq!(count(), (3, 3));
    net.remove_host(namesake).unwrap();
    assert_eq!(daemon.leases(&net.name).unwrap(), []);

    halve("--live");
    assert_eq!(count(), (1, 2));
    net.add_host(two, ip(21), "two").unwrap();
    assert_eq!(count(), (2, 2));
    halve("--config");
    assert_eq!(count(), (2, 1));
    net.remove_host(two).unwrap();
    net.remove_host(&one.to_ascii_lowercase()).unwrap();
    assert_eq!(count(), (0, 0));
    assert_eq!(cause(net.remove_host(one)), Cause::NotFound);
}
