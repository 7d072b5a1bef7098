//! The small devices of a domain: controllers, serial ports, channels, random numbers, balloon, TPM.

use serde::{Deserialize, Serialize};

use super::Present;
use super::disk::DiskXml;
use super::interface::{InterfaceXml, Model};

/// Everything under `<devices>` that kvmctl makes or reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicesXml {
    /// The QEMU binary. Only read: libvirt knows the right one.
    #[serde(default, skip_serializing)]
    pub emulator: Option<String>,
    /// Disks and CD-ROMs.
    #[serde(rename = "disk", default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskXml>,
    /// Controllers that libvirt would not add by itself.
    #[serde(rename = "controller", default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<ControllerXml>,
    /// Network cards.
    #[serde(rename = "interface", default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<InterfaceXml>,
    /// Serial ports.
    #[serde(rename = "serial", default, skip_serializing_if = "Vec::is_empty")]
    pub serials: Vec<CharDeviceXml>,
    /// Consoles; the first is the first serial port again.
    #[serde(rename = "console", default, skip_serializing_if = "Vec::is_empty")]
    pub consoles: Vec<CharDeviceXml>,
    /// virtio-serial ports.
    #[serde(rename = "channel", default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<CharDeviceXml>,
    /// Displays: VNC, SPICE. kvmctl makes none.
    #[serde(default, skip_serializing)]
    pub graphics: Vec<GraphicsXml>,
    /// Graphics cards.
    #[serde(rename = "video", default, skip_serializing_if = "Vec::is_empty")]
    pub videos: Vec<VideoXml>,
    /// A TPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmXml>,
    /// Sources of random numbers.
    #[serde(rename = "rng", default, skip_serializing_if = "Vec::is_empty")]
    pub rngs: Vec<RngXml>,
    /// The memory balloon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memballoon: Option<BalloonXml>,
    /// Devices by which a guest's kernel tells that it panicked.
    #[serde(rename = "panic", default, skip_serializing_if = "Vec::is_empty")]
    pub panics: Vec<PanicXml>,
}

/// `<controller>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerXml {
    /// `scsi`, `usb`, `pci`…
    #[serde(rename = "@type")]
    pub kind: String,
    /// Which of its type it is.
    #[serde(rename = "@index", default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Model, as `virtio-scsi`.
    #[serde(rename = "@model", default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// `<serial>`, `<console>` or `<channel>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharDeviceXml {
    /// The host's end: `pty`, `unix`…
    #[serde(rename = "@type")]
    pub kind: String,
    /// Where the host's end is. Only read: libvirt chooses.
    #[serde(default, skip_serializing)]
    pub source: Option<CharSource>,
    /// File that also gets everything the guest writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<CharLog>,
    /// The guest's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<CharTarget>,
}

/// `<source>` of a character device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharSource {
    /// Path of the pty or socket.
    #[serde(rename = "@path", default)]
    pub path: Option<String>,
}

/// `<log>` of a character device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharLog {
    /// Path of the file; virtlogd rotates it at 2 MiB, keeping three.
    #[serde(rename = "@file")]
    pub file: String,
    /// `on` keeps the file over restarts.
    #[serde(rename = "@append", default, skip_serializing_if = "Option::is_none")]
    pub append: Option<String>,
}

/// `<target>` of a character device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharTarget {
    /// `isa-serial`, `serial`, `virtio`…; libvirt's choice for the machine when absent.
    #[serde(rename = "@type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Number of the port.
    #[serde(rename = "@port", default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// Name of a virtio port, as `org.qemu.guest_agent.0`.
    #[serde(rename = "@name", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `connected` while something in the guest has the port open. Only read.
    #[serde(rename = "@state", default, skip_serializing)]
    pub state: Option<String>,
}

/// `<graphics>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphicsXml {
    /// `vnc`, `spice`…
    #[serde(rename = "@type")]
    pub kind: String,
}

/// `<video>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoXml {
    /// The card.
    pub model: Model,
}

/// `<tpm>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmXml {
    /// What the guest sees: `tpm-crb` or `tpm-tis`.
    #[serde(rename = "@model", default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What does the work.
    pub backend: TpmBackend,
}

/// `<backend>` of a TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmBackend {
    /// `emulator` (swtpm) or `passthrough`.
    #[serde(rename = "@type")]
    pub kind: String,
    /// `2.0`.
    #[serde(rename = "@version", default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// `<rng>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngXml {
    /// `virtio`.
    #[serde(rename = "@model")]
    pub model: String,
    /// Where the numbers come from.
    pub backend: RngBackend,
}

/// `<backend>` of a random number generator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngBackend {
    /// `random` or `egd`.
    #[serde(rename = "@model")]
    pub model: String,
    /// Device of the host.
    #[serde(rename = "$text", default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// `<memballoon>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonXml {
    /// `virtio` or `none`.
    #[serde(rename = "@model")]
    pub model: String,
    /// How often the guest reports its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<BalloonStats>,
}

/// `<stats period='5'/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonStats {
    /// Seconds between two reports.
    #[serde(rename = "@period")]
    pub period: u32,
}

/// `<panic>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicXml {
    /// `isa` or `pvpanic`; libvirt's choice for the machine when absent.
    #[serde(rename = "@model", default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// `<features>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeaturesXml {
    /// Without it a guest cannot be asked to shut down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acpi: Option<Present>,
    /// The x86 interrupt controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apic: Option<Present>,
}

impl CharDeviceXml {
    /// Makes a serial port whose output also goes to a log file.
    pub fn serial(log: Option<CharLog>) -> Self {
        Self {
            kind: "pty".to_owned(),
            source: None,
            log,
            target: Some(CharTarget {
                port: Some(0),
                ..CharTarget::default()
            }),
        }
    }

    /// Makes the console that is the first serial port.
    pub fn console() -> Self {
        Self {
            kind: "pty".to_owned(),
            source: None,
            log: None,
            target: Some(CharTarget {
                kind: Some("serial".to_owned()),
                port: Some(0),
                ..CharTarget::default()
            }),
        }
    }

    /// Makes a virtio-serial port whose host end is a socket that libvirt makes.
    pub fn channel(name: &str) -> Self {
        Self {
            kind: "unix".to_owned(),
            source: None,
            log: None,
            target: Some(CharTarget {
                kind: Some("virtio".to_owned()),
                name: Some(name.to_owned()),
                ..CharTarget::default()
            }),
        }
    }

    /// Returns the name of a virtio port.
    pub fn name(&self) -> Option<&str> {
        self.target.as_ref()?.name.as_deref()
    }
}
