//! Our element in the metadata of domains, live and in the definition separately: what is true of
//! one run only (the readiness verdict) is written live, and is gone with the run.

use virt::sys;

use super::conn::Host;
use super::domain::Domain;
use super::error::{Cause, LibvirtError};
use super::xml::object::{NAMESPACE, ObjectMetadata, PREFIX};
use crate::api::Uid;

impl Host {
    /// Returns what the definition of a domain says of us; `None` when nothing.
    ///
    /// # Errors
    /// [`Cause::NotFound`] when there is no such domain.
    pub fn domain_metadata(&self, uid: Uid) -> Result<Option<ObjectMetadata>, LibvirtError> {
        self.domain_by_uid(uid)?.metadata_config()
    }
}

impl Domain {
    /// Returns what the definition says of us; `None` when nothing, or when a transient domain has
    /// no definition.
    ///
    /// # Errors
    /// When the domain is gone or the element is damaged.
    pub fn metadata_config(&self) -> Result<Option<ObjectMetadata>, LibvirtError> {
        match self.metadata(sys::VIR_DOMAIN_AFFECT_CONFIG) {
            Err(e) if e.is_not_now() => Ok(None),
            found => found,
        }
    }

    /// Returns what the running domain says of us; `None` when nothing.
    ///
    /// # Errors
    /// When the domain does not run or the element is damaged.
    pub fn metadata_live(&self) -> Result<Option<ObjectMetadata>, LibvirtError> {
        self.metadata(sys::VIR_DOMAIN_AFFECT_LIVE)
    }

    fn metadata(&self, flags: u32) -> Result<Option<ObjectMetadata>, LibvirtError> {
        let found = self.ask("virDomainGetMetadata", "read the metadata of", |raw| {
            raw.metadata(ELEMENT, Some(NAMESPACE), flags)
        });
        match found {
            Ok(text) => Ok(Some(ObjectMetadata::from_xml(&text)?)),
            Err(e) if e.cause() == Cause::NoMetadata => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes our element into the definition.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn set_metadata_config(&self, metadata: &ObjectMetadata) -> Result<(), LibvirtError> {
        self.set_metadata(&metadata.to_xml()?, sys::VIR_DOMAIN_AFFECT_CONFIG)
    }

    /// Writes our element into the running domain.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn set_metadata_live(&self, metadata: &ObjectMetadata) -> Result<(), LibvirtError> {
        self.set_metadata(&metadata.to_xml()?, sys::VIR_DOMAIN_AFFECT_LIVE)
    }

    fn set_metadata(&self, xml: &str, flags: u32) -> Result<(), LibvirtError> {
        self.ask("virDomainSetMetadata", "write the metadata of", |raw| {
            raw.set_metadata(ELEMENT, Some(xml), Some(PREFIX), Some(NAMESPACE), flags)
        })
    }

    /// Removes our elements everywhere.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn remove_metadata(&self) -> Result<(), LibvirtError> {
        self.set_forwards_note(None)?;
        let mut flags = sys::VIR_DOMAIN_AFFECT_CONFIG;
        if self.state()?.is_active() {
            flags |= sys::VIR_DOMAIN_AFFECT_LIVE;
        }
        self.ask("virDomainSetMetadata", "remove the metadata of", |raw| {
            raw.set_metadata(ELEMENT, None, Some(PREFIX), Some(NAMESPACE), flags)
        })
    }
}

/// VIR_DOMAIN_METADATA_ELEMENT
pub(super) const ELEMENT: i32 = sys::VIR_DOMAIN_METADATA_ELEMENT as i32;

#[cfg(test)]
mod tests {
    use super::super::conn::tests::own_test_host;
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_goes_again() {
        let host = own_test_host();
        let domain = host.domain("test").unwrap();
        assert_eq!(domain.metadata_config().unwrap(), None);
        let mut metadata = ObjectMetadata::new(domain.uid());
        metadata.spec = Some(r#"{"image":"a & b <c>"}"#.to_owned());
        domain.set_metadata_config(&metadata).unwrap();
        assert_eq!(domain.metadata_config().unwrap().unwrap(), metadata);
        assert_eq!(
            domain.metadata_live().unwrap(),
            None,
            "live and definition are apart"
        );
        domain.set_metadata_live(&metadata).unwrap();
        domain.remove_metadata().unwrap();
        assert_eq!(domain.metadata_config().unwrap(), None);
        assert_eq!(domain.metadata_live().unwrap(), None);
    }

    #[test]
    fn a_transient_domain_is_nobodys_and_spoils_no_listing() {
        let host = own_test_host();
        let xml = "<domain type='test'><name>passing</name><memory>8192</memory>\
                   <os><type>hvm</type></os></domain>";
        let raw = host.conn.create_domain_xml(xml, 0).unwrap();
        let domain = Domain::new(raw).unwrap();
        assert_eq!(domain.metadata_config().unwrap(), None);
    }
}
