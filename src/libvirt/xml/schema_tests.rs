//! What kvmctl generates, against the schemas that libvirt installs, and against hostile texts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::XmlError;
use super::backup::{BackupDiskXml, BackupXml};
use super::checkpoint::CheckpointXml;
use super::disk::DiskXml;
use super::domain::DomainXml;
use super::instance::{DiskParams, DomainParams, NicAttachment, NicParams, VolumeParams};
use super::network::{
    BridgeXml, DhcpHostXml, DhcpXml, DnsDomainXml, ForwardXml, IpXml, NetworkXml, RangeXml,
};
use super::object::ObjectMetadata;
use super::pool::PoolXml;
use super::snapshot::SnapshotXml;
use super::tree::Element;
use super::volume::VolumeXml;
use crate::api::{
    Accelerator, CacheMode, DiscardMode, Firmware, IoMode, LabelKey, Name, NetworkMode, NicModel,
    Uid, VolumeAttachment,
};
use crate::host::Tool;

const HOSTILE: &str = "a&b<c>\"d'e]]>--x ü\u{1F600}";

/// Checks a document with xmllint; a host without it or the schemas fails the test.
fn assert_valid(schema: &str, xml: &str) {
    let schema = format!("/usr/share/libvirt/schemas/{schema}.rng");
    assert!(Path::new(&schema).exists(), "{schema} is not installed");
    let xmllint = Tool::find(&["xmllint"], "libxml2-utils").unwrap();
    let args = ["--noout", "--relaxng", &schema, "-"];
    if let Err(error) = xmllint.run(&args, xml.as_bytes(), None) {
        panic!("{error}\n{xml}");
    }
}

fn params() -> DomainParams {
    DomainParams {
        name: Name::new("web").unwrap(),
        uid: Uid::random(),
        cpus: 2,
        memory_kib: 524_288,
        accelerator: Accelerator::Tcg,
        arch: "x86_64".to_owned(),
        root: DiskParams {
            path: PathBuf::from("/var/lib/libvirt/images/web.0123abcd.qcow2"),
            format: "qcow2".to_owned(),
            serial: Some("0123456789abcdef0123".to_owned()),
        },
        volumes: Vec::new(),
        seed: Some(PathBuf::from("/var/lib/libvirt/images/web.0123abcd.iso")),
        nics: vec![NicParams {
            mac: "52:54:00:00:00:01".to_owned(),
            model: NicModel::Virtio,
            attachment: NicAttachment::Network("default".to_owned()),
        }],
        firmware: Firmware::Bios,
        tpm: false,
        serial_log: Some(PathBuf::from("/var/log/libvirt/qemu/web-serial.log")),
        metadata: Some(ObjectMetadata::new(Uid::random())),
    }
}

/// The variants that differ in which elements there are.
fn variants() -> Vec<DomainParams> {
    let base = params();
    let user_nic = NicParams {
        attachment: NicAttachment::User,
        ..base.nics[0].clone()
    };
    let second_nic = NicParams {
        model: NicModel::E1000e,
        ..base.nics[0].clone()
    };
    let mut hostile = base.clone();
    hostile.root.path = PathBuf::from(format!("/pool/{HOSTILE}"));
    hostile.seed = Some(PathBuf::from(format!("/pool/{HOSTILE}.iso")));
    hostile.serial_log = Some(PathBuf::from(format!("/log/{HOSTILE}")));
    hostile.nics[0].attachment = NicAttachment::Network(HOSTILE.to_owned());
    vec![
        base.clone(),
        DomainParams {
            accelerator: Accelerator::Kvm,
            ..base.clone()
        },
        DomainParams {
            firmware: Firmware::Uefi,
            tpm: true,
            ..base.clone()
        },
        DomainParams {
            arch: "aarch64".to_owned(),
            tpm: true,
            ..base.clone()
        },
        DomainParams {
            nics: vec![user_nic],
            serial_log: None,
            metadata: None,
            ..base.clone()
        },
        DomainParams {
            nics: vec![base.nics[0].clone(), second_nic],
            volumes: vec![
                VolumeParams {
                    disk: base.root.clone(),
                    wish: VolumeAttachment::named(Name::new("plain").unwrap()),
                },
                VolumeParams {
                    disk: base.root.clone(),
                    wish: VolumeAttachment {
                        read_only: Some(true),
                        shared: Some(true),
                        cache: Some(CacheMode::None),
                        discard: Some(DiscardMode::Ignore),
                        io: Some(IoMode::Native),
                        ..VolumeAttachment::named(Name::new("other").unwrap())
                    },
                },
            ],
            ..base.clone()
        },
        DomainParams {
            nics: Vec::new(),
            seed: None,
            ..base
        },
        hostile,
    ]
}

#[test]
fn domains_fit_the_schema_and_round_trip() {
    for params in variants() {
        let domain = DomainXml::for_instance(&params);
        let xml = domain.to_xml().unwrap();
        assert_valid("domain", &xml);
        assert_eq!(DomainXml::from_xml(&xml).unwrap(), domain, "{xml}");
    }
}

