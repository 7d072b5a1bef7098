//! One change: written, tested, put into force, and looked at; or undone.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use super::binary::{Binary, reason};
use super::ending::{end, retire_orphans, stop};
use super::error::NginxError;
use super::home::{Generation, Home};
use super::ports::Ports;
use super::process::{Processes, signal};
use super::{Did, control, sockets};
use crate::api::{HostFile, Protocol};
use crate::host::render::nginx::{Instance, Site, WorkerUser, main_file};

/// A reload of hundreds of balancers takes a second or two.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const PAUSE: Duration = Duration::from_millis(3);
const MOST_PAUSE: Duration = Duration::from_millis(25);

/// A configuration as it is to be.
struct Wanted<'a> {
    sites: Vec<&'a Site>,
    instance: Instance,
    generation: Generation,
    name: String,
    sockets: BTreeSet<(Protocol, SocketAddr)>,
}

/// Makes the balancers be those in force.
pub(super) fn bring_into_force(
    home: &Home,
    running: &Processes,
    sites: &[&Site],
) -> Result<Did, NginxError> {
    if sites.is_empty() {
        return stop(home, running);
    }
    let binary = Binary::find()?;
    retire_orphans(running)?;
    let wanted = wanted(&binary, sites)?;
    if is_in_force(home, running, &wanted) {
        home.sweep(sites)?;
        return Ok(Did::Nothing);
    }
    let fresh = Ports::now(running.clone()).check(sites)?;
    make_way(home, &binary, running, &wanted, &fresh)?;
    put(home, &binary, &wanted)
}

fn wanted<'a>(binary: &Binary, sites: &[&'a Site]) -> Result<Wanted<'a>, NginxError> {
    let streams = sites.iter().any(|s| s.is_stream());
    let mut instance = Instance {
        stream: streams.then(|| binary.stream()).transpose()?,
        stream_tls: binary.stream_tls(),
        user: worker_user(),
        generation: [0; 32],
    };
    let mut hash = Sha256::new();
    hash.update(main_file(&instance, sites));
    for site in sites {
        hash.update(&site.text);
        if let Some(pair) = site.tls() {
            hash.update(stamp(&pair.certificate_file));
            hash.update(stamp(&pair.key_file));
        }
    }
    instance.generation = hash.finalize().into();
    let name: String = instance
        .generation
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    Ok(Wanted {
        sites: sites.to_vec(),
        generation: Generation::of(&instance.generation),
        instance,
        name,
        sockets: sites.iter().flat_map(|s| s.sockets()).collect(),
    })
}

/// Returns whether what these sites would be now, with their certificates, is on disk.
pub(super) fn is_on_disk(home: &Home, sites: &[Site]) -> Result<bool, NginxError> {
    let mut sites: Vec<&Site> = sites.iter().collect();
    sites.sort_by(|a, b| a.file.cmp(&b.file));
    let wanted = wanted(&Binary::find()?, &sites)?;
    Ok(home.live().is_none_or(|live| live == wanted.generation))
}

/// A certificate that was renewed in its place is another configuration.
fn stamp(file: &HostFile) -> String {
    std::fs::metadata(file.as_str()).map_or_else(
        |_| "missing".to_owned(),
        |m| format!("{} {} {} {}", m.ino(), m.size(), m.mtime(), m.mtime_nsec()),
    )
}

fn worker_user() -> WorkerUser {
    if !rustix::process::geteuid().is_root() {
        WorkerUser::Caller
    } else if crate::store::group_id("nogroup").is_some() {
        WorkerUser::NobodyNogroup
    } else {
        WorkerUser::NobodyNobody
    }
}

/// Returns the name of the generation on disk, from its own file.
pub(super) fn generation_on_disk(home: &Home) -> Option<String> {
    let text = std::fs::read_to_string(super::within(home, &Home::live_main_file())).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("return 200 "))?;
    line.strip_suffix(';').map(str::to_owned)
}

fn is_in_force(home: &Home, running: &Processes, wanted: &Wanted<'_>) -> bool {
    let Some(master) = running.master else {
        return false;
    };
    home.live().as_ref() == Some(&wanted.generation)
        && control::generation(home.path()).as_deref() == Some(&wanted.name)
        && missing(master, wanted).is_none()
}

/// A socket for all addresses and one for a single address cannot both be bound to a port, not even
/// for the moment in which nginx has the old and the new. Only where one becomes the other, the port
/// is left for that moment.
fn make_way(
    home: &Home,
    binary: &Binary,
    running: &Processes,
    new: &Wanted<'_>,
    fresh: &[(Protocol, SocketAddr)],
) -> Result<(), NginxError> {
    let Some(master) = running.master.filter(|_| !fresh.is_empty()) else {
        return Ok(());
    };
    let held = sockets::listening(master);
    let in_the_way = |(protocol, at): &(Protocol, SocketAddr)| {
        held.iter().any(|(p, bound)| {
            let overlap = sockets::covers(*bound, *at) || sockets::covers(*at, *bound);
            let kept = sockets::covers(*bound, *at) && new.sockets.contains(&(*p, *bound));
            p == protocol && bound != at && overlap && !kept
        })
    };
    let ports: BTreeSet<_> = fresh.iter().filter(|s| in_the_way(s)).collect();
    let ports: BTreeSet<_> = ports.iter().map(|(p, at)| (*p, at.port())).collect();
    if ports.is_empty() {
        return Ok(());
    }
    let stays = |site: &&Site| {
        let sockets = site.sockets();
        !sockets
            .iter()
            .any(|(p, at)| ports.contains(&(*p, at.port())))
    };
    let rest: Vec<&Site> = new.sites.iter().copied().filter(stays).collect();
    put(home, binary, &wanted(binary, &rest)?).map(drop)
}

