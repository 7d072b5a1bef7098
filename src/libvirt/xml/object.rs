//! kvmctl's own element in the `<metadata>` of domains and networks.
//!
//! Anybody on the host can read it (`virsh -r`), so secrets stand there as hashes only: the caller
//! gives the spec already masked. Whole JSON documents are kept as text, with what XML cannot hold
//! written as JSON escapes.

use std::collections::BTreeMap;

use super::tree::{Element, Node};
use super::{XmlError, is_xml_char};
use crate::api::{LabelKey, LabelValue, Timestamp, Uid};

/// The namespace of the element.
pub const NAMESPACE: &str = "https://kvmctl.dev/ns/v1";
/// The prefix under which it is written.
pub const PREFIX: &str = "kvmctl";

/// What kvmctl notes on a domain or network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMetadata {
    /// Identity of the object; that of the domain for an instance.
    pub uid: Uid,
    /// Name of the object, where it differs from libvirt's.
    pub name: Option<String>,
    /// Labels.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Annotations.
    pub annotations: BTreeMap<LabelKey, String>,
    /// Counts the changes of the spec.
    pub generation: u64,
    /// Object it is deleted with, as `Kind/name/uid`.
    pub owner: Option<String>,
    /// When it was made.
    pub creation: Option<Timestamp>,
    /// When its deletion began.
    pub deletion: Option<Timestamp>,
    /// Last applied spec as JSON, with hashes for what is secret.
    pub spec: Option<String>,
    /// Last verdict on readiness as JSON, with the boot it is of.
    pub verdict: Option<String>,
    /// Further texts that kvmctl keeps, by a name.
    pub extra: BTreeMap<String, String>,
}

impl ObjectMetadata {
    /// Makes metadata that holds only an identity.
    pub const fn new(uid: Uid) -> Self {
        Self {
            uid,
            name: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            generation: 1,
            owner: None,
            creation: None,
            deletion: None,
            spec: None,
            verdict: None,
            extra: BTreeMap::new(),
        }
    }

