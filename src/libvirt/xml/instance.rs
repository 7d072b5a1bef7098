//! The domain that kvmctl makes of an instance.
//!
//! Choices that are not obvious:
//! - A plain VGA card without any display: GRUB and some kernels hang or lose their output when there
//!   is no graphics card at all, and unlike virtio's it needs no extra QEMU package. Not on aarch64,
//!   whose `virt` machine has no VGA.
//! - `on_crash` destroys: a panicked guest then shows as crashed instead of burning a CPU for ever.
//! - UEFI without enrolled keys: an image whose boot loader nobody signed boots too.

use std::path::PathBuf;

use super::devices::{
    BalloonStats, BalloonXml, CharDeviceXml, CharLog, ControllerXml, DevicesXml, FeaturesXml,
    PanicXml, RngBackend, RngXml, TpmBackend, TpmXml, VideoXml,
};
use super::disk::DiskXml;
use super::domain::{
    BootXml, ClockXml, CpuFeatureXml, CpuXml, DomainXml, FirmwareFeature, FirmwareXml, OsType,
    OsXml, TimerXml, VcpuXml,
};
use super::interface::{InterfaceXml, Model};
use super::object::ObjectMetadata;
use super::{Amount, Present};
use crate::api::{Accelerator, Firmware, Name, NicModel, Uid, VolumeAttachment};

/// The virtio-serial port of the QEMU guest agent.
pub const AGENT_CHANNEL: &str = "org.qemu.guest_agent.0";
/// The virtio-serial port over which the guest reports how cloud-init ended.
pub const READY_CHANNEL: &str = "org.kvmctl.ready.0";
/// How often a guest reports its memory, in seconds.
const BALLOON_PERIOD: u32 = 5;

/// What a domain is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainParams {
    /// Name of the instance and the domain.
    pub name: Name,
    /// Identity of the instance and the domain.
    pub uid: Uid,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// How CPUs are run; `Auto` must have been decided before and counts as TCG.
    pub accelerator: Accelerator,
    /// Architecture, as `x86_64` or `aarch64`.
    pub arch: String,
    /// Root disk.
    pub root: DiskParams,
    /// Further disks, in order: `vdb`, `vdc`…
    pub volumes: Vec<VolumeParams>,
    /// ISO with the seed.
    pub seed: Option<PathBuf>,
    /// Network cards.
    pub nics: Vec<NicParams>,
    /// What starts the boot loader.
    pub firmware: Firmware,
    /// Whether it has a TPM 2.0.
    pub tpm: bool,
    /// File that gets everything the guest writes to its serial port.
    pub serial_log: Option<PathBuf>,
    /// kvmctl's own metadata.
    pub metadata: Option<ObjectMetadata>,
}

/// A disk of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskParams {
    /// Path of the file.
    pub path: PathBuf,
    /// `qcow2` or `raw`.
    pub format: String,
    /// Serial that the guest sees: at most 20 characters.
    pub serial: Option<String>,
}

/// A volume of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeParams {
    /// Its disk.
    pub disk: DiskParams,
    /// How it is to be treated.
    pub wish: VolumeAttachment,
}

impl VolumeParams {
    /// Makes the disk of a volume.
    pub fn disk_xml(&self, target: &str) -> DiskXml {
        self.disk.disk_xml(target).treated(&self.wish)
    }
}

impl DiskParams {
    fn disk_xml(&self, target: &str) -> DiskXml {
        DiskXml::virtio(&self.path, &self.format, target, self.serial.clone())
    }
}

/// A network card of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicParams {
    /// Hardware address.
    pub mac: String,
    /// What the guest sees.
    pub model: NicModel,
    /// What it is plugged into.
    pub attachment: NicAttachment,
}

/// What a network card is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicAttachment {
    /// A libvirt network.
    Network(String),
    /// QEMU's user-mode network, for a daemon without rights.
    User,
}

impl DomainXml {
    /// Makes the domain of an instance.
    pub fn for_instance(params: &DomainParams) -> Self {
        let x86 = is_x86(&params.arch);
        let kvm = params.accelerator == Accelerator::Kvm;
        Self {
            kind: if kvm { "kvm" } else { "qemu" }.to_owned(),
            id: None,
            name: params.name.to_string(),
            uuid: Some(params.uid),
            title: None,
            metadata: params.metadata.clone(),
            memory: Amount::kib(params.memory_kib),
            current_memory: Some(Amount::kib(params.memory_kib)),
            vcpu: Some(VcpuXml {
                current: None,
                maximum: params.cpus,
            }),
            os: os(params),
            features: Some(FeaturesXml {
                acpi: Some(Present {}),
                apic: x86.then_some(Present {}),
            }),
            cpu: Some(cpu(kvm, x86)),
            clock: Some(clock(x86)),
            on_poweroff: Some("destroy".to_owned()),
            on_reboot: Some("restart".to_owned()),
            on_crash: Some("destroy".to_owned()),
            devices: devices(params, x86),
            iothreadids: None,
        }
        .with_iothreads()
    }
}

/// Returns the name of the n-th virtio disk: `vda` … `vdz`, `vdaa`….
pub fn virtio_target(index: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(char::from(b'a' + u8::try_from(rest % 26).unwrap_or(0)));
        rest /= 26;
    }
    letters.push('d');
    letters.push('v');
    letters.iter().rev().collect()
}

fn is_x86(arch: &str) -> bool {
    matches!(arch, "x86_64" | "i686")
}

