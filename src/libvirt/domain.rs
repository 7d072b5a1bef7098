//! Domains: looking them up, changing their state, redefining them.

use std::net::IpAddr;

use virt::domain::Domain as Raw;
use virt::sys;

use super::conn::{Host, call, plain};
use super::domain_state::{self, DomainState};
use super::error::{Cause, LibvirtError};
use super::ffi;
use super::xml::domain::DomainXml;
use super::xml::tree::Element;
use crate::api::Uid;

/// A domain.
#[derive(Debug, Clone)]
pub struct Domain {
    pub(super) raw: Raw,
    uid: Uid,
    pub(super) name: String,
}

/// Whom addresses are asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressQuery {
    /// The network's DHCP server.
    Lease,
    /// The guest agent.
    Agent,
    /// The host's neighbour table.
    Arp,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Hardware address, where known.
    pub mac: Option<String>,
    /// The address.
    pub ip: IpAddr,
}

/// What goes with a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undefine {
    /// Managed save, metadata of snapshots and checkpoints, NVRAM, TPM state.
    Everything,
}

impl Host {
    /// Looks a domain up by name.
    ///
    /// # Errors
    /// [`Cause::NotFound`].
    pub fn domain(&self, name: &str) -> Result<Domain, LibvirtError> {
        let name = plain("look up a domain", name)?;
        let raw = call("virDomainLookupByName", "find domain", name, || {
            self.conn.lookup_domain_by_name(name)
        })?;
        Domain::new(raw)
    }

    /// Looks a domain up by identity.
    ///
    /// # Errors
    /// [`Cause::NotFound`].
    pub fn domain_by_uid(&self, uid: Uid) -> Result<Domain, LibvirtError> {
        let text = uid.to_string();
        let raw = call("virDomainLookupByUUID", "find domain", &text, || {
            self.conn.lookup_domain_by_uuid_string(&text)
        })?;
        Domain::new(raw)
    }

    /// Defines a domain, validated against libvirt's schema.
    ///
    /// # Errors
    /// [`Cause::Exists`], [`Cause::BadXml`], and what the driver refuses.
    pub fn define_domain(&self, xml: &DomainXml) -> Result<Domain, LibvirtError> {
        self.define(&xml.name, &xml.to_xml()?)
    }

    fn define(&self, name: &str, xml: &str) -> Result<Domain, LibvirtError> {
        let raw = call("virDomainDefineXMLFlags", "define domain", name, || {
            self.conn
                .define_domain_xml_flags(xml, sys::VIR_DOMAIN_DEFINE_VALIDATE)
        })?;
        Domain::new(raw)
    }

    /// Starts a domain that is not defined and vanishes when it stops.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn create_transient(&self, xml: &DomainXml) -> Result<Domain, LibvirtError> {
        let text = xml.to_xml()?;
        let flags = sys::VIR_DOMAIN_START_VALIDATE | sys::VIR_DOMAIN_START_AUTODESTROY;
        let raw = call("virDomainCreateXML", "start domain", &xml.name, || {
            self.conn.create_domain_xml(&text, flags)
        })?;
        Domain::new(raw)
    }

    /// Lets the driver read a definition without defining it.
    ///
    /// # Errors
    /// What the driver refuses; [`Cause::Unsupported`] where it cannot say.
    pub fn check_domain(&self, xml: &DomainXml) -> Result<(), LibvirtError> {
        let text = xml.to_xml()?;
        call(
            "virConnectDomainXMLToNative",
            "check domain",
            &xml.name,
            || self.conn.domain_xml_to_native("qemu-argv", &text, 0),
        )
        .map(drop)
    }
}

impl Domain {
    pub(super) fn new(raw: Raw) -> Result<Self, LibvirtError> {
        let reading = |e: virt::error::Error| LibvirtError::new("read a domain".to_owned(), &e);
        let name = raw.name().map_err(reading)?;
        let uid = Uid::from_bytes(*raw.uuid().map_err(reading)?.as_bytes());
        Ok(Self { raw, uid, name })
    }

