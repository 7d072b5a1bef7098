//! `port-forward`: ports of this machine that lead to an instance for as long as the command runs. No
//! rule is made and no right is needed.
//!
//! ```text
//! client ─> listener (ours) ─> guest's address
//!                           ─> ssh ─> guest's address            (the host is remote)
//!                           ─> QEMU's user-mode network ─> guest (the guest has no address)
//! ```

mod listen;
mod reach;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::api::{ObjectKey, Reporter, Span};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::host::relay::{self, Far, RelayEvent};
use crate::libvirt::{Domain, EventKind, EventWaiter, Waited};
use crate::observe::World;

use super::signal::interrupted;
use listen::{Bound, bind};
pub(in crate::engine) use reach::Door;
use reach::{Ends, Reach};

/// How often signals are looked at, and how soon a new address is taken up.
const TICK: Duration = Duration::from_millis(200);
/// How soon a way is looked for again where there was none.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a guest may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(15);

/// One port of this machine, and the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortPair {
    /// Port of this machine; 0 for one that is free.
    pub local: u16,
    /// Port of the guest.
    pub guest: u16,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub struct ForwardRequest {
    /// The ports.
    pub ports: Vec<PortPair>,
    /// Names or addresses of this machine to listen on; `localhost` is both of its addresses.
    pub addresses: Vec<String>,
    /// How long to wait for an instance that does not run.
    pub timeout: Duration,
}

/// What happens while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardEvent {
    /// A port is listened on.
    Listening {
        /// Where.
        at: std::net::SocketAddr,
        /// Port of the guest.
        guest: u16,
    },
    /// A client came.
    Connection {
        /// Port of this machine.
        port: u16,
    },
    /// A client could not be served.
    Failed {
        /// Port of this machine.
        port: u16,
        /// Port of the guest.
        guest: u16,
        /// Why.
        why: String,
    },
    /// The instance does not run any more.
    Stopped,
    /// The instance runs again.
    Started,
}

/// Is told what happens.
pub type TellForward = dyn Fn(&ForwardEvent) + Send + Sync;

/// What the connections' threads see of the way to the guest.
#[derive(Default)]
struct Way {
    ends: Mutex<Option<Ends>>,
    stale: AtomicBool,
}

/// Forwards until a signal comes; then returns its error.
///
/// # Errors
/// `Timeout` when the instance does not run in time, a conflict for a port that is taken or a guest
/// that cannot be reached, and the signal at the end.
pub fn port_forward(
    world: &World,
    key: &ObjectKey,
    request: &ForwardRequest,
    tell: &Arc<TellForward>,
    reporter: &dyn Reporter,
) -> Result<()> {
    let domain = super::instances::find(world, key)?;
    let events = EventWaiter::new(world.host()?, [domain.uid()])?;
    wait_running(key, &domain, &events, request.timeout, reporter)?;
    let bound = bind(request)?;
    let guests: Vec<u16> = request.ports.iter().map(|p| p.guest).collect();
    let mut reach = Reach::open(world, key, &domain, &guests)?;
    let way: Arc<Way> = Arc::default();
    *lock(&way.ends) = Some(reach.ends().clone());
    for one in bound {
        serve(one, &way, tell)?;
    }
    let mut again = Instant::now();
    loop {
        interrupted()?;
        let event = events.next(Instant::now() + TICK);
        match event {
            Waited::Event(event) => match event.kind {
                EventKind::Stopped(_) => {
                    *lock(&way.ends) = None;
                    tell(&ForwardEvent::Stopped);
                }
                EventKind::Started => {
                    way.stale.store(true, Ordering::SeqCst);
                    tell(&ForwardEvent::Started);
                }
                EventKind::Undefined => {
                    return Err(Error::not_found(format!("{key} was deleted")));
                }
                _ => {}
            },
            Waited::TimedOut => {}
            Waited::Closed => return Err(Error::failed("the connection to libvirt broke")),
        }
        let wanted = reach.broken() || way.stale.load(Ordering::SeqCst);
        if wanted && Instant::now() >= again && domain.state()?.is_active() {
            way.stale.store(false, Ordering::SeqCst);
            // The way that there was ends before the new one begins.
            match reach.renew(world, key, &domain, &guests) {
                Ok(()) => *lock(&way.ends) = Some(reach.ends().clone()),
                Err(error) => {
                    tracing::debug!(target: "host", "no way to {key}: {error}");
                    way.stale.store(true, Ordering::SeqCst);
                    again = Instant::now() + PAUSE;
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(bound: Bound, way: &Arc<Way>, tell: &Arc<TellForward>) -> Result<()> {
    let guest = bound.guest;
    let port = bound.at.port();
    tell(&ForwardEvent::Listening {
        at: bound.at,
        guest,
    });
    let way = Arc::clone(way);
    let connect = move || connect(&way, guest);
    let tell = Arc::clone(tell);
    let told = move |event: RelayEvent| {
        let failed = |why: String| ForwardEvent::Failed { port, guest, why };
        tell(&match event {
            RelayEvent::Accepted => ForwardEvent::Connection { port },
            RelayEvent::Failed(why) => failed(why),
            RelayEvent::Full => failed("too many connections at a time".to_owned()),
        });
    };
    relay::serve(bound.listener, Arc::new(connect), Arc::new(told))
        .map_err(|e| Error::failed("cannot start a thread").caused_by(e))
}

fn connect(way: &Way, guest: u16) -> std::io::Result<Far> {
    let Some(ends) = lock(&way.ends).clone() else {
        // It may have come back unseen.
        way.stale.store(true, Ordering::SeqCst);
        return Err(std::io::Error::other("the instance is not running"));
    };
    ends.connect(guest, PATIENCE).inspect_err(|_| {
        // Perhaps the guest has another address by now.
        way.stale.store(true, Ordering::SeqCst);
    })
}

/// Waits until an instance runs, and says that it does not.
fn wait_running(
    key: &ObjectKey,
    domain: &Domain,
    events: &EventWaiter,
    timeout: Duration,
    reporter: &dyn Reporter,
) -> Result<()> {
    if domain.state()?.is_active() {
        return Ok(());
    }
    reporter.warn(&format!(
        "{key} is not running; waiting up to {} for it to start",
        Span::seconds(timeout.as_secs())
    ));
    let deadline = Instant::now() + timeout;
    while !domain.state()?.is_active() {
        interrupted()?;
        if Instant::now() >= deadline {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("{key} is not running, so no port of it can be reached"),
            )
            .hint(format!("kvmctl instances start {}", key.name)));
        }
        events.next(deadline.min(Instant::now() + TICK));
    }
    Ok(())
}
