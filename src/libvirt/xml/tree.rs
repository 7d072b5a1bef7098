//! A small lossless tree, for changing documents that others wrote.
//!
//! A redefinition of a domain or network must keep what we do not know: PCI addresses, passed-through
//! devices, other tools' metadata. The tree keeps elements, attributes, text, comments and their
//! order; only the quoting of attributes is made uniform.

use std::fmt;

use quick_xml::XmlVersion;
use quick_xml::escape::{escape, minimal_escape};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::XmlError;

/// How deep elements may be nested; libvirt's own documents stay below 12.
const MAX_DEPTH: usize = 128;

/// An element with everything in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Name with its prefix, as written.
    pub name: String,
    /// Attributes in order, unescaped.
    pub attributes: Vec<(String, String)>,
    /// What is inside, in order.
    pub children: Vec<Node>,
}

/// What can be inside an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Text, unescaped.
    Text(String),
    /// A comment, as written.
    Comment(String),
}

impl Element {
    /// Makes an empty element.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Reads a document and returns its root.
    ///
    /// # Errors
    /// [`XmlError::Read`] when it is not well-formed, nests too deeply or has a document type.
    pub fn parse(text: &str) -> Result<Self, XmlError> {
        parse(text).map_err(|reason| XmlError::read("XML", reason))
    }

    /// Returns the name without its prefix.
    pub fn local_name(&self) -> &str {
        self.name.rsplit(':').next().unwrap_or(&self.name)
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set_attribute(name, value);
        self
    }

    /// Adds text.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.children.push(Node::Text(text.into()));
        self
    }

    /// Adds a child.
    #[must_use]
    pub fn with_child(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    /// Returns an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Sets an attribute, in its place when it is there.
    pub fn set_attribute(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
    }

    /// Removes an attribute.
    pub fn remove_attribute(&mut self, name: &str) {
        self.attributes.retain(|(n, _)| n != name);
    }

    /// Returns the child elements.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    /// Returns the child elements, for changing.
    pub fn elements_mut(&mut self) -> impl Iterator<Item = &mut Self> {
        self.children.iter_mut().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    /// Returns the child elements of a name.
    pub fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.elements().filter(move |e| e.name == name)
    }

    /// Returns the first element at a path below this one, as `devices/disk`.
    pub fn get<'a>(&'a self, path: &str) -> Option<&'a Self> {
        path.split('/')
            .try_fold(self, |at, step| at.elements().find(|e| e.name == step))
    }

    /// Returns the first element at a path, for changing.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Self> {
        path.split('/')
            .try_fold(self, |at, step| at.elements_mut().find(|e| e.name == step))
    }

    /// Returns the first element at a path; what is missing of the path is made.
    pub fn ensure(&mut self, path: &str) -> &mut Self {
        let mut at = self;
        for step in path.split('/') {
            let index = match at.position(step) {
                Some(index) => index,
                None => {
                    at.push(Self::new(step));
                    at.children.len() - 1
                }
            };
            at = match &mut at.children[index] {
                Node::Element(element) => element,
                // `position` and `push` give the index of an element.
                _ => unreachable!("the node at this index is an element"),
            };
        }
        at
    }

    /// Adds a child at the end.
    pub fn push(&mut self, child: Self) {
        self.children.push(Node::Element(child));
    }

    /// Adds a child right after the first child of another name; at the end when there is none.
    pub fn insert_after(&mut self, sibling: &str, child: Self) {
        let index = self
            .position(sibling)
            .map_or(self.children.len(), |i| i + 1);
        self.children.insert(index, Node::Element(child));
    }

    /// Removes the child elements for which `which` holds; returns how many there were.
    pub fn remove_where(&mut self, mut which: impl FnMut(&Self) -> bool) -> usize {
        let before = self.children.len();
        self.children
            .retain(|node| !matches!(node, Node::Element(e) if which(e)));
        before - self.children.len()
    }

    /// Returns the element's text, without that of its children.
    pub fn text(&self) -> String {
        self.children
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Replaces everything in the element with a text.
    pub fn set_text(&mut self, text: impl Into<String>) {
        self.children = vec![Node::Text(text.into())];
    }

    /// Counts the elements of the tree, this one included.
    pub fn count(&self) -> usize {
        1 + self.elements().map(Self::count).sum::<usize>()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.children
            .iter()
            .position(|node| matches!(node, Node::Element(e) if e.name == name))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(f, " {name}=\"{}\"", escape_attribute(value))?;
        }
        if self.children.is_empty() {
            return f.write_str("/>");
        }
        f.write_str(">")?;
        for node in &self.children {
            match node {
                Node::Element(element) => element.fmt(f)?,
                Node::Text(text) => f.write_str(&escape_text(text))?,
                Node::Comment(text) => write!(f, "<!--{text}-->")?,
            }
        }
        write!(f, "</{}>", self.name)
    }
}

/// A carriage return would otherwise be read back as a line feed.
fn escape_text(text: &str) -> String {
    minimal_escape(text)
        .replace('>', "&gt;")
        .replace('\r', "&#13;")
}

/// White space in an attribute would otherwise be read back as blanks.
fn escape_attribute(text: &str) -> String {
    escape(text)
        .replace('\n', "&#10;")
        .replace('\r', "&#13;")
        .replace('\t', "&#9;")
}