    /// Returns the identity.
    pub const fn uid(&self) -> Uid {
        self.uid
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of this run, if it runs; each start gets a new one.
    pub fn run_id(&self) -> Option<u32> {
        self.raw.id()
    }

    pub(super) fn ask<T>(
        &self,
        api: &'static str,
        doing: &str,
        f: impl FnOnce(&Raw) -> Result<T, virt::error::Error>,
    ) -> Result<T, LibvirtError> {
        let subject = format!("domain {:?}", self.name);
        call(api, doing, &subject, || f(&self.raw))
    }

    /// Returns the state.
    ///
    /// # Errors
    /// [`Cause::NotFound`] when it is gone.
    pub fn state(&self) -> Result<DomainState, LibvirtError> {
        let (state, reason) = self.ask("virDomainGetState", "look at", ffi::state::state)?;
        Ok(DomainState::from_raw(i64::from(state), i64::from(reason)))
    }

    /// Returns the state with libvirt's reason, as `running (booted)`.
    ///
    /// # Errors
    /// [`Cause::NotFound`] when it is gone.
    pub fn state_in_words(&self) -> Result<String, LibvirtError> {
        let (state, reason) = self.ask("virDomainGetState", "look at", ffi::state::state)?;
        Ok(domain_state::words(state, reason))
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`Cause::NotNow`] when it runs already.
    pub fn start(&self) -> Result<(), LibvirtError> {
        self.ask("virDomainCreate", "start", Raw::create)
    }

    /// Asks the guest to power off, by agent or ACPI.
    ///
    /// # Errors
    /// [`Cause::NotNow`] when it does not run.
    pub fn shutdown(&self) -> Result<(), LibvirtError> {
        self.ask("virDomainShutdown", "shut down", Raw::shutdown)
            .map(drop)
    }

    /// Cuts the power.
    ///
    /// # Errors
    /// [`Cause::NotNow`] when it does not run.
    pub fn destroy(&self) -> Result<(), LibvirtError> {
        self.ask("virDomainDestroy", "cut the power of", Raw::destroy)
    }

    /// Suspends its CPUs.
    ///
    /// # Errors
    /// [`Cause::NotNow`] when it does not run.
    pub fn suspend(&self) -> Result<(), LibvirtError> {
        self.ask("virDomainSuspend", "pause", Raw::suspend)
            .map(drop)
    }

    /// Lets its CPUs run again.
    ///
    /// # Errors
    /// [`Cause::NotNow`] when it does not run.
    pub fn resume(&self) -> Result<(), LibvirtError> {
        self.ask("virDomainResume", "resume", Raw::resume).map(drop)
    }

    /// Removes the definition.
    ///
    /// # Errors
    /// [`Cause::NotFound`] when it is gone.
    pub fn undefine(&self, what: Undefine) -> Result<(), LibvirtError> {
        let Undefine::Everything = what;
        let with = |flags| {
            self.ask("virDomainUndefineFlags", "undefine", |raw| {
                raw.undefine_flags(flags)
            })
        };
        let basic =
            sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
        let disks = sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
        // A daemon refuses a flag that it does not know: the one for TPM state is of 8.9 (before,
        // the state went by itself), and the test driver knows only the basic ones, or none.
        let all = basic | disks | sys::VIR_DOMAIN_UNDEFINE_TPM;
        let mut undefined = with(all);
        for fewer in [basic | disks, basic, 0] {
            match &undefined {
                Err(e) if e.is_no_support() => undefined = with(fewer),
                _ => break,
            }
        }
        undefined
    }

    /// Sets whether it starts with the host.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn set_autostart(&self, on: bool) -> Result<(), LibvirtError> {
        self.ask("virDomainSetAutostart", "set the autostart of", |raw| {
            raw.set_autostart(on)
        })
    }

