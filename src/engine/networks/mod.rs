//! Networks: what their steps do to the world, and the operations that plan and run them.
//!
//! ```text
//! apply ─> allocate (range and intent, in one breath under the store's lock)
//!       ─> definition (the XML, born with a slot for every address of an instance)
//!       ─> plan ─> executor ─> worker
//! ```
//!
//! The definition carries labels, spec and identity from its first moment, so that whatever is left
//! of a killed run can be told from what others made.

mod allocate;
mod apply;
mod change;
mod definition;
mod delete;
mod existing;
mod lifecycle;
mod metadata;
mod worker;

pub(super) use apply::apply;
pub(super) use change::{change_meta, manifest_of, sides};
pub(super) use definition::{dhcp_params, used_ranges};
pub(super) use delete::delete;
pub use delete::{User, users};
pub(super) use existing::finish_locked;
pub use lifecycle::{start, stop};
pub(super) use metadata::{adopt, forget};

use crate::api::{Kind, ObjectKey, Uid};
use crate::observe::World;
use crate::store::{Event, EventType};

/// How long to wait for another run that works on the same network.
const OBJECT_WAIT: std::time::Duration = std::time::Duration::from_secs(120);

/// Writes an event; one that cannot be written is no reason to fail.
fn note(world: &World, key: &ObjectKey, uid: Uid, reason: &str, message: &str) {
    record(world, key, uid, EventType::Normal, reason, message);
}

/// Writes a warning.
fn warn(world: &World, key: &ObjectKey, uid: Uid, reason: &str, message: &str) {
    record(world, key, uid, EventType::Warning, reason, message);
}

fn record(
    world: &World,
    key: &ObjectKey,
    uid: Uid,
    event_type: EventType,
    reason: &str,
    message: &str,
) {
    debug_assert_eq!(key.kind, Kind::Network);
    let name = key.name.as_str();
    let event = Event::new(event_type, key.kind, name, Some(uid), reason, message);
    let written = world.store().and_then(|s| Ok(s.record_event(&event)?));
    if let Err(error) = written {
        tracing::warn!(target: "store", "cannot write the event: {error}");
    }
}
