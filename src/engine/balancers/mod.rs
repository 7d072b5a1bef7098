//! Load balancers: who gets which port of the host, and what nginx does there.
//!
//! ```text
//! apply ─> claims (conflicts refused, written down, in one breath under the lock)
//!       ─> plan ─> executor ─> worker ─> serve ─> host::nginx
//! ```
//!
//! The record of a balancer is its intent: written before nginx hears of it, removed after nginx has
//! forgotten it. What nginx is told is always worked out anew, under a lock, from the record and from
//! where the instances are now, so that every step can be repeated and none can bring back what was.

mod apply;
mod claims;
mod delete;
mod desired;
mod drain;
mod follow;
mod mend;
mod one;
mod reach;
mod rebuild;
mod serve;
mod stranded;
mod targets;
mod watch;
mod worker;

pub(super) use apply::apply;
pub(super) use delete::delete;
pub(super) use desired::sides;
pub use drain::{DrainRequest, drain};
pub(super) use follow::{leave, require_rights, tidy};
pub(super) use mend::{check, mend};
pub(super) use reach::reached;
pub(super) use rebuild::rebuild;
pub use serve::set_out;
pub use targets::{add_targets, remove_targets};
pub use watch::Watch;

use crate::api::{Kind, LoadBalancer, ObjectKey, Uid};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::store::{Event, EventType};

/// How long to wait for another run that works on the same balancer.
const OBJECT_WAIT: std::time::Duration = std::time::Duration::from_secs(120);

fn key_of(balancer: &LoadBalancer) -> Result<ObjectKey> {
    let name = balancer.metadata.name.clone();
    let name = name.ok_or_else(|| Error::usage("metadata.name is missing"))?;
    Ok(ObjectKey::new(Kind::LoadBalancer, name))
}

/// Writes an event; one that cannot be written is no reason to fail.
fn note(world: &World, key: &ObjectKey, uid: Uid, reason: &str, message: &str) {
    debug_assert_eq!(key.kind, Kind::LoadBalancer);
    let name = key.name.as_str();
    let event = Event::new(
        EventType::Normal,
        key.kind,
        name,
        Some(uid),
        reason,
        message,
    );
    let written = world.store().and_then(|s| Ok(s.record_event(&event)?));
    if let Err(error) = written {
        tracing::warn!(target: "store", "cannot write the event: {error}");
    }
}
