//! Which guests may have restarted since they said that they are ready.
//!
//! A guest that restarts by itself keeps its domain, and neither libvirt's lists nor its statistics
//! tell. Its serial console does: no boot is silent there. So a listing looks at the file that the
//! console is written to, which costs microseconds, and only a guest whose file has changed is asked
//! which boot it is of. One without such a file, or on another host, is asked each time.

use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::api::{ConditionStatus, Instance, Phase, Timestamp, Uid};
use crate::observe::World;
use crate::store::{ConsoleMark, IndexRow};

/// A guest whose word may be of another boot.
pub(super) struct Doubtful<'a> {
    pub(super) instance: &'a Instance,
    pub(super) uid: Uid,
    /// How its console's file stands, where it can be looked at.
    pub(super) console: Option<ConsoleMark>,
}

/// Picks those who may have restarted, `most` at most: the console that was written to last first.
pub(super) fn doubtful<'a>(
    world: &World,
    instances: &[&'a Instance],
    most: usize,
) -> Vec<Doubtful<'a>> {
    let settled: Vec<&Instance> = instances
        .iter()
        .copied()
        .filter(|i| has_settled(i))
        .collect();
    if settled.is_empty() {
        return Vec::new();
    }
    let Ok(store) = world.store_for_reading() else {
        return Vec::new();
    };
    let index = store.load_index();
    let local = world.host().is_ok_and(|h| h.is_local());
    let (mut written, mut unseen) = (Vec::new(), Vec::new());
    for instance in settled {
        let uid = instance.metadata.uid;
        let Some((uid, row)) = uid.and_then(|uid| Some((uid, index.rows.get(&uid)?))) else {
            continue;
        };
        // Without a reporter there is nobody to ask.
        if row.verdict.as_ref().is_none_or(|v| v.boot_id.is_none()) {
            continue;
        }
        let console = if local { console_of(row) } else { None };
        let it = Doubtful {
            instance,
            uid,
            console,
        };
        match console {
            Some(_) if console == row.console_then => {}
            Some(_) => written.push(it),
            None => unseen.push(it),
        }
    }
    written.sort_by_key(|d| std::cmp::Reverse(d.console.map(|c| c.modified)));
    if !unseen.is_empty() {
        // Where they are too many for one listing, the next asks others.
        let turn = usize::try_from(Timestamp::now().as_second()).unwrap_or(0);
        let turn = turn % unseen.len();
        unseen.rotate_left(turn);
    }
    written.extend(unseen);
    written.truncate(most);
    written
}

/// Tells whether a guest runs and has said how its boot went.
pub(super) fn has_settled(instance: &Instance) -> bool {
    let told = instance
        .ready()
        .is_some_and(|c| c.status != ConditionStatus::Unknown);
    let runs = |phase| matches!(phase, Phase::Running | Phase::Failed);
    let status = instance.status.as_ref();
    told && status.is_some_and(|s| s.managed && runs(s.phase))
}

/// Writes down how the consoles of guests stood that were still of the same boot.
pub(super) fn remember_consoles(world: &World, marks: &[(Uid, ConsoleMark)]) {
    let Ok(store) = world.store() else { return };
    if marks.is_empty() {
        return;
    }
    // Who cannot remember asks again the next time.
    let _ = store.update_index(|index| {
        for (uid, mark) in marks {
            if let Some(row) = index.rows.get_mut(uid) {
                row.console_then = Some(*mark);
            }
        }
    });
}

/// Looks at the console's file. An empty one tells nothing: the guest does not use it.
fn console_of(row: &IndexRow) -> Option<ConsoleMark> {
    row.console_log.as_deref().and_then(mark_of)
}

fn mark_of(path: &Path) -> Option<ConsoleMark> {
    let meta = std::fs::metadata(path).ok()?;
    let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let mark = ConsoleMark {
        length: meta.len(),
        modified: u64::try_from(modified.as_nanos()).ok()?,
    };
    (mark.length > 0).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_that_was_written_to_has_another_mark() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("web.serial.log");
        assert_eq!(mark_of(&path), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(mark_of(&path), None, "a console that nobody uses");
        std::fs::write(&path, "login: ").unwrap();
        let then = mark_of(&path).unwrap();
        assert_eq!(mark_of(&path), Some(then));
        std::fs::write(&path, "login: [    0.0] Linux").unwrap();
        assert_ne!(mark_of(&path), Some(then));
    }
}
