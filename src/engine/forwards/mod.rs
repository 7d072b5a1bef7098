//! Port forwards: who gets which port of the host, and the rules that lead there.
//!
//! ```text
//! apply ─> claims (conflicts refused, port taken and written down, in one breath under the lock)
//!       ─> plan ─> executor ─> worker ─> rules ─> host::firewall
//! ```
//!
//! The record of a forward is its intent: written before the first rule, removed after the last.
//! Rules carry the identity of their owner (a stand-alone forward, or the instance whose list it is
//! in), and making an owner's rules right always means all of them, so that every step can be
//! repeated and no remainder can be missed.

mod apply;
mod claims;
mod delete;
mod desired;
mod labels;
mod listed;
mod mend;
mod one;
mod rebuild;
mod rules;
mod user_space;
mod worker;

pub(super) use apply::apply;
pub(super) use claims::Claims;
pub(super) use delete::delete;
pub(super) use desired::sides;
pub(super) use listed::{check_ports, led_to, take_ports, wants_rules};
pub(super) use mend::{check, mend, tidy};
pub(super) use rebuild::rebuild;
pub(super) use rules::{enforce_led_to, require_rights, stale, started, withdraw};
pub(super) use user_space::{reach, settle_all};

use crate::api::{Kind, ObjectKey, Uid};
use crate::observe::World;
use crate::store::{Event, EventType};

/// How long to wait for another run that works on the same forward.
const OBJECT_WAIT: std::time::Duration = std::time::Duration::from_secs(120);

/// Writes an event; one that cannot be written is no reason to fail.
fn note(world: &World, key: &ObjectKey, uid: Uid, reason: &str, message: &str) {
    debug_assert_eq!(key.kind, Kind::PortForward);
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
