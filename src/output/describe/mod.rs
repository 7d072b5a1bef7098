//! `describe`: everything about one object for a person, events last. One file a kind.

mod doc;
mod image;
mod instance;
mod instance_type;
mod secret;

pub use image::describe_image;
pub use instance::{DiskDetail, InstanceDetails, NicDetail, SeedDetail, describe_instance};
pub use instance_type::describe_instance_type;
pub use secret::describe_secret;

use super::age;
use super::style::Role;
use super::table::{Cell, Table};
use crate::api::{ObjectMeta, Timestamp};
use doc::Doc;

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    /// When it happened last.
    pub at: Timestamp,
    /// How often in a row.
    pub count: u32,
    /// Whether it is a warning.
    pub level: EventLevel,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// What, for a person.
    pub message: String,
}

/// How an event is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventLevel {
    /// As expected.
    Normal,
    /// Worth a look.
    Warning,
}

/// Name, labels, annotations and identity, which every description begins with.
fn head(doc: &mut Doc, kind: &str, meta: &ObjectMeta, now: Timestamp) {
    let text = |value: Option<String>| value.unwrap_or_else(|| "<none>".to_owned());
    doc.field("Name", text(meta.name.as_ref().map(ToString::to_string)));
    doc.field("Kind", kind);
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
        doc.field(
            "Created",
            format!("{created} ({} ago)", age::age(Some(created), now)),
        );
    }
    if let Some(deleted) = meta.deletion_timestamp {
        doc.field(
            "Terminating since",
            format!("{deleted} ({} ago)", age::age(Some(deleted), now)),
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
            EventLevel::Warning => ("Warning", Role::Busy),
        };
        let mut when = age::age(Some(event.at), now);
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
