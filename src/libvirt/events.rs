//! Waiting for what happens to domains, so that nothing has to poll.
//!
//! libvirt delivers events only while an event loop runs, and the loop must be there before the
//! connection is opened: [`run_loop`] starts it once per process.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::conn::Host;
use super::error::LibvirtError;
use super::ffi;
use crate::api::Uid;

/// What happened to a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Which domain.
    pub uid: Uid,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen to a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was defined or changed.
    Defined,
    /// It was undefined.
    Undefined,
    /// It started.
    Started,
    /// It was suspended.
    Suspended,
    /// It was resumed.
    Resumed,
    /// It stopped, by itself or not.
    Stopped(StopCause),
    /// The guest has finished shutting down; it stops next.
    ShutDown,
    /// It went to sleep.
    Slept,
    /// Its guest crashed.
    Crashed,
    /// The guest agent came.
    AgentConnected,
    /// The guest agent went.
    AgentDisconnected,
    /// A device that was to be unplugged has gone.
    DeviceRemoved,
    /// The guest does not let go of a device.
    DeviceRemovalFailed,
    /// A backup job ended.
    BackupEnded {
        /// Whether all of it was written.
        well: bool,
    },
    /// Something that this version does not know.
    Other,
}

/// Why a domain stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// The guest shut down.
    Shutdown,
    /// It was destroyed.
    Destroyed,
    /// QEMU or the guest crashed.
    Crashed,
    /// It moved to another host.
    Migrated,
    /// Its state was saved.
    Saved,
    /// QEMU failed.
    Failed,
    /// A snapshot was loaded.
    FromSnapshot,
}

/// The one registration of a connection; libvirt takes the same callback only once.
#[derive(Debug)]
pub(super) struct Hub {
    listeners: Arc<Mutex<Listeners>>,
    _registration: ffi::events::Registration,
}

/// Who is told; nobody any more once the connection is closed.
#[derive(Debug, Default)]
struct Listeners {
    senders: Vec<Sender<ffi::events::RawEvent>>,
    closed: bool,
}

impl Hub {
    fn new(host: &Host) -> Result<Self, LibvirtError> {
        let (sender, events) = channel();
        let registration = super::conn::call(
            "virConnectDomainEventRegisterAny",
            "listen for events of",
            "domains",
            || ffi::events::register(&host.conn, &sender, !host.is_in_process()),
        )?;
        let listeners: Arc<Mutex<Listeners>> = Arc::default();
        let told = Arc::clone(&listeners);
        std::thread::spawn(move || {
            for message in events {
                match message {
                    ffi::events::Message::Event(event) => lock(&told)
                        .senders
                        .retain(|listener| listener.send(event).is_ok()),
                    ffi::events::Message::Closed => break,
                }
            }
            // Whoever waits must know, and whoever comes later too.
            *lock(&told) = Listeners {
                senders: Vec::new(),
                closed: true,
            };
        });
        Ok(Self {
            listeners,
            _registration: registration,
        })
    }

    fn listen(&self) -> Receiver<ffi::events::RawEvent> {
        let (sender, events) = channel();
        let mut listeners = lock(&self.listeners);
        if !listeners.closed {
            listeners.senders.push(sender);
        }
        events
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives what happens to some domains from the moment it is made.
///
/// Make it before the call whose effect is waited for; then no event can be missed.
#[derive(Debug)]
pub struct EventWaiter {
    events: Receiver<ffi::events::RawEvent>,
    uids: BTreeSet<Uid>,
}

/// What the waiting ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// An event.
    Event(Event),
    /// The time ran out.
    TimedOut,
    /// The connection closed; no event will come.
    Closed,
}

impl EventWaiter {
    /// Begins to listen for events of the given domains.
    ///
    /// # Errors
    /// When the driver has no events or the connection is broken.
    pub fn new(host: &Host, uids: impl IntoIterator<Item = Uid>) -> Result<Self, LibvirtError> {
        let hub = host
            .hub
            .get_or_init(|| Hub::new(host))
            .as_ref()
            .map_err(Clone::clone)?;
        Ok(Self {
            events: hub.listen(),
            uids: uids.into_iter().collect(),
        })
    }

    /// Begins to listen for events of all domains.
    ///
    /// # Errors
    /// As for [`EventWaiter::new`].
    pub fn all(host: &Host) -> Result<Self, LibvirtError> {
        Self::new(host, [])
    }

