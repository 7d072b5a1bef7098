//! A pool of one's own for a test that speaks to libvirt through the crate's own door.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kvmctl::api::{Accelerator, Firmware, Name, Uid};
use kvmctl::libvirt::xml::domain::DomainXml;
use kvmctl::libvirt::xml::instance::{DiskParams, DomainParams};
use kvmctl::libvirt::xml::volume::VolumeXml;
use kvmctl::libvirt::{Domain, Host, Pool, Undefine};

pub(super) const MIB: u64 = 1 << 20;

/// A pool of our own with the domains on it; all of it goes with the value.
pub(super) struct Bench {
    pub(super) host: Host,
    pub(super) pool: Pool,
    dir: tempfile::TempDir,
    name: String,
    domains: std::cell::RefCell<Vec<Domain>>,
}

impl Bench {
    pub(super) fn new() -> Self {
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

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn params(&self) -> DomainParams {
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

    pub(super) fn define(&self, params: &DomainParams) -> Domain {
        let domain = DomainXml::for_instance(params);
        let defined = self.host.define_domain(&domain).unwrap();
        self.domains.borrow_mut().push(defined.clone());
        defined
    }

    pub(super) fn fill(&self, name: &str, bytes: &[u8]) -> PathBuf {
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

pub(super) fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}