fn network(text: &str) -> NetworkXml {
    let ip = |last| IpAddr::from([10, 201, 0, last]);
    NetworkXml {
        name: text.to_owned(),
        uuid: Some(Uid::random()),
        metadata: Some(ObjectMetadata::new(Uid::random())),
        forward: Some(ForwardXml {
            mode: Some("nat".to_owned()),
            ..ForwardXml::default()
        }),
        bridge: Some(BridgeXml {
            name: Some("kvm-blue".to_owned()),
            ..BridgeXml::default()
        }),
        domain: Some(DnsDomainXml {
            name: "blue.test".to_owned(),
            local_only: Some("yes".to_owned()),
        }),
        ips: vec![IpXml {
            family: None,
            address: ip(1),
            netmask: None,
            prefix: Some(24),
            dhcp: Some(DhcpXml {
                ranges: vec![RangeXml {
                    start: ip(2),
                    end: ip(99),
                }],
                hosts: vec![DhcpHostXml::new("52:54:00:00:00:01", ip(100), Some("web"))],
            }),
        }],
        ..NetworkXml::default()
    }
}

#[test]
fn networks_pools_and_volumes_fit_the_schemas() {
    assert_valid("network", &network("blue").to_xml().unwrap());
    for mode in NetworkMode::ALL {
        let built = super::network_params::tests::params(mode).build();
        assert_valid("network", &built.to_xml().unwrap());
    }
    let pool = PoolXml::directory("kvmctl", Path::new("/srv/pool"));
    assert_valid("storagepool", &pool.to_xml().unwrap());
    let overlay = VolumeXml::overlay("web.qcow2", 1 << 30, Path::new("/srv/base"), "qcow2");
    assert_valid("storagevol", &overlay.to_xml().unwrap());
    let raw = VolumeXml::empty("data.raw", "raw", 1 << 30);
    assert_valid("storagevol", &raw.to_xml().unwrap());
}

/// Returns how many elements a document has, or `None` when its text was refused.
fn elements(xml: Result<String, XmlError>) -> Option<usize> {
    match xml {
        Ok(xml) => Some(Element::parse(&xml).unwrap().count()),
        Err(XmlError::IllegalCharacter { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

proptest! {
    #[test]
    fn no_text_adds_an_element_to_a_domain(text in any::<String>(), field in 0..7) {
        let expected = elements(DomainXml::for_instance(&params()).to_xml());
        let mut params = params();
        let path = || PathBuf::from(&text);
        match field {
            0 => params.root.path = path(),
            1 => params.root.format = text,
            2 => params.root.serial = Some(text),
            3 => params.seed = Some(path()),
            4 => params.nics[0].mac = text,
            5 => params.nics[0].attachment = NicAttachment::Network(text),
            _ => params.serial_log = Some(path()),
        }
        let found = elements(DomainXml::for_instance(&params).to_xml());
        prop_assert!(found.is_none() || found == expected);
    }

    #[test]
    fn no_text_adds_an_element_to_metadata(text in any::<String>(), field in 0..5) {
        let note = |text: &str| {
            let mut note = ObjectMetadata::new(Uid::random());
            match field {
                0 => note.name = Some(text.to_owned()),
                1 => note.owner = Some(text.to_owned()),
                2 => note.spec = Some(text.to_owned()),
                3 => drop(note.extra.insert(text.to_owned(), text.to_owned())),
                _ => drop(note.annotations.insert(LabelKey::new("k").unwrap(), text.to_owned())),
            }
            let mut params = params();
            params.metadata = Some(note);
            DomainXml::for_instance(&params).to_xml()
        };
        let found = elements(note(&text));
        prop_assert!(found.is_none() || found == elements(note("x")));
    }

    #[test]
    fn no_text_adds_an_element_elsewhere(text in any::<String>()) {
        let same = |hostile, plain| {
            let found = elements(hostile);
            found.is_none() || found == elements(plain)
        };
        prop_assert!(same(network(&text).to_xml(), network("x").to_xml()));
        let disk = |text: &str| DiskXml::cdrom(Some(Path::new(text)), text).to_xml();
        prop_assert!(same(disk(&text), disk("x")));
        let volume = |t: &str| VolumeXml::overlay(t, 1, Path::new(t), t).to_xml();
        prop_assert!(same(volume(&text), volume("x")));
        let pool = |t: &str| PoolXml::directory(t, Path::new(t)).to_xml();
        prop_assert!(same(pool(&text), pool("x")));
        let host = |t: &str| DhcpHostXml::new(t, IpAddr::from([1, 2, 3, 4]), Some(t)).to_xml();
        prop_assert!(same(host(&text), host("x")));
    }
}

#[test]
fn backups_checkpoints_and_snapshots_are_valid() {
    let file = format!("/pool/{HOSTILE}");
    let backup = BackupXml::push(vec![
        BackupDiskXml::copy("vda", &file, None),
        BackupDiskXml::copy("vdb", &file, Some("kvmctl-1")),
        BackupDiskXml::leave_out("sda"),
    ]);
    assert_valid("domainbackup", &backup.to_xml().unwrap());
    let disks = ["vda", "vdb", "sda"];
    let checkpoint = CheckpointXml::new("kvmctl-1", disks.into_iter(), &["vda", "vdb"]);
    assert_valid("domaincheckpoint", &checkpoint.to_xml().unwrap());
    let snapshot = SnapshotXml::internal("kvmctl-1", [("vda", true), ("sda", false)].into_iter());
    assert_valid("domainsnapshot", &snapshot.to_xml().unwrap());
}