    /// Returns the next event, waiting until `deadline` at most.
    pub fn next(&self, deadline: Instant) -> Waited {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(raw) => {
                    let event = Event::from_raw(raw);
                    if self.uids.is_empty() || self.uids.contains(&event.uid) {
                        return Waited::Event(event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Waited::TimedOut,
                Err(RecvTimeoutError::Disconnected) => return Waited::Closed,
            }
        }
    }
}

impl Event {
    fn from_raw(raw: ffi::events::RawEvent) -> Self {
        Self {
            uid: Uid::from_bytes(raw.uuid),
            kind: match raw.source {
                ffi::events::Source::Agent => agent_kind(raw.event),
                ffi::events::Source::Lifecycle => lifecycle_kind(raw.event, raw.detail),
                ffi::events::Source::DeviceRemoved => EventKind::DeviceRemoved,
                ffi::events::Source::DeviceRemovalFailed => EventKind::DeviceRemovalFailed,
                ffi::events::Source::JobCompleted => job_kind(raw.event, raw.detail),
            },
        }
    }
}

/// virConnectDomainEventAgentLifecycleState.
const fn agent_kind(state: i32) -> EventKind {
    match state {
        1 => EventKind::AgentConnected,
        2 => EventKind::AgentDisconnected,
        _ => EventKind::Other,
    }
}

/// virDomainJobOperation, and whether it went well.
const fn job_kind(operation: i32, success: i32) -> EventKind {
    match operation {
        // VIR_DOMAIN_JOB_OPERATION_BACKUP
        9 => EventKind::BackupEnded { well: success != 0 },
        _ => EventKind::Other,
    }
}

/// virDomainEventType.
const fn lifecycle_kind(event: i32, detail: i32) -> EventKind {
    match event {
        0 => EventKind::Defined,
        1 => EventKind::Undefined,
        2 => EventKind::Started,
        3 => EventKind::Suspended,
        4 => EventKind::Resumed,
        5 => EventKind::Stopped(stop_cause(detail)),
        6 => EventKind::ShutDown,
        7 => EventKind::Slept,
        8 => EventKind::Crashed,
        _ => EventKind::Other,
    }
}

/// virDomainEventStoppedDetailType.
const fn stop_cause(detail: i32) -> StopCause {
    match detail {
        0 => StopCause::Shutdown,
        1 => StopCause::Destroyed,
        2 => StopCause::Crashed,
        3 => StopCause::Migrated,
        4 => StopCause::Saved,
        6 => StopCause::FromSnapshot,
        _ => StopCause::Failed,
    }
}

/// The thread of the loop, and what tells of its end.
type Running = (JoinHandle<()>, Receiver<()>);

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

/// How long the loop may take to end; it has nothing to wait for.
const FAREWELL: Duration = Duration::from_secs(2);

/// Registers libvirt's event loop and runs it in a thread of its own, once per process.
pub(super) fn run_loop() -> Result<(), LibvirtError> {
    static STARTED: OnceLock<Result<(), LibvirtError>> = OnceLock::new();
    STARTED.get_or_init(start_loop).clone()
}

fn start_loop() -> Result<(), LibvirtError> {
    let doing = || "start libvirt's event loop".to_owned();
    virt::event::event_register_default_impl().map_err(|e| LibvirtError::new(doing(), &e))?;
    let (until, ended) = channel();
    let thread = std::thread::Builder::new()
        .name("libvirt-events".to_owned())
        .spawn(move || {
            let _until: Sender<()> = until;
            while !ffi::event_loop::is_over() {
                if virt::event::event_run_default_impl().is_err() {
                    // Never reached in practice; a spinning loop would be worse than none.
                    break;
                }
            }
        })
        .map_err(|e| LibvirtError::ours(doing(), super::error::Cause::Other, e))?;
    *lock(&RUNNING) = Some((thread, ended));
    Ok(())
}

/// Ends the event loop, before the process ends: connections that were closed are freed by its thread,
/// and that must not happen while the libraries that it uses are taken down.
pub fn end_loop() {
    let Some((thread, ended)) = lock(&RUNNING).take() else {
        return;
    };
    let ends = ffi::event_loop::end()
        && ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected);
    if ends {
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::super::conn::tests::own_test_host;
    use super::*;

    #[test]
    fn a_stop_is_told_without_polling() {
        let host = own_test_host();
        let domain = host.domain("test").unwrap();
        let waiter = EventWaiter::new(&host, [domain.uid()]).unwrap();
        let others = EventWaiter::new(&host, [Uid::random()]).unwrap();
        domain.destroy().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        assert_eq!(
            waiter.next(deadline),
            Waited::Event(Event {
                uid: domain.uid(),
                kind: EventKind::Stopped(StopCause::Destroyed)
            })
        );
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(others.next(soon), Waited::TimedOut);
    }
}
