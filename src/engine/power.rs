//! Power off gently: by events, not by polling.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::libvirt::{Domain, EventKind, EventWaiter, Waited};
use crate::observe::World;

/// Asks a guest to power off and waits until it has, at most `grace`.
///
/// The agent is asked first where it answers, because ACPI needs a guest that listens; both are only
/// requests. Returns whether the guest is off.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn shutdown(world: &World, domain: &Domain, grace: Duration) -> Result<bool> {
    let deadline = Instant::now() + grace;
    let waiter = EventWaiter::new(world.host()?, [domain.uid()])?;
    if !domain.state()?.is_active() {
        return Ok(true);
    }
    if domain.state()?.is_paused() {
        // A paused guest cannot hear anything.
        domain.resume()?;
    }
    match domain.shutdown() {
        Err(e) if e.is_not_now() => {}
        other => other?,
    }
    // A guest that boots drops the first request on the floor, so it is asked again now and then.
    let mut ask_again = Instant::now() + AGAIN;
    loop {
        super::signal::interrupted()?;
        let until = deadline
            .min(ask_again)
            .min(Instant::now() + Duration::from_millis(500));
        match waiter.next(until) {
            Waited::Event(event)
                if matches!(event.kind, EventKind::Stopped(_) | EventKind::Crashed) =>
            {
                return Ok(true);
            }
            Waited::Event(_) | Waited::TimedOut => {}
            Waited::Closed => return Ok(!domain.state()?.is_active()),
        }
        if Instant::now() >= deadline {
            return Ok(!domain.state()?.is_active());
        }
        if Instant::now() >= ask_again {
            if !domain.state()?.is_active() {
                return Ok(true);
            }
            let _ = domain.shutdown();
            ask_again = Instant::now() + AGAIN;
        }
    }
}

/// How long a guest gets before it is asked again.
const AGAIN: Duration = Duration::from_secs(10);