fn parse(text: &str) -> Result<Element, String> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(start) => {
                if open.len() >= MAX_DEPTH {
                    return Err(format!("more than {MAX_DEPTH} levels of elements"));
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => close(element(&start)?, &mut open, &mut root)?,
            Event::End(_) => {
                let done = open.pop().ok_or("an element ends that did not begin")?;
                close(done, &mut open, &mut root)?;
            }
            Event::Text(text) => push_text(&mut open, &text.xml_content(XmlVersion::Explicit1_0)),
            Event::CData(data) => push_text(&mut open, &data.xml_content(XmlVersion::Explicit1_0)),
            Event::GeneralRef(entity) => push_text(&mut open, &resolve(&entity)?),
            Event::Comment(comment) => {
                if let Some(parent) = open.last_mut() {
                    parent
                        .children
                        .push(Node::Comment(comment.into_inner().into_owned()));
                }
            }
            Event::DocType(_) => return Err("a document type is not allowed".to_owned()),
            Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    match (open.last(), root) {
        (Some(unclosed), _) => Err(format!("<{}> does not end", unclosed.name)),
        (None, Some(root)) => Ok(root),
        (None, None) => Err("there is no element".to_owned()),
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, String> {
    let mut element = Element::new(start.name().into_inner());
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| e.to_string())?;
        let value = attribute
            .normalized_value(XmlVersion::Explicit1_0)
            .map_err(|e| e.to_string())?;
        element
            .attributes
            .push((attribute.key.into_inner().to_owned(), value.into_owned()));
    }
    Ok(element)
}

fn close(
    done: Element,
    open: &mut [Element],
    root: &mut Option<Element>,
) -> Result<(), &'static str> {
    match open.last_mut() {
        Some(parent) => parent.children.push(Node::Element(done)),
        None if root.is_some() => return Err("there is more than one root"),
        None => *root = Some(done),
    }
    Ok(())
}

/// Joins what an entity splits.
fn push_text(open: &mut [Element], text: &str) {
    let Some(parent) = open.last_mut() else {
        return;
    };
    if let Some(Node::Text(before)) = parent.children.last_mut() {
        before.push_str(text);
    } else {
        parent.children.push(Node::Text(text.to_owned()));
    }
}

fn resolve(entity: &quick_xml::events::BytesRef<'_>) -> Result<String, String> {
    if let Some(character) = entity.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(character.to_string());
    }
    let name = entity.xml_content(XmlVersion::Explicit1_0);
    quick_xml::escape::resolve_predefined_entity(&name)
        .map(ToOwned::to_owned)
        .ok_or_else(|| format!("unknown entity &{name};"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOMAIN: &str = include_str!("testdata/domain.xml");

    #[test]
    fn a_real_domain_survives_unchanged() {
        let tree = Element::parse(DOMAIN).unwrap();
        let again = Element::parse(&tree.to_string()).unwrap();
        assert_eq!(tree, again);
        // Not even the layout changes, but for the quotes.
        assert_eq!(
            tree.to_string().replace('"', "'"),
            DOMAIN.trim_end().replace('"', "'")
        );
    }

    #[test]
    fn an_edit_touches_only_its_node() {
        let mut tree = Element::parse(DOMAIN).unwrap();
        let before = tree.count();
        tree.ensure("memory").set_text("524288");
        tree.get_mut("vcpu").unwrap().set_attribute("current", "1");
        assert_eq!(tree.get("memory").unwrap().text(), "524288");
        assert_eq!(tree.get("memory").unwrap().attribute("unit"), Some("KiB"));
        assert_eq!(tree.count(), before);
        let addresses =
            |t: &str| t.matches("type=\"pci\"").count() + t.matches("type='pci'").count();
        assert_eq!(addresses(&tree.to_string()), addresses(DOMAIN));
        assert!(addresses(DOMAIN) > 3);
    }

    #[test]
    fn paths_are_made_and_removed() {
        let mut tree = Element::parse("<domain><name>a</name></domain>").unwrap();
        tree.ensure("devices/disk").set_attribute("type", "file");
        assert_eq!(
            tree.to_string(),
            "<domain><name>a</name><devices><disk type=\"file\"/></devices></domain>"
        );
        tree.insert_after("name", Element::new("uuid").with_text("x"));
        assert_eq!(tree.remove_where(|e| e.name == "devices"), 1);
        assert_eq!(
            tree.to_string(),
            "<domain><name>a</name><uuid>x</uuid></domain>"
        );
    }

    #[test]
    fn bad_documents_are_refused() {
        let deep = "<a>".repeat(200);
        for bad in [
            "",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a>&x;</a>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a/>",
            "<a b='1' b='2'/>",
            &deep,
        ] {
            assert!(Element::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "\\PC*", value in "[\\PC\n\t\r]*") {
            let tree = Element::new("a").with("k", value.clone()).with_text(text.clone());
            let back = Element::parse(&tree.to_string()).unwrap();
            prop_assert_eq!(back.text(), text);
            prop_assert_eq!(back.attribute("k"), Some(value.as_str()));
        }

        #[test]
        fn no_input_panics(text in "[<>&;a/='\" !-]*") {
            let _ = Element::parse(&text);
        }
    }
}
