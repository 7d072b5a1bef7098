//! Whether a verdict is still of the boot that runs.
//!
//! A guest that restarts by itself keeps its domain, and libvirt tells only those who listen at that
//! moment. So whoever speaks to the guest anyway compares the boot ids: the reporter greets with its
//! own as soon as its port is opened.

use std::time::{Duration, Instant};

use super::metadata::note;
use crate::api::ObjectKey;
use crate::cloudinit::{PORT_NAME, parse_boot_id};
use crate::error::Result;
use crate::libvirt::{Domain, Line, LineReader, ObjectMetadata};
use crate::observe::World;
use crate::store::Verdict;

/// What is known of a verdict's boot.
pub(super) enum Boot {
    /// It is the one that runs.
    Same,
    /// Nobody said in time; as long as nothing says otherwise, it is the one.
    Untold,
    /// Another one runs, or none yet; the port, if it is open.
    Another(Option<LineReader>),
}

/// Finds out whether the boot that a verdict is of still runs.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn compare(
    world: &World,
    domain: &Domain,
    verdict: &Verdict,
    patience: Duration,
) -> Result<Boot> {
    let Some(known) = &verdict.boot_id else {
        // No reporter has ever spoken.
        return Ok(Boot::Same);
    };
    if domain.live()?.port_is_open(PORT_NAME) == Some(false) {
        return Ok(Boot::Another(None));
    }
    // Whoever has the port already compares for itself.
    let Ok(lines) = domain.open_channel(world.host()?, PORT_NAME) else {
        return Ok(Boot::Untold);
    };
    let deadline = Instant::now() + patience;
    while let Line::Text(text) = lines.next(deadline) {
        match parse_boot_id(&text) {
            Some(speaks) if speaks == *known => return Ok(Boot::Same),
            Some(_) => return Ok(Boot::Another(Some(lines))),
            None if Instant::now() >= deadline => break,
            None => {}
        }
    }
    Ok(Boot::Untold)
}

/// Forgets a verdict that is of another boot.
///
/// # Errors
/// What libvirt or the store refuses.
pub(super) fn forget_verdict(world: &World, key: &ObjectKey, domain: &Domain) -> Result<()> {
    let uid = domain.uid();
    if let Some(metadata) = domain.metadata_live()?.filter(|m| m.uid == uid) {
        domain.set_metadata_live(&ObjectMetadata {
            verdict: None,
            ..metadata
        })?;
    }
    world.store()?.update_index(|index| {
        if let Some(row) = index.rows.get_mut(&uid) {
            row.verdict = None;
        }
    })?;
    let told = "the guest restarted by itself: what it said of its last boot is forgotten";
    note(world, key, Some(uid), "Restarted", told);
    Ok(())
}
