//! From a document to typed objects, in one reading.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::layout::Layout;
use super::path::{FieldPath, Segment};
use super::tracked::Tracked;
use super::tracker::Tracker;
use crate::api::{
    Image, Instance, InstanceType, Kind, LoadBalancer, Network, Object, PortForward, Secret,
    Snapshot, Volume,
};

/// Reads a whole document: one object, or the items of a List.
pub(super) struct DocumentSeed<'t> {
    pub(super) layout: &'t Layout,
    pub(super) tracker: &'t Tracker<'t>,
}

/// Objects with their places in the document.
pub(super) type Objects = Vec<(FieldPath, Object)>;

impl<'de> DeserializeSeed<'de> for DocumentSeed<'_> {
    type Value = Objects;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Objects, D::Error> {
        if self.layout.is_list {
            return d.deserialize_map(self);
        }
        match self.layout.entries.as_slice() {
            [(prefix, Some(kind))] => {
                let object = read_object(*kind, d, self.tracker)?;
                Ok(vec![(prefix.clone(), object)])
            }
            _ => IgnoredAny::deserialize(d).map(|_| Vec::new()),
        }
    }
}

impl<'de> Visitor<'de> for DocumentSeed<'_> {
    type Value = Objects;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a List")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Objects, A::Error> {
        let mut objects = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" && objects.is_empty() {
                let (layout, tracker) = (self.layout, self.tracker);
                let items = Items { layout, tracker };
                objects = tracker.below(Segment::Key(key), || map.next_value_seed(items))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(objects)
    }
}

struct Items<'t> {
    layout: &'t Layout,
    tracker: &'t Tracker<'t>,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Objects;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Objects, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Objects;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Objects, A::Error> {
        let mut objects = Vec::new();
        for (n, (prefix, kind)) in self.layout.entries.iter().enumerate() {
            let segment = Segment::Index(n);
            let kind = kind.filter(|_| !self.tracker.skips(&segment));
            let tracker = self.tracker;
            let read = || seq.next_element_seed(ItemSeed { kind, tracker });
            if let Some(Some(object)) = tracker.below(segment, read)? {
                objects.push((prefix.clone(), object));
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(objects)
    }
}

struct ItemSeed<'t> {
    kind: Option<Kind>,
    tracker: &'t Tracker<'t>,
}

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = Option<Object>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Option<Object>, D::Error> {
        match self.kind {
            Some(kind) => read_object(kind, d, self.tracker).map(Some),
            None => IgnoredAny::deserialize(d).map(|_| None),
        }
    }
}

/// Reads an object of a known kind: the one place that maps kinds to structs.
fn read_object<'de, D: Deserializer<'de>>(
    kind: Kind,
    inner: D,
    tracker: &Tracker<'_>,
) -> Result<Object, D::Error> {
    let watched = Tracked { inner, tracker };
    match kind {
        Kind::Instance => Instance::deserialize(watched).map(Object::from),
        Kind::Image => Image::deserialize(watched).map(Object::from),
        Kind::Network => Network::deserialize(watched).map(Object::from),
        Kind::Volume => Volume::deserialize(watched).map(Object::from),
        Kind::Snapshot => Snapshot::deserialize(watched).map(Object::from),
        Kind::InstanceType => InstanceType::deserialize(watched).map(Object::from),
        Kind::Secret => Secret::deserialize(watched).map(Object::from),
        Kind::PortForward => PortForward::deserialize(watched).map(Object::from),
        Kind::LoadBalancer => LoadBalancer::deserialize(watched).map(Object::from),
    }
}
