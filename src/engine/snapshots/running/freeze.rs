//! A guest whose filesystems are frozen, and all that makes sure that it is thawed.
//!
//! While a guest is frozen, a second process waits for the end of this one and thaws it then: a
//! process that is killed cannot, and a frozen guest stands still until somebody does.

use std::io::Read;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Backup;
use crate::api::{Consistency, Uid};
use crate::error::{Error, Result};
use crate::host::Guard;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::{Domain, Host, LibvirtError};
use crate::observe::World;

/// How long a guest stays frozen at most, whatever libvirt does meanwhile.
pub(super) const LONGEST: Duration = Duration::from_secs(10);
/// How long a guest that does not thaw is asked again.
const INSIST: Duration = Duration::from_secs(60);
/// Port of the guest agent.
const AGENT: &str = "org.qemu.guest_agent.0";
/// Tells a process of ours that it is the second one: URI and domain.
const VARIABLE: &str = "KVMCTL_THAW";

/// A guest whose filesystems are frozen.
#[derive(Debug)]
pub(super) struct Frozen {
    domain: Domain,
    since: Instant,
    /// It stays until the guest is known to be thawed.
    guard: Guard,
}

/// A guest that is thawed again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thawed {
    /// How long it was frozen.
    pub after: Duration,
    /// It was thawed before the work was done.
    pub late: bool,
}

/// Freezes the guest's filesystems; `Err` within says why it is done without.
///
/// # Errors
/// A conflict where they must be frozen and cannot be, or are by somebody else.
pub(super) fn freeze(
    world: &World,
    domain: &Domain,
    live: &DomainXml,
    backup: &Backup<'_>,
) -> Result<Result<Frozen, String>> {
    let (key, name) = (backup.key, domain.name());
    if backup.consistency == Consistency::Crash {
        return Ok(Err("it was asked for".to_owned()));
    }
    let why = match can_freeze(domain, live) {
        Ok(true) => {
            return Err(Error::conflict(format!(
                "cannot take {key}: somebody else has frozen the filesystems of {name:?}"
            ))
            .hint(format!("virsh domfsthaw {name}")));
        }
        Ok(false) => match now(world, domain)? {
            Ok(frozen) => return Ok(Ok(frozen)),
            Err(why) => why,
        },
        Err(why) => why,
    };
    match backup.consistency {
        Consistency::Filesystem => Err(Error::conflict(format!(
            "cannot take {key} with consistent filesystems: {why}"
        ))
        .hint(format!(
            "kvmctl instances exec {name} -- systemctl start qemu-guest-agent"
        ))
        .hint("--consistency crash takes it as after a power cut")),
        _ => Ok(Err(why)),
    }
}

/// Returns whether the guest is frozen already; `Err` says why it cannot be.
fn can_freeze(domain: &Domain, live: &DomainXml) -> Result<bool, String> {
    match domain.state() {
        Ok(state) if state.is_paused() => return Err("the instance is paused".to_owned()),
        _ => {}
    }
    match live.port_is_open(AGENT) {
        None => return Err("the instance has no port for a guest agent".to_owned()),
        Some(false) => return Err("no guest agent runs in the guest".to_owned()),
        Some(true) => {}
    }
    domain.is_frozen().map_err(|e| silent(&e))
}

fn silent(error: &LibvirtError) -> String {
    match error.is_agent() {
        true => "the guest agent does not answer".to_owned(),
        false => format!("the guest agent refused: {}", error.message()),
    }
}

fn now(world: &World, domain: &Domain) -> Result<Result<Frozen, String>> {
    let told = format!("{} {}", world.settings().uri, domain.uid());
    let guard = match Guard::start(VARIABLE, &told) {
        Ok(guard) => guard,
        // Without it the guest might stay frozen.
        Err(error) => {
            return Ok(Err(format!(
                "nobody could thaw it in case of need: {error}"
            )));
        }
    };
    let frozen = Frozen {
        domain: domain.clone(),
        since: Instant::now(),
        guard,
    };
    match domain.freeze() {
        Ok(_) => Ok(Ok(frozen)),
        Err(error) => {
            // It may have frozen some, or freeze yet.
            let why = silent(&error);
            frozen.thaw()?;
            Ok(Err(why))
        }
    }
}

impl Frozen {
    /// Does something while the guest is frozen, and thaws it after: at the latest when [`LONGEST`] is
    /// over, even if it is not done by then.
    pub(super) fn during<T: Send>(
        self,
        f: impl FnOnce() -> T,
    ) -> (T, Result<Thawed, LibvirtError>) {
        let (done, alarm) = channel::<()>();
        thread::scope(|scope| {
            let thawer = scope.spawn(move || {
                let late = alarm.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout);
                self.thaw().map(|after| Thawed { after, late })
            });
            let result = f();
            drop(done);
            match thawer.join() {
                Ok(thawed) => (result, thawed),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Thaws it, and returns how long it was frozen.
    fn thaw(self) -> Result<Duration, LibvirtError> {
        insist(&self.domain)?;
        let after = self.since.elapsed();
        self.guard.dismiss();
        Ok(after)
    }
}

/// Thaws a guest, again and again if need be; one that is off is thawed.
fn insist(domain: &Domain) -> Result<(), LibvirtError> {
    let deadline = Instant::now() + INSIST;
    loop {
        match domain.thaw() {
            Err(e) if e.is_not_now() || e.is_not_found() => return Ok(()),
            Err(e) if Instant::now() >= deadline || e.is_unreachable() => return Err(e),
            Err(_) => thread::sleep(Duration::from_millis(200)),
            Ok(()) => return Ok(()),
        }
    }
}

/// In the second process: waits for the end of the first, thaws the guest unless it was told that it
/// is, and returns true. In any other process, returns false.
pub fn answer() -> bool {
    let Some(told) = std::env::var(VARIABLE).ok() else {
        return false;
    };
    let mut said = Vec::new();
    // An error is an end too.
    let _ = std::io::stdin().read_to_end(&mut said);
    let dismissed = said.ends_with(Guard::DISMISSED);
    if let (false, Some((uri, uid))) = (dismissed, told.rsplit_once(' ')) {
        let _ = uid.parse().map(|uid| thaw_for(uri, uid));
    }
    true
}

/// Nobody hears what goes wrong here; the next run of kvmctl finds the guest as it is.
fn thaw_for(uri: &str, uid: Uid) {
    let deadline = Instant::now() + INSIST;
    while Instant::now() < deadline {
        let domain = Host::open(uri).and_then(|host| host.domain_by_uid(uid));
        match domain.map(|domain| insist(&domain)) {
            Ok(Ok(())) => return,
            Err(e) if e.is_not_found() => return,
            _ => thread::sleep(Duration::from_secs(1)),
        }
    }
}

/// Thaws a guest that a run of ours, now dead, may have left frozen.
///
/// # Errors
/// When it is frozen and does not thaw.
pub(super) fn thaw_leftover(domain: &Domain) -> Result<(), LibvirtError> {
    match domain.live() {
        Ok(live) if live.port_is_open(AGENT) == Some(true) => {}
        _ => return Ok(()),
    }
    match domain.is_frozen() {
        Ok(true) => insist(domain),
        // Without an agent that answers nothing can be frozen, or thawed.
        _ => Ok(()),
    }
}
