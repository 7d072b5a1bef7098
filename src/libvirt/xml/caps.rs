//! What a host and its QEMU can do, from libvirt's two capability documents.

use super::XmlError;
use super::tree::Element;
use crate::api::Uid;

/// The host, from `virConnectGetCapabilities`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCaps {
    /// Identity of the host.
    pub uuid: Option<Uid>,
    /// Architecture, as `x86_64`.
    pub arch: String,
    /// Model of the CPU as libvirt knows it.
    pub cpu_model: Option<String>,
    /// Vendor of the CPU.
    pub cpu_vendor: Option<String>,
    /// Family, model and stepping of the CPU, as `25/17/1`.
    pub cpu_signature: Option<String>,
    /// Features of the CPU beyond its model.
    pub cpu_features: Vec<String>,
    /// Security models that are in use: `apparmor`, `selinux`, `dac`.
    pub security_models: Vec<String>,
    /// What can be run.
    pub guests: Vec<GuestCaps>,
}

/// An architecture that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestCaps {
    /// Architecture.
    pub arch: String,
    /// The QEMU binary.
    pub emulator: Option<String>,
    /// Kinds of domain offered: `qemu`, `kvm`, `test`.
    pub domains: Vec<String>,
}

/// What one QEMU binary can do with one machine, from `virConnectGetDomainCapabilities`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainCaps {
    /// The QEMU binary.
    pub emulator: Option<String>,
    /// Kind of domain that was asked for, or the default: `kvm` or `qemu`.
    pub domain: String,
    /// Machine, as `pc-q35-10.0`.
    pub machine: Option<String>,
    /// Most virtual CPUs.
    pub max_cpus: Option<u32>,
    /// Whether libvirt can choose an UEFI firmware by itself.
    pub efi: bool,
    /// CPU modes that work: `host-model`, `maximum`…
    pub cpu_modes: Vec<String>,
    /// TPM models offered; none when swtpm is missing.
    pub tpm_models: Vec<String>,
    /// Kinds of TPM offered: `emulator`, `passthrough`.
    pub tpm_backends: Vec<String>,
    /// Versions that the emulated TPM offers.
    pub tpm_versions: Vec<String>,
}

impl HostCaps {
    /// Reads the document.
    ///
    /// # Errors
    /// [`XmlError::Read`] when it is not a capabilities document.
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        let root = Element::parse(text)?;
        let host = root
            .get("host")
            .ok_or_else(|| XmlError::read("capabilities", "no <host>"))?;
        let text_at = |path: &str| host.get(path).map(Element::text);
        Ok(Self {
            uuid: text_at("uuid").and_then(|t| t.parse().ok()),
            arch: text_at("cpu/arch").unwrap_or_default(),
            cpu_model: text_at("cpu/model"),
            cpu_vendor: text_at("cpu/vendor"),
            cpu_signature: host.get("cpu/signature").map(|s| {
                ["family", "model", "stepping"]
                    .map(|a| s.attribute(a).unwrap_or("?"))
                    .join("/")
            }),
            cpu_features: host.get("cpu").map(features).unwrap_or_default(),
            security_models: host
                .children_named("secmodel")
                .filter_map(|s| s.get("model"))
                .map(Element::text)
                .filter(|model| model != "none")
                .collect(),
            guests: root.children_named("guest").filter_map(guest).collect(),
        })
    }

    /// Returns whether the CPU can run guests of its own (vmx or svm); only x86 tells.
    ///
    /// libvirt leaves out of the list what the model has already, and AMD's models have svm.
    pub fn virtualisation(&self) -> Option<bool> {
        const WITH_SVM: [&str; 3] = ["EPYC", "Opteron", "phenom"];
        let model = self.cpu_model.as_deref().unwrap_or_default();
        let named = self.cpu_features.iter().any(|f| f == "vmx" || f == "svm")
            || WITH_SVM.iter().any(|m| model.starts_with(m));
        match (self.arch.as_str(), named) {
            (_, true) => Some(true),
            ("x86_64" | "i686", false) => Some(false),
            _ => None,
        }
    }

    /// Returns whether QEMU for the architecture is there, and with which kinds of domain.
    pub fn guest(&self, arch: &str) -> Option<&GuestCaps> {
        self.guests.iter().find(|g| g.arch == arch)
    }

    /// Returns whether libvirt offers KVM for guests of the host's own architecture.
    pub fn offers_kvm(&self) -> bool {
        self.guest(&self.arch)
            .is_some_and(|guest| guest.domains.iter().any(|kind| kind == "kvm"))
    }
}

