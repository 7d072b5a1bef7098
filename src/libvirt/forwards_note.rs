//! What a domain carries of the forwards that lead to it and stand in the store alone: an element of
//! its own, so that neither who writes the object nor who writes the forwards has to know the other.

use virt::sys;

use super::domain::Domain;
use super::error::{Cause, LibvirtError};
use super::metadata::ELEMENT;
use super::xml::object::json_in_xml;
use super::xml::tree::Element;

const NAMESPACE: &str = "https://kvmctl.dev/ns/forwards/v1";
const PREFIX: &str = "kvmctl-forwards";

impl Domain {
    /// Returns what the definition says of forwards, as JSON; `None` when nothing.
    ///
    /// # Errors
    /// When the domain is gone or the element is damaged.
    pub fn forwards_note(&self) -> Result<Option<String>, LibvirtError> {
        let found = self.ask("virDomainGetMetadata", "read the metadata of", |raw| {
            raw.metadata(ELEMENT, Some(NAMESPACE), sys::VIR_DOMAIN_AFFECT_CONFIG)
        });
        match found {
            Ok(text) => Ok(Some(Element::parse(&text)?.text())),
            Err(e) if e.cause() == Cause::NoMetadata || e.is_not_now() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes JSON of forwards into the definition, or takes it away.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn set_forwards_note(&self, note: Option<&str>) -> Result<(), LibvirtError> {
        let element = note.map(|json| {
            let element = Element::new("forwards").with_text(json_in_xml(json));
            element.to_string()
        });
        self.ask("virDomainSetMetadata", "write the metadata of", |raw| {
            raw.set_metadata(
                ELEMENT,
                element.as_deref(),
                Some(PREFIX),
                Some(NAMESPACE),
                sys::VIR_DOMAIN_AFFECT_CONFIG,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::conn::tests::own_test_host;
    use crate::libvirt::ObjectMetadata;

    #[test]
    fn a_note_stands_beside_the_object_and_goes_again() {
        let host = own_test_host();
        let domain = host.domain("test").unwrap();
        assert_eq!(domain.forwards_note().unwrap(), None);
        let object = ObjectMetadata::new(domain.uid());
        domain.set_metadata_config(&object).unwrap();
        let note = r#"[{"a":"x & <y> 'z'"}]"#;
        domain.set_forwards_note(Some(note)).unwrap();
        assert_eq!(domain.forwards_note().unwrap().as_deref(), Some(note));
        assert_eq!(domain.metadata_config().unwrap(), Some(object));
        domain.set_forwards_note(None).unwrap();
        domain.set_forwards_note(None).unwrap();
        assert_eq!(domain.forwards_note().unwrap(), None);
        assert!(domain.metadata_config().unwrap().is_some());
    }
}