    /// Writes the element as `virDomainSetMetadata` wants it: libvirt itself adds the namespace.
    ///
    /// # Errors
    /// [`XmlError::IllegalCharacter`] when a text outside JSON holds what XML cannot hold.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        let text = self.element("").to_string();
        super::check_characters("object", &text)?;
        Ok(text)
    }

    /// Reads the element as `virDomainGetMetadata` returns it.
    ///
    /// # Errors
    /// [`XmlError::Read`] when it is not well-formed or has no valid uid.
    pub fn from_xml(text: &str) -> Result<Self, XmlError> {
        Self::from_element(&Element::parse(text)?)
    }

    /// Reads the element from a whole domain or network; `None` when kvmctl noted nothing there.
    ///
    /// # Errors
    /// [`XmlError::Read`] when the element is there and damaged.
    pub fn find_in(root: &Element) -> Result<Option<Self>, XmlError> {
        let Some(metadata) = root.get("metadata") else {
            return Ok(None);
        };
        metadata
            .elements()
            .find(|e| is_ours(root, metadata, e))
            .map(Self::from_element)
            .transpose()
    }

    /// Puts the element into a whole domain or network, in place of the one that is there.
    ///
    /// A `<metadata>` that is missing is made after the child named `after`.
    ///
    /// # Errors
    /// [`XmlError::IllegalCharacter`] as for [`Self::to_xml`].
    pub fn put_into(&self, root: &mut Element, after: &str) -> Result<(), XmlError> {
        self.to_xml()?;
        remove_from(root);
        if root.get("metadata").is_none() {
            root.insert_after(after, Element::new("metadata"));
        }
        let element = self
            .element("kvmctl:")
            .with(&format!("xmlns:{PREFIX}"), NAMESPACE);
        root.ensure("metadata").push(element);
        Ok(())
    }

    fn element(&self, prefix: &str) -> Element {
        let mut object = Element::new(format!("{prefix}object"));
        let mut add = |name: &str, text: Option<String>| {
            if let Some(text) = text {
                object.push(Element::new(format!("{prefix}{name}")).with_text(text));
            }
        };
        add("uid", Some(self.uid.to_string()));
        add("name", self.name.clone());
        add("generation", Some(self.generation.to_string()));
        add("owner", self.owner.clone());
        add("creation", self.creation.map(|t| t.as_second().to_string()));
        add("deletion", self.deletion.map(|t| t.as_second().to_string()));
        add("spec", self.spec.as_deref().map(json_in_xml));
        add("verdict", self.verdict.as_deref().map(json_in_xml));
        if !self.annotations.is_empty() {
            add("annotations", Some(map_in_xml(&self.annotations)));
        }
        if !self.extra.is_empty() {
            add("extra", Some(map_in_xml(&self.extra)));
        }
        for (key, value) in &self.labels {
            object.push(
                Element::new(format!("{prefix}label"))
                    .with("key", key.as_str())
                    .with_text(value.as_str()),
            );
        }
        object
    }

    fn from_element(object: &Element) -> Result<Self, XmlError> {
        let text = |name: &str| {
            object
                .elements()
                .find(|e| e.local_name() == name)
                .map(Element::text)
        };
        let damaged = |what: &str| XmlError::read("kvmctl:object", format!("bad {what}"));
        let second = |name: &str| {
            text(name)
                .map(|t| t.trim().parse().map(Timestamp::from_second))
                .transpose()
                .map_err(|_| damaged(name))
        };
        let uid = text("uid")
            .and_then(|t| t.trim().parse().ok())
            .ok_or_else(|| damaged("uid"))?;
        Ok(Self {
            uid,
            name: text("name"),
            labels: labels(object)?,
            annotations: map_from_xml(text("annotations"), "annotations")?,
            generation: text("generation")
                .map_or(Ok(1), |t| t.trim().parse())
                .map_err(|_| damaged("generation"))?,
            owner: text("owner"),
            creation: second("creation")?,
            deletion: second("deletion")?,
            spec: text("spec"),
            verdict: text("verdict"),
            extra: map_from_xml(text("extra"), "extra")?,
        })
    }
}

/// Removes kvmctl's element from a whole domain or network, and a `<metadata>` left empty by that.
pub fn remove_from(root: &mut Element) {
    let outer = root.clone();
    let Some(metadata) = root.get_mut("metadata") else {
        return;
    };
    let scope = metadata.clone();
    metadata.remove_where(|e| is_ours(&outer, &scope, e));
    let empty = metadata
        .children
        .iter()
        .all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
    if empty {
        root.remove_where(|e| e.name == "metadata");
    }
}

/// An element is known by its namespace, wherever that is declared, and not by its prefix.
fn is_ours(root: &Element, metadata: &Element, element: &Element) -> bool {
    let declaration = match element.name.split_once(':') {
        Some((prefix, _)) => format!("xmlns:{prefix}"),
        None => "xmlns".to_owned(),
    };
    element.local_name() == "object"
        && [element, metadata, root]
            .iter()
            .find_map(|e| e.attribute(&declaration))
            == Some(NAMESPACE)
}

fn labels(object: &Element) -> Result<BTreeMap<LabelKey, LabelValue>, XmlError> {
    let read = |e: &Element| {
        let key = LabelKey::new(e.attribute("key").unwrap_or_default())
            .map_err(|e| XmlError::read("kvmctl:object", e))?;
        let value = LabelValue::new(e.text()).map_err(|e| XmlError::read("kvmctl:object", e))?;
        Ok((key, value))
    };
    object
        .elements()
        .filter(|e| e.local_name() == "label")
        .map(read)
        .collect()
}

fn map_in_xml<K: serde::Serialize>(map: &BTreeMap<K, String>) -> String {
    // A map from strings to strings always has a JSON form.
    json_in_xml(&serde_json::to_string(map).unwrap_or_default())
}

fn map_from_xml<K>(text: Option<String>, what: &str) -> Result<BTreeMap<K, String>, XmlError>
where
    K: serde::de::DeserializeOwned + Ord,
{
    text.map_or_else(
        || Ok(BTreeMap::new()),
        |t| {
            serde_json::from_str(&t)
                .map_err(|e| XmlError::read("kvmctl:object", format!("{what}: {e}")))
        },
    )
}

