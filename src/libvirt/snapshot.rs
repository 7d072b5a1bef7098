//! Snapshots that libvirt knows of a domain, whoever took them, and those with memory that are ours.

use virt::domain::Domain as Raw;
use virt::domain_snapshot::DomainSnapshot;
use virt::sys;

use super::domain::Domain;
use super::error::LibvirtError;
use super::xml::domain::DomainXml;
use super::xml::snapshot::SnapshotXml;
use super::xml::tree::Element;

impl Domain {
    /// Returns how many snapshots libvirt knows of it; none where the driver has no such thing.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn snapshot_count(&self) -> Result<u32, LibvirtError> {
        let counted = self.ask("virDomainSnapshotNum", "count the snapshots of", |raw| {
            raw.num_snapshots(0)
        });
        match counted {
            Err(e) if e.is_no_support() => Ok(0),
            other => other,
        }
    }

    /// Returns the names of its snapshots, whoever took them; none where the driver has no such thing.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn snapshots(&self) -> Result<Vec<String>, LibvirtError> {
        let listed = self.ask(
            "virDomainListAllSnapshots",
            "list the snapshots of",
            |raw| {
                let all = raw.list_all_snapshots(0)?;
                all.iter().map(DomainSnapshot::name).collect()
            },
        );
        match listed {
            Err(e) if e.is_no_support() => Ok(Vec::new()),
            other => other,
        }
    }

    /// Returns the domain as it was when a snapshot was taken; `None` when there is no such snapshot.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn as_of(&self, name: &str) -> Result<Option<DomainXml>, LibvirtError> {
        let snapshot = match self.snapshot(name) {
            Err(e) if e.is_not_found() => return Ok(None),
            other => other?,
        };
        let text = self.ask("virDomainSnapshotGetXMLDesc", "read a snapshot of", |_| {
            snapshot.xml_desc(0)
        })?;
        let root = Element::parse(&text)?;
        let domain = root.get("domain").map(ToString::to_string);
        let xml = DomainXml::from_xml(&domain.unwrap_or_default())?;
        Ok(Some(xml))
    }

    /// Keeps memory, devices and disks as they are now, in the disks; the guest stands still meanwhile.
    ///
    /// # Errors
    /// What the driver refuses, as for a raw disk.
    pub fn take_snapshot(&self, snapshot: &SnapshotXml) -> Result<(), LibvirtError> {
        let xml = snapshot.to_xml()?;
        self.ask("virDomainSnapshotCreateXML", "take a snapshot of", |raw| {
            raw.create_snapshot_xml(&xml, 0)
        })
        .map(drop)
    }

    /// Makes libvirt know a snapshot again that it has forgotten and that may lie in the disks still, as
    /// one of the domain as it is now. It can then be deleted; to revert to it would be wrong.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn know_snapshot(&self, snapshot: &SnapshotXml) -> Result<(), LibvirtError> {
        let child = |name: &str, text: &str| Element::new(name).with_text(text);
        let domain = Element::parse(&self.xml(sys::VIR_DOMAIN_XML_INACTIVE)?)?;
        let xml = Element::parse(&snapshot.to_xml()?)?
            .with_child(child("state", "running"))
            .with_child(child("creationTime", "0"))
            .with_child(domain)
            .to_string();
        let flags = sys::VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
        self.ask(
            "virDomainSnapshotCreateXML",
            "redefine a snapshot of",
            |raw| raw.create_snapshot_xml(&xml, flags),
        )
        .map(drop)
    }

    /// Makes it what it was, and lets it run.
    ///
    /// # Errors
    /// [`super::Cause::NotFound`]; what the driver refuses, after which the domain may be off.
    pub fn revert_to(&self, name: &str) -> Result<(), LibvirtError> {
        let snapshot = self.snapshot(name)?;
        self.ask("virDomainRevertToSnapshot", "revert", |_| {
            snapshot.revert(sys::VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING)
        })
    }

    /// Deletes a snapshot, in the disks too; one that is not there is deleted.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn delete_snapshot(&self, name: &str) -> Result<(), LibvirtError> {
        let snapshot = match self.snapshot(name) {
            Err(e) if e.is_not_found() => return Ok(()),
            other => other?,
        };
        self.ask("virDomainSnapshotDelete", "delete a snapshot of", |_| {
            snapshot.delete(0)
        })
    }

    /// Makes libvirt forget a snapshot; what is kept in the disks stays.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn forget_snapshot(&self, name: &str) -> Result<(), LibvirtError> {
        let snapshot = self.snapshot(name)?;
        let flags = sys::VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY;
        self.ask("virDomainSnapshotDelete", "forget a snapshot of", |_| {
            snapshot.delete(flags)
        })
    }

    fn snapshot(&self, name: &str) -> Result<DomainSnapshot, LibvirtError> {
        let name = super::conn::plain("look up a snapshot", name)?;
        self.ask(
            "virDomainSnapshotLookupByName",
            "find a snapshot of",
            |raw| Raw::lookup_snapshot_by_name(raw, name, 0),
        )
    }
}
