//! `describe`: everything about one object for a person, events last. One file a kind.

mod balancer;
mod doc;
mod forward;
mod image;
mod instance;
mod instance_type;
mod network;
mod secret;
mod snapshot;
mod volume;

use std::collections::BTreeSet;

use super::age::age;
use super::style::{Paint, Role};
use super::table::{Cell, Table};
use super::ui::Ui;
use crate::api::{Described, EventLevel, EventLine, Kind, Object, Timestamp};
use crate::error::Result;
use doc::Doc;

/// Prints everything about an object.
///
/// # Errors
/// An output that cannot be written to.
pub fn describe(ui: &Ui, described: &Described) -> Result<()> {
    ui.out(&render(described, Timestamp::now(), ui.paint_out()))
}

/// Lays out everything about an object as of `now`.
pub fn render(described: &Described, now: Timestamp, paint: Paint) -> String {
    let mut doc = Doc::default();
    let object = &described.object;
    head(&mut doc, object, now);
    match object {
        Object::Instance(o) => instance::body(&mut doc, o, described, now),
        Object::Image(o) => image::body(&mut doc, o, described),
        Object::Network(o) => network::body(&mut doc, o, now),
        Object::Volume(o) => volume::body(&mut doc, o),
        Object::Snapshot(o) => snapshot::body(&mut doc, o),
        Object::InstanceType(o) => instance_type::body(&mut doc, o),
        Object::Secret(o) => secret::body(&mut doc, o),
        Object::PortForward(o) => forward::body(&mut doc, o),
        Object::LoadBalancer(o) => balancer::body(&mut doc, o),
    }
    let leads = matches!(object, Object::PortForward(_) | Object::LoadBalancer(_));
    if !leads && !matches!(object, Object::Instance(_)) {
        doc.list("Used by", users(described));
    }
    events(&mut doc, &described.events, now);
    doc.render(paint)
}

/// The objects that refer to this one, told by the caller or by the object itself.
fn users(described: &Described) -> BTreeSet<String> {
    let mut users: BTreeSet<String> = described.used_by.iter().map(ToString::to_string).collect();
    if let Object::Image(image) = &described.object {
        let names = image.status.iter().flat_map(|s| &s.used_by);
        users.extend(names.map(|name| format!("{}/{name}", Kind::Instance)));
    }
    users
}

/// Name, labels, annotations and identity, which every description begins with.
fn head(doc: &mut Doc, object: &Object, now: Timestamp) {
    let meta = object.meta();
    let text = |value: Option<String>| value.unwrap_or_else(|| "<none>".to_owned());
    doc.field("Name", text(meta.name.as_ref().map(ToString::to_string)));
    doc.field("Kind", object.kind().info().name);
    doc.field("UID", text(meta.uid.map(|u| u.to_string())));
    doc.list(
        "Labels",
        meta.labels.iter().map(|(k, v)| format!("{k}={v}")),
    );
    doc.list(
        "Annotations",
        meta.annotations.iter().map(|(k, v)| format!("{k}: {v}")),
    );
    if let Some(created) = meta.creation_timestamp {
        doc.field("Created", format!("{created} ({} ago)", age(created, now)));
    }
    if let Some(deleted) = meta.deletion_timestamp {
        doc.field(
            "Terminating since",
            format!("{deleted} ({} ago)", age(deleted, now)),
        );
    }
    if !meta.owner_references.is_empty() {
        let owners = meta.owner_references.iter();
        doc.list("Owners", owners.map(|o| format!("{}/{}", o.kind, o.name)));
    }
}

/// Events, oldest first, at the end of a description.
fn events(doc: &mut Doc, events: &[EventLine], now: Timestamp) {
    let mut sorted: Vec<&EventLine> = events.iter().collect();
    sorted.sort_by_key(|e| e.at);
    let mut table = Table::new(["TYPE", "REASON", "AGE", "MESSAGE"]);
    for event in sorted {
        let (word, role) = match event.level {
            EventLevel::Normal => ("Normal", Role::Plain),
            EventLevel::Warning => ("Warning", Role::Warning),
        };
        let mut when = age(event.at, now);
        if event.count > 1 {
            when.push_str(&format!("(x{})", event.count));
        }
        table.push([
            Cell::new(word, role),
            event.reason.as_str().into(),
            when.into(),
            event.message.as_str().into(),
        ]);
    }
    doc.table("Events", table);
}
