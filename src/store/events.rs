//! The journal: what kvmctl did and what it saw, for `describe` and `events`.
//!
//! One line of JSON an event, appended in one write, so that writers need no lock. A line that a
//! dying writer tore is skipped. Events never hold a value of env, user-data or a Secret.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use rustix::fs::{FlockOperation, OFlags};
use serde::{Deserialize, Serialize};

use crate::api::{Kind, Timestamp, Uid};

use super::Store;
use super::error::Result;
use super::file::Dir;

const FILE: &str = "events.jsonl";
const OLD: &str = "events.1.jsonl";

/// Size at which the journal is put aside, in bytes; one old one is kept.
pub const ROTATE_AT: u64 = 1 << 20;

/// Longest message, in characters.
const MAX_MESSAGE: usize = 1024;

/// Whether an event needs somebody's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// It does not.
    Normal,
    /// It does.
    Warning,
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object.
    pub name: String,
    /// Identity of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Whether it needs attention.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// What, in one CamelCase word.
    pub reason: String,
    /// What, for a person.
    pub message: String,
    /// Process that wrote it.
    pub pid: u32,
}

impl Event {
    /// Returns the type as it is printed.
    pub const fn kind_of_event(&self) -> &'static str {
        match self.event_type {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }

    /// Makes an event of now and of this process.
    pub fn new(
        event_type: EventType,
        kind: Kind,
        name: impl Into<String>,
        uid: Option<Uid>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let message: String = message.into();
        Self {
            time: Timestamp::now(),
            kind,
            name: name.into(),
            uid,
            event_type,
            reason: reason.into(),
            message: message.chars().take(MAX_MESSAGE).collect(),
            pid: std::process::id(),
        }
    }
}

impl Store {
    /// Appends an event.
    ///
    /// # Errors
    /// What the system says.
    pub fn record_event(&self, event: &Event) -> Result<()> {
        let dir = self.writable()?;
        let file = dir.open_or_make(FILE, OFlags::APPEND)?;
        let file = append(dir, file, event)?;
        rotate(dir, &file)
    }

    /// Returns the events that `wanted` lets through, the oldest first.
    ///
    /// # Errors
    /// What the system says; lines that do not parse are passed over.
    pub fn events(&self, wanted: impl Fn(&Event) -> bool) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        let Some(dir) = &self.dir else {
            return Ok(events);
        };
        for rel in [OLD, FILE] {
            let bytes = dir.read(rel)?.unwrap_or_default();
            let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            let parsed = lines.filter_map(|line| serde_json::from_slice(line).ok());
            events.extend(parsed.filter(|event| wanted(event)));
        }
        // Stable: events of one second stay in the order in which they were written.
        events.sort_by_key(|event| event.time);
        Ok(events)
    }
}

fn append(dir: &Dir, mut file: File, event: &Event) -> Result<File> {
    let io = |e: std::io::Error| dir.error("write", FILE, e);
    let mut line = Vec::with_capacity(256);
    let end = file.seek(SeekFrom::End(0)).map_err(io)?;
    let mut last = [b'\n'];
    if end > 0 {
        // A torn line at the end must not take ours with it.
        let _ = file.read_at(&mut last, end - 1).map_err(io)?;
    }
    if last != [b'\n'] {
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, event).map_err(|e| dir.damaged(FILE, e.to_string()))?;
    line.push(b'\n');
    rustix::io::write(&file, &line).map_err(|e| dir.error("write", FILE, e))?;
    Ok(file)
}

/// Puts a large journal aside; of several that see it large, one does so.
fn rotate(dir: &Dir, file: &File) -> Result<()> {
    let size = file
        .metadata()
        .map_err(|e| dir.error("read", FILE, e))?
        .len();
    if size < ROTATE_AT
        || rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_err()
    {
        return Ok(());
    }
    dir.rename_if_same(FILE, OLD, file)
}

#[cfg(test)]
mod tests {
    use super::super::Access;
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(tmp.path().join("s"), Access::Write).unwrap();
        (tmp, store)
    }

    fn event(name: &str, message: &str) -> Event {
        Event::new(
            EventType::Normal,
            Kind::Instance,
            name,
            None,
            "Tested",
            message,
        )
    }

    fn messages(store: &Store) -> Vec<String> {
        let events = store.events(|_| true).unwrap();
        events.into_iter().map(|e| e.message).collect()
    }

    #[test]
    fn events_come_back_by_object_and_in_the_order_of_time() {
        let (_tmp, store) = store();
        for (name, message, second) in [("web", "late", 9), ("db", "other", 5), ("web", "early", 1)]
        {
            let mut event = event(name, message);
            event.time = Timestamp::from_second(second);
            store.record_event(&event).unwrap();
        }
        let web = store.events(|e| e.name == "web").unwrap();
        let texts: Vec<_> = web.iter().map(|e| e.message.as_str()).collect();
        assert_eq!(texts, ["early", "late"]);
    }

    #[test]
    fn a_torn_line_costs_only_itself() {
        let (_tmp, store) = store();
        store.record_event(&event("web", "one")).unwrap();
        let path = store.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
        assert_eq!(messages(&store), ["one"]);
        store
            .record_event(&event("web", "two\nlines\u{1b}"))
            .unwrap();
        assert_eq!(messages(&store), ["one", "two\nlines\u{1b}"]);
    }

    #[test]
    fn a_large_journal_is_put_aside_once() {
        let (_tmp, store) = store();
        let path = store.path().join(FILE);
        std::fs::write(store.path().join(OLD), b"older\n").unwrap();
        let filler = serde_json::to_string(&event("web", &"x".repeat(1000))).unwrap() + "\n";
        let lines = usize::try_from(ROTATE_AT).unwrap() / filler.len() + 1;
        std::fs::write(&path, filler.repeat(lines)).unwrap();
        store.record_event(&event("web", "the last straw")).unwrap();
        assert!(!path.exists(), "put aside");
        store.record_event(&event("web", "fresh")).unwrap();
        let all = messages(&store);
        assert_eq!(all.len(), lines + 2);
        assert_eq!(all.last().unwrap(), "fresh");
    }

    #[test]
    fn writers_at_once_tear_nothing_apart_and_lose_nothing() {
        let (_tmp, store) = store();
        std::thread::scope(|scope| {
            for t in 0..16 {
                let path = store.path();
                scope.spawn(move || {
                    let store = Store::open(path, Access::Write).unwrap();
                    for n in 0..50 {
                        store
                            .record_event(&event("web", &format!("{t} {n}")))
                            .unwrap();
                    }
                });
            }
        });
        let mut all = messages(&store);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 800);
    }
}