impl DomainCaps {
    /// Reads the document.
    ///
    /// # Errors
    /// [`XmlError::Read`] when it is not a domain capabilities document.
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        let root = Element::parse(text)?;
        let domain = root
            .get("domain")
            .ok_or_else(|| XmlError::read("domainCapabilities", "no <domain>"))?
            .text();
        let tpm = root.get("devices/tpm").filter(|t| supported(t));
        let of_tpm = |name: &str| tpm.map(|t| enumeration(t, name)).unwrap_or_default();
        Ok(Self {
            emulator: root.get("path").map(Element::text),
            domain,
            machine: root.get("machine").map(Element::text),
            max_cpus: root
                .get("vcpu")
                .and_then(|v| v.attribute("max"))
                .and_then(|max| max.parse().ok()),
            efi: root
                .get("os")
                .is_some_and(|os| enumeration(os, "firmware").iter().any(|f| f == "efi")),
            cpu_modes: root
                .get("cpu")
                .map(|cpu| {
                    let modes = cpu.children_named("mode").filter(|m| supported(m));
                    modes
                        .filter_map(|m| m.attribute("name"))
                        .map(ToOwned::to_owned)
                        .collect()
                })
                .unwrap_or_default(),
            tpm_models: of_tpm("model"),
            tpm_backends: of_tpm("backendModel"),
            tpm_versions: of_tpm("backendVersion"),
        })
    }

    /// Returns whether the CPU mode works.
    pub fn has_cpu_mode(&self, mode: &str) -> bool {
        self.cpu_modes.iter().any(|m| m == mode)
    }

    /// Returns whether an emulated TPM 2.0 can be had.
    pub fn has_tpm(&self) -> bool {
        self.tpm_backends.iter().any(|b| b == "emulator")
    }
}

fn supported(element: &Element) -> bool {
    element.attribute("supported") == Some("yes")
}

fn enumeration(of: &Element, name: &str) -> Vec<String> {
    of.children_named("enum")
        .filter(|e| e.attribute("name") == Some(name))
        .flat_map(|e| e.children_named("value"))
        .map(Element::text)
        .collect()
}

fn features(cpu: &Element) -> Vec<String> {
    cpu.children_named("feature")
        .filter_map(|f| f.attribute("name"))
        .map(ToOwned::to_owned)
        .collect()
}

fn guest(guest: &Element) -> Option<GuestCaps> {
    let arch = guest.get("arch")?;
    Some(GuestCaps {
        arch: arch.attribute("name")?.to_owned(),
        emulator: arch.get("emulator").map(Element::text),
        domains: arch
            .children_named("domain")
            .filter_map(|d| d.attribute("type"))
            .map(ToOwned::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_host_without_svm_is_told_apart() {
        let caps = HostCaps::from_xml(include_str!("testdata/capabilities.xml")).unwrap();
        assert_eq!(caps.arch, "x86_64");
        assert_eq!(caps.virtualisation(), Some(false));
        assert_eq!(caps.security_models, ["dac"]);
        let guest = caps.guest("x86_64").unwrap();
        // kvm is offered all the same: that is the trap.
        assert_eq!(guest.domains, ["qemu", "kvm"]);
        assert!(caps.offers_kvm());
        assert!(caps.uuid.is_some());
        assert_eq!(caps.cpu_signature.as_deref(), Some("25/17/1"));
    }

    #[test]
    fn what_qemu_can_do_is_read() {
        let caps = DomainCaps::from_xml(include_str!("testdata/domcapabilities.xml")).unwrap();
        assert_eq!(caps.domain, "qemu");
        assert!(caps.efi);
        assert!(caps.has_cpu_mode("maximum") && !caps.has_cpu_mode("host-passthrough"));
        assert_eq!(caps.max_cpus, Some(4096));
    }
}