/// Writes, tests, swaps, lets nginx take it over and looks; what fails is undone.
fn put(home: &Home, binary: &Binary, wanted: &Wanted<'_>) -> Result<Did, NginxError> {
    let before = home.live();
    if before.as_ref() != Some(&wanted.generation) {
        let main = main_file(&wanted.instance, &wanted.sites);
        home.stage(&wanted.generation, &main, &wanted.sites)?;
        if let Err(error) = binary.test(home.path(), &wanted.generation.main_file()) {
            home.discard(&wanted.generation)?;
            return Err(error);
        }
        home.swap(&wanted.generation)?;
    }
    match take_over(home, binary, wanted) {
        Ok(did) => {
            home.sweep(&wanted.sites)?;
            Ok(did)
        }
        Err(error) => Err(undo(home, wanted, before, error)),
    }
}

fn take_over(home: &Home, binary: &Binary, wanted: &Wanted<'_>) -> Result<Did, NginxError> {
    home.trim_error_log();
    let said_before = log_length(home);
    let running = Processes::of(home.path());
    let Some(master) = running.master else {
        home.remove_stale_socket()?;
        binary.start(home.path(), &Home::live_main_file())?;
        wait_for(home, wanted, &[], said_before)?;
        return Ok(Did::Started);
    };
    signal(master, Signal::HUP).map_err(|e| NginxError::io("signal", home.path(), e))?;
    wait_for(home, wanted, &running.workers, said_before)?;
    Ok(Did::Reloaded)
}

/// Waits until workers with the configuration have taken the place of the old ones and listen.
fn wait_for(
    home: &Home,
    wanted: &Wanted<'_>,
    old: &[i32],
    said_before: u64,
) -> Result<(), NginxError> {
    let begin = Instant::now();
    let mut pause = PAUSE;
    loop {
        if let Some(why) = complaint(home, said_before) {
            return Err(not_in_force(why));
        }
        let now = Processes::of(home.path());
        let old_work_on = old.iter().any(|pid| now.workers.contains(pid));
        if let Some(master) = now.master
            && !now.workers.is_empty()
            && !old_work_on
            && control::generation(home.path()).as_deref() == Some(&wanted.name)
        {
            return match missing(master, wanted) {
                None => Ok(()),
                Some((protocol, at)) => Err(not_in_force(format!(
                    "it does not listen at {at}/{protocol}"
                ))),
            };
        }
        if begin.elapsed() > PATIENCE {
            let why = if now.master.is_none() {
                "it ended by itself"
            } else {
                "its new workers did not come"
            };
            return Err(not_in_force(why.to_owned()));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(MOST_PAUSE);
    }
}

pub(super) const fn not_in_force(why: String) -> NginxError {
    NginxError::NotInForce {
        why,
        restored: false,
    }
}

/// Returns a socket that clients would not reach.
fn missing(master: i32, wanted: &Wanted<'_>) -> Option<(Protocol, SocketAddr)> {
    let listening = sockets::listening(master);
    let mut others = wanted.sockets.difference(&listening);
    let reached = |(protocol, at): &&(Protocol, SocketAddr)| {
        let mut all = listening.iter();
        all.any(|(p, bound)| p == protocol && sockets::covers(*bound, *at))
    };
    others.find(|s| !reached(s)).copied()
}

fn log_length(home: &Home) -> u64 {
    std::fs::metadata(home.error_log()).map_or(0, |m| m.len())
}

/// Returns what nginx has said since that keeps it from taking the configuration over.
fn complaint(home: &Home, since: u64) -> Option<String> {
    if log_length(home) <= since {
        return None;
    }
    let bytes = std::fs::read(home.error_log()).ok()?;
    let new = String::from_utf8_lossy(bytes.get(usize::try_from(since).ok()?..)?).into_owned();
    new.contains("[emerg]").then(|| reason(&new))
}

/// Puts what was before into force again.
fn undo(
    home: &Home,
    wanted: &Wanted<'_>,
    before: Option<Generation>,
    error: NginxError,
) -> NginxError {
    let restored = match before {
        Some(before) if before != wanted.generation => restore(home, &before).is_ok(),
        Some(_) => false,
        None => home.unset().and_then(|()| end(home)).is_ok(),
    };
    if home.live().as_ref() != Some(&wanted.generation) {
        // What cannot be removed now is swept by the next change.
        let _ = home.discard(&wanted.generation);
    }
    match error {
        NginxError::NotInForce { why, .. } => NginxError::NotInForce { why, restored },
        other => other,
    }
}

fn restore(home: &Home, before: &Generation) -> Result<(), NginxError> {
    home.swap(before)?;
    let running = Processes::of(home.path());
    let Some(master) = running.master else {
        return Err(not_in_force("it ended by itself".to_owned()));
    };
    signal(master, Signal::HUP).map_err(|e| NginxError::io("signal", home.path(), e))?;
    let begin = Instant::now();
    while control::generation(home.path()) != generation_on_disk(home) {
        if begin.elapsed() > PATIENCE {
            return Err(not_in_force(
                "the old configuration did not come back".to_owned(),
            ));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
