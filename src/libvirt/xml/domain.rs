//! `<domain>`: a virtual machine as libvirt keeps it.
//!
//! Only what kvmctl makes or shows is typed; reading passes over the rest, so that machines made by
//! other tools can be listed and described. Such a document is never written back: changes go
//! through [`super::tree`].

use serde::{Deserialize, Serialize};

use super::devices::{CharDeviceXml, DevicesXml, FeaturesXml};
use super::disk::DiskXml;
use super::iothread::IoThreadIds;
use super::object::ObjectMetadata;
use super::tree::Element;
use super::{Amount, XmlError, read, write};
use crate::api::Uid;

/// A domain (formatdomain.html).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainXml {
    /// Hypervisor: `kvm`, `qemu` (TCG), `test`.
    #[serde(rename = "@type")]
    pub kind: String,
    /// libvirt's number for it while it runs. Only read.
    #[serde(rename = "@id", default, skip_serializing)]
    pub id: Option<i32>,
    /// Name.
    pub name: String,
    /// Identity; libvirt makes one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uid>,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// kvmctl's own element in `<metadata>`.
    #[serde(skip)]
    pub metadata: Option<ObjectMetadata>,
    /// Most memory it can have.
    pub memory: Amount,
    /// Memory it has.
    #[serde(
        rename = "currentMemory",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub current_memory: Option<Amount>,
    /// Virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<VcpuXml>,
    /// Threads that serve disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iothreadids: Option<IoThreadIds>,
    /// Machine, firmware and boot order.
    pub os: OsXml,
    /// ACPI and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<FeaturesXml>,
    /// CPU model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuXml>,
    /// Clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockXml>,
    /// What to do when the guest powers off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_poweroff: Option<String>,
    /// What to do when the guest restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_reboot: Option<String>,
    /// What to do when the guest's kernel panics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_crash: Option<String>,
    /// Devices.
    #[serde(default)]
    pub devices: DevicesXml,
}

/// `<vcpu>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuXml {
    /// How many are on; all when absent.
    #[serde(rename = "@current", default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// How many there can be.
    #[serde(rename = "$text")]
    pub maximum: u32,
}

/// `<os>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsXml {
    /// `efi`: libvirt chooses the firmware file; SeaBIOS when absent.
    #[serde(rename = "@firmware", default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Architecture and machine.
    #[serde(rename = "type")]
    pub kind: OsType,
    /// Which firmware to choose.
    #[serde(rename = "firmware", default, skip_serializing_if = "Option::is_none")]
    pub firmware_features: Option<FirmwareXml>,
    /// A firmware file that was chosen. Only read.
    #[serde(default, skip_serializing)]
    pub loader: Option<LoaderXml>,
    /// Devices to boot from, in order.
    #[serde(rename = "boot", default, skip_serializing_if = "Vec::is_empty")]
    pub boot: Vec<BootXml>,
}

/// `<type arch='x86_64' machine='q35'>hvm</type>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsType {
    /// Architecture.
    #[serde(rename = "@arch", default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Machine, an alias (`q35`) when written and a version (`pc-q35-10.0`) when read.
    #[serde(rename = "@machine", default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// `hvm`.
    #[serde(rename = "$text")]
    pub kind: String,
}

/// `<firmware>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareXml {
    /// What the firmware must or must not have.
    #[serde(rename = "feature", default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<FirmwareFeature>,
}

/// A feature of the firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareFeature {
    /// `yes` or `no`.
    #[serde(rename = "@enabled")]
    pub enabled: String,
    /// `enrolled-keys` or `secure-boot`.
    #[serde(rename = "@name")]
    pub name: String,
}

/// `<loader>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderXml {
    /// `pflash` or `rom`.
    #[serde(rename = "@type", default)]
    pub kind: Option<String>,
    /// Path of the firmware.
    #[serde(rename = "$text", default)]
    pub path: Option<String>,
}

/// `<boot dev='hd'/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootXml {
    /// `hd`, `cdrom`, `network`.
    #[serde(rename = "@dev")]
    pub dev: String,
}

/// `<cpu>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuXml {
    /// `host-model`, `host-passthrough`, `maximum`, `custom`.
    #[serde(rename = "@mode", default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// What the guest's processor has or lacks besides.
    #[serde(rename = "feature", default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<CpuFeatureXml>,
}

/// `<feature>` of a processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuFeatureXml {
    /// `force`, `require`, `optional`, `disable`, `forbid`; `require` where it is not said.
    #[serde(rename = "@policy", default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Name as libvirt knows it.
    #[serde(rename = "@name")]
    pub name: String,
}