fn cpu(kvm: bool, x86: bool) -> CpuXml {
    let mode = match (kvm, x86) {
        (true, true) => "host-model",
        // `host-model` cannot be computed on ARM.
        (true, false) => "host-passthrough",
        (false, _) => "maximum",
    };
    // Page tables of five levels cost an emulated guest a third of its speed.
    let without = (!kvm && x86).then(|| CpuFeatureXml {
        policy: Some("disable".to_owned()),
        name: "la57".to_owned(),
    });
    CpuXml {
        mode: Some(mode.to_owned()),
        features: without.into_iter().collect(),
    }
}

fn os(params: &DomainParams) -> OsXml {
    // The `virt` machines know no BIOS.
    let uefi = params.firmware == Firmware::Uefi || !is_x86(&params.arch);
    OsXml {
        firmware: uefi.then(|| "efi".to_owned()),
        kind: OsType {
            arch: Some(params.arch.clone()),
            machine: Some(if is_x86(&params.arch) { "q35" } else { "virt" }.to_owned()),
            kind: "hvm".to_owned(),
        },
        firmware_features: uefi.then(|| FirmwareXml {
            features: vec![FirmwareFeature {
                enabled: "no".to_owned(),
                name: "enrolled-keys".to_owned(),
            }],
        }),
        loader: None,
        boot: vec![BootXml {
            dev: "hd".to_owned(),
        }],
    }
}

fn clock(x86: bool) -> ClockXml {
    let timer = |name: &str, tickpolicy: Option<&str>, present: Option<&str>| TimerXml {
        name: name.to_owned(),
        tickpolicy: tickpolicy.map(ToOwned::to_owned),
        present: present.map(ToOwned::to_owned),
    };
    let timers = [
        timer("rtc", Some("catchup"), None),
        timer("pit", Some("delay"), None),
        timer("hpet", None, Some("no")),
    ];
    ClockXml {
        offset: "utc".to_owned(),
        timers: if x86 { timers.into() } else { Vec::new() },
    }
}

fn devices(params: &DomainParams, x86: bool) -> DevicesXml {
    DevicesXml {
        emulator: None,
        disks: disks(params),
        controllers: std::iter::once(ControllerXml {
            kind: "scsi".to_owned(),
            index: Some(0),
            model: Some("virtio-scsi".to_owned()),
        })
        .chain(ports())
        .collect(),
        interfaces: params.nics.iter().map(interface).collect(),
        serials: vec![CharDeviceXml::serial(params.serial_log.as_ref().map(
            |path| CharLog {
                file: path.to_string_lossy().into_owned(),
                append: Some("on".to_owned()),
            },
        ))],
        consoles: vec![CharDeviceXml::console()],
        channels: vec![
            CharDeviceXml::channel(AGENT_CHANNEL),
            CharDeviceXml::channel(READY_CHANNEL),
        ],
        graphics: Vec::new(),
        videos: if x86 { vec![vga()] } else { Vec::new() },
        tpm: params.tpm.then(|| tpm(x86)),
        rngs: vec![RngXml {
            model: "virtio".to_owned(),
            backend: RngBackend {
                model: "random".to_owned(),
                path: Some("/dev/urandom".to_owned()),
            },
        }],
        memballoon: Some(BalloonXml {
            model: "virtio".to_owned(),
            stats: Some(BalloonStats {
                period: BALLOON_PERIOD,
            }),
        }),
        panics: if x86 { vec![panic_isa()] } else { Vec::new() },
    }
}

fn disks(params: &DomainParams) -> Vec<DiskXml> {
    let mut disks = vec![params.root.disk_xml(&virtio_target(0))];
    let volumes = params.volumes.iter().zip(1..);
    disks.extend(volumes.map(|(volume, index)| volume.disk_xml(&virtio_target(index))));
    disks.extend(
        params
            .seed
            .as_deref()
            .map(|p| DiskXml::cdrom(Some(p), "sda")),
    );
    disks
}

/// Makes a network card.
pub fn interface(nic: &NicParams) -> InterfaceXml {
    let model = nic.model.to_string();
    match &nic.attachment {
        NicAttachment::Network(network) => InterfaceXml::on_network(network, &nic.mac, &model),
        NicAttachment::User => InterfaceXml::user(&nic.mac, &model),
    }
}

/// PCI Express has a port for each device, and what is to be plugged in later needs one from the
/// start. The guest's devices take the first; the rest stay for volumes and interfaces.
fn ports() -> impl Iterator<Item = ControllerXml> {
    const PORTS: u32 = 14;
    (0..=PORTS).map(|index| ControllerXml {
        kind: "pci".to_owned(),
        index: Some(index),
        model: Some(
            if index == 0 {
                "pcie-root"
            } else {
                "pcie-root-port"
            }
            .to_owned(),
        ),
    })
}

fn vga() -> VideoXml {
    VideoXml {
        model: Model {
            kind: "vga".to_owned(),
        },
    }
}

fn tpm(x86: bool) -> TpmXml {
    TpmXml {
        model: Some(if x86 { "tpm-crb" } else { "tpm-tis" }.to_owned()),
        backend: TpmBackend {
            kind: "emulator".to_owned(),
            version: Some("2.0".to_owned()),
        },
    }
}

fn panic_isa() -> PanicXml {
    PanicXml {
        model: Some("isa".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_linux_names_them() {
        let names = [0, 1, 25, 26, 27, 701, 702].map(virtio_target);
        assert_eq!(
            names,
            ["vda", "vdb", "vdz", "vdaa", "vdab", "vdzz", "vdaaa"]
        );
    }
}