    /// Returns whether it starts with the host.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn autostart(&self) -> Result<bool, LibvirtError> {
        self.ask("virDomainGetAutostart", "look at", Raw::autostart)
    }

    /// Returns the definition: what the next start takes.
    ///
    /// # Errors
    /// [`Cause::NotFound`] when it is gone.
    pub fn definition(&self) -> Result<DomainXml, LibvirtError> {
        Ok(DomainXml::from_xml(
            &self.xml(sys::VIR_DOMAIN_XML_INACTIVE)?,
        )?)
    }

    /// Returns what runs now, or the definition where nothing runs.
    ///
    /// # Errors
    /// [`Cause::NotFound`] when it is gone.
    pub fn live(&self) -> Result<DomainXml, LibvirtError> {
        Ok(DomainXml::from_xml(&self.xml(0)?)?)
    }

    pub(super) fn xml(&self, flags: sys::virDomainXMLFlags) -> Result<String, LibvirtError> {
        self.ask("virDomainGetXMLDesc", "read", |raw| raw.xml_desc(flags))
    }

    /// Changes the definition and keeps every part of it that the change does not touch.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn redefine(
        &self,
        host: &Host,
        change: impl FnOnce(&mut Element),
    ) -> Result<(), LibvirtError> {
        // Without SECURE a password of a foreign domain's display would be lost.
        let text = self.xml(sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE)?;
        let mut root = Element::parse(&text)?;
        change(&mut root);
        host.define(&self.name, &root.to_string()).map(drop)
    }

    /// Gives a disk of a running domain a new size, in bytes.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn block_resize(&self, target: &str, bytes: u64) -> Result<(), LibvirtError> {
        self.ask("virDomainBlockResize", "grow a disk of", |raw| {
            raw.block_resize(target, bytes, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        })
    }

    /// Puts another medium into a CD-ROM, in the definition and where it runs.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn change_medium(&self, disk: &super::xml::disk::DiskXml) -> Result<(), LibvirtError> {
        let xml = disk.to_xml()?;
        let mut flags = sys::VIR_DOMAIN_DEVICE_MODIFY_CONFIG;
        if self.state()?.is_active() {
            flags |= sys::VIR_DOMAIN_DEVICE_MODIFY_LIVE;
        }
        flags |= sys::VIR_DOMAIN_DEVICE_MODIFY_FORCE;
        self.ask(
            "virDomainUpdateDeviceFlags",
            "change the medium of",
            |raw| raw.update_device_flags(&xml, flags),
        )
        .map(drop)
    }

    /// Returns the addresses of its interfaces.
    ///
    /// # Errors
    /// [`Cause::NotNow`] when it does not run, [`Cause::Agent`] when no agent answers.
    pub fn addresses(&self, query: AddressQuery) -> Result<Vec<InterfaceAddress>, LibvirtError> {
        let source = match query {
            AddressQuery::Lease => sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
            AddressQuery::Agent => sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
            AddressQuery::Arp => sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
        };
        let interfaces = self.ask(
            "virDomainInterfaceAddresses",
            "ask for addresses of",
            |raw| raw.interface_addresses(source, 0),
        )?;
        let mut addresses = Vec::new();
        for interface in interfaces {
            for address in interface.addrs {
                if let Ok(ip) = address.addr.parse() {
                    addresses.push(InterfaceAddress {
                        mac: interface.hwaddr.clone(),
                        ip,
                    });
                }
            }
        }
        Ok(addresses)
    }

    /// Gives the definition other numbers of CPUs and KiB of memory.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn resize_config(&self, host: &Host, cpus: u32, kib: u64) -> Result<(), LibvirtError> {
        self.redefine(host, |root| {
            let vcpu = root.ensure("vcpu");
            vcpu.set_text(cpus.to_string());
            vcpu.remove_attribute("current");
            for path in ["memory", "currentMemory"] {
                let memory = root.ensure(path);
                memory.set_attribute("unit", "KiB");
                memory.set_text(kib.to_string());
            }
        })
    }
}

/// Words that something is not there, for callers that need it as an error.
pub(super) fn missing(doing: &str, what: &str) -> LibvirtError {
    LibvirtError::ours(doing, Cause::NotFound, format!("{what} does not exist"))
}