/// Writes as JSON escapes the characters that JSON allows bare and XML does not (U+FFFE, U+FFFF).
pub(crate) fn json_in_xml(json: &str) -> String {
    json.chars()
        .flat_map(|c| {
            let escaped = (!is_xml_char(c)).then(|| format!("\\u{:04x}", u32::from(c)));
            let bare = escaped.is_none().then_some(c);
            escaped
                .unwrap_or_default()
                .chars()
                .chain(bare)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full() -> ObjectMetadata {
        ObjectMetadata {
            name: Some("web".to_owned()),
            labels: [(
                LabelKey::new("example.com/app").unwrap(),
                LabelValue::new("x").unwrap(),
            )]
            .into(),
            annotations: [(
                LabelKey::new("note").unwrap(),
                "<b>&\u{1b}\n\u{ffff}".to_owned(),
            )]
            .into(),
            owner: Some("Database/mydb/1".to_owned()),
            creation: Some(Timestamp::from_second(1_700_000_000)),
            deletion: Some(Timestamp::from_second(1_700_000_001)),
            spec: Some("{\"image\":\"debian-12\",\"x\":\"]]>\\u0000\"}".to_owned()),
            verdict: Some("{}".to_owned()),
            extra: [("boot".to_owned(), "1".to_owned())].into(),
            ..ObjectMetadata::new(Uid::random())
        }
    }

    #[test]
    fn it_round_trips_both_ways() {
        let object = full();
        assert_eq!(
            ObjectMetadata::from_xml(&object.to_xml().unwrap()).unwrap(),
            object
        );
        let mut root = Element::parse("<domain><name>a</name></domain>").unwrap();
        object.put_into(&mut root, "name").unwrap();
        let read = Element::parse(&root.to_string()).unwrap();
        assert_eq!(ObjectMetadata::find_in(&read).unwrap(), Some(object));
    }

    #[test]
    fn only_our_namespace_counts() {
        let mut root = Element::parse(
            "<network><name>n</name><metadata><x:object xmlns:x='urn:x'><x:uid>1</x:uid></x:object>\
             </metadata></network>",
        )
        .unwrap();
        assert_eq!(ObjectMetadata::find_in(&root).unwrap(), None);
        let before = root.clone();
        full().put_into(&mut root, "name").unwrap();
        full().put_into(&mut root, "name").unwrap();
        assert!(ObjectMetadata::find_in(&root).unwrap().is_some());
        remove_from(&mut root);
        assert_eq!(root, before);
    }

    #[test]
    fn an_empty_metadata_element_goes_with_ours() {
        let mut root = Element::parse("<network><name>n</name></network>").unwrap();
        full().put_into(&mut root, "name").unwrap();
        remove_from(&mut root);
        assert_eq!(root.to_string(), "<network><name>n</name></network>");
    }

    #[test]
    fn a_damaged_element_is_an_error_not_absence() {
        let root = Element::parse(&format!(
            "<domain><metadata><k:object xmlns:k='{NAMESPACE}'/></metadata></domain>"
        ))
        .unwrap();
        assert!(ObjectMetadata::find_in(&root).is_err());
    }

    proptest! {
        #[test]
        fn any_annotation_comes_back(text in any::<String>()) {
            let mut object = ObjectMetadata::new(Uid::random());
            object.annotations.insert(LabelKey::new("k").unwrap(), text.clone());
            object.spec = Some(serde_json::to_string(&text).unwrap());
            let xml = object.to_xml().unwrap();
            let back = ObjectMetadata::from_xml(&xml).unwrap();
            prop_assert_eq!(&back.annotations, &object.annotations);
            prop_assert_eq!(
                serde_json::from_str::<String>(&back.spec.unwrap()).unwrap(),
                text
            );
            prop_assert_eq!(Element::parse(&xml).unwrap().count(), 5);
        }
    }
}