/// `<clock>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockXml {
    /// `utc`.
    #[serde(rename = "@offset")]
    pub offset: String,
    /// Timers that differ from libvirt's default.
    #[serde(rename = "timer", default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<TimerXml>,
}

/// `<timer>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerXml {
    /// `rtc`, `pit`, `hpet`…
    #[serde(rename = "@name")]
    pub name: String,
    /// What becomes of ticks that could not be given in time.
    #[serde(
        rename = "@tickpolicy",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub tickpolicy: Option<String>,
    /// Whether it is there.
    #[serde(rename = "@present", default, skip_serializing_if = "Option::is_none")]
    pub present: Option<String>,
}

impl DomainXml {
    /// Reads a document, passing over what we do not know.
    ///
    /// # Errors
    /// [`XmlError::Read`] when it is not a domain.
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        let mut domain: Self = read("domain", text)?;
        domain.metadata = ObjectMetadata::find_in(&Element::parse(text)?)?;
        Ok(domain)
    }

    /// Writes the document.
    ///
    /// # Errors
    /// [`XmlError`] when a text holds a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        let text = write("domain", self)?;
        match &self.metadata {
            None => Ok(text),
            Some(metadata) => {
                let mut tree = Element::parse(&text)?;
                metadata.put_into(&mut tree, "name")?;
                Ok(tree.to_string())
            }
        }
    }

    /// Returns the virtual CPUs that are on.
    pub fn cpus(&self) -> u32 {
        self.vcpu
            .as_ref()
            .map_or(1, |v| v.current.unwrap_or(v.maximum))
    }

    /// Returns the memory it has, in bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.current_memory
            .as_ref()
            .unwrap_or(&self.memory)
            .in_bytes("KiB")
    }

    /// Returns whether it runs under KVM; otherwise QEMU emulates the CPU.
    pub fn is_kvm(&self) -> bool {
        self.kind == "kvm"
    }

    /// Returns whether something in the guest has a virtio-serial port open; nothing where libvirt
    /// does not know.
    pub fn port_is_open(&self, name: &str) -> Option<bool> {
        let ports = self
            .devices
            .channels
            .iter()
            .filter_map(|c| c.target.as_ref());
        let mut named = ports.filter(|t| t.name.as_deref() == Some(name));
        let state = named.next()?.state.as_deref()?;
        Some(state == "connected")
    }

    /// Returns whether it boots through UEFI.
    pub fn is_uefi(&self) -> bool {
        self.os.firmware.as_deref() == Some("efi")
            || self
                .os
                .loader
                .as_ref()
                .is_some_and(|l| l.kind.as_deref() == Some("pflash"))
    }

    /// Returns the hard disks, without CD-ROM drives.
    pub fn hard_disks(&self) -> impl Iterator<Item = &DiskXml> {
        self.devices.disks.iter().filter(|d| d.device == "disk")
    }

    /// Returns the first CD-ROM drive.
    pub fn cdrom(&self) -> Option<&DiskXml> {
        self.devices.disks.iter().find(|d| d.is_cdrom())
    }

    /// Returns a virtio-serial port by its name.
    pub fn channel(&self, name: &str) -> Option<&CharDeviceXml> {
        self.devices
            .channels
            .iter()
            .find(|c| c.name() == Some(name))
    }

    /// Returns the path of the serial port's log file.
    pub fn serial_log(&self) -> Option<&str> {
        let serials = self.devices.serials.iter();
        serials
            .chain(&self.devices.consoles)
            .find_map(|s| s.log.as_ref())
            .map(|log| log.file.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_of_another_tool_is_read() {
        let domain = DomainXml::from_xml(include_str!("testdata/domain.xml")).unwrap();
        assert_eq!(domain.name, "web");
        assert_eq!(domain.cpus(), 2);
        assert_eq!(domain.memory_bytes(), Some(512 << 20));
        assert!(!domain.is_kvm() && !domain.is_uefi());
        let root = domain.hard_disks().next().unwrap();
        assert_eq!(root.path(), Some("/var/lib/libvirt/images/web.root.qcow2"));
        assert_eq!(root.backing_chain(), ["/var/lib/libvirt/images/unc.qcow2"]);
        assert!(domain.cdrom().unwrap().path().is_some());
        let nic = &domain.devices.interfaces[0];
        assert_eq!(nic.network(), Some("default"));
        assert_eq!(nic.mac().as_deref(), Some("52:54:00:bb:00:01"));
        assert!(domain.channel("org.qemu.guest_agent.0").is_some());
        assert!(domain.serial_log().is_some());
        assert!(domain.metadata.is_none());
    }
}
