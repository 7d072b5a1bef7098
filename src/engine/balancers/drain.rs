//! `drain`: a target gets no new connections, and those that are open are waited for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::note;
use super::targets::{change, find, no_target};
use crate::api::{BalancerTarget, Name, ObjectKey, PortNumber, Reporter, TargetSource};
use crate::engine::options::{Applied, DryRun};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::observe::World;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to drain, and how long.
#[derive(Debug, Clone)]
pub struct DrainRequest {
    /// The targets, each named by its instance, or by instance and port.
    pub targets: Vec<(Name, Option<PortNumber>)>,
    /// How long open connections are waited for; not at all when nothing is said.
    pub timeout: Option<Duration>,
    /// How far to go.
    pub dry_run: DryRun,
}

/// Drains targets of a balancer.
///
/// # Errors
/// `NotFound` for a target that is none; `Timeout` while connections are still open: the targets stay
/// drained, and the same command waits on.
pub fn drain(
    world: &World,
    key: &ObjectKey,
    request: &DrainRequest,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let whereabouts = world.whereabouts()?;
    let mut applied = change(world, key, request.dry_run, reporter, |record, spec| {
        let targets = whereabouts.targets(spec);
        for (instance, port) in &request.targets {
            let named = |t: &BalancerTarget| is_named(t, instance, *port);
            if !targets.iter().any(|(t, _)| named(t)) {
                return Err(no_target(world, record, instance, *port)?);
            }
            // One that only its labels made a target stands in the list from now on.
            let selected = targets.iter().filter(|(_, s)| *s == TargetSource::Selected);
            let selected = selected.filter(|(t, _)| named(t));
            spec.targets.extend(selected.map(|(t, _)| t.clone()));
            for target in spec.targets.iter_mut().filter(|t| named(t)) {
                target.drain = Some(true);
            }
        }
        Ok(())
    })?;
    if request.dry_run != DryRun::None {
        return Ok(applied);
    }
    let Some(timeout) = request.timeout else {
        return Ok(applied);
    };
    wait(world, key, request, timeout, reporter)?;
    applied
        .notes
        .push("no connection is open any more".to_owned());
    Ok(applied)
}

fn is_named(target: &BalancerTarget, instance: &Name, port: Option<PortNumber>) -> bool {
    target.instance == *instance && port.is_none_or(|port| target.port == port)
}

fn wait(
    world: &World,
    key: &ObjectKey,
    request: &DrainRequest,
    timeout: Duration,
    reporter: &dyn Reporter,
) -> Result<()> {
    let record = find(world, key)?;
    let uid = record.uid;
    let wanted = world.resolve(record, &world.whereabouts()?)?;
    let drained = wanted.resolved.targets.iter().filter(|t| {
        let mut asked = request.targets.iter();
        asked.any(|(instance, port)| is_named(&t.target, instance, *port))
    });
    let sockets: BTreeMap<String, SocketAddr> = drained
        .filter_map(|t| Some((t.target.to_string(), *t.address.as_ref().ok()?)))
        .collect();
    let protocol = wanted.record.spec.protocol().transport();
    let nginx = world.nginx()?;
    let begin = Instant::now();
    loop {
        let seen = nginx.seen()?;
        let open: Vec<(&String, u64)> = sockets
            .iter()
            // Workers that came since open none; those to the same target for other balancers stay.
            .map(|(name, at)| (name, seen.retired.to_target(protocol, *at)))
            .filter(|(_, n)| *n > 0)
            .collect();
        if open.is_empty() {
            let names: Vec<&str> = sockets.keys().map(String::as_str).collect();
            note(world, key, uid, "Drained", &names.join(", "));
            return Ok(());
        }
        let open: Vec<String> = open
            .iter()
            .map(|(name, n)| format!("{name} has {n}"))
            .collect();
        let open = open.join(", ");
        if begin.elapsed() >= timeout {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("timed out waiting for the open connections: {open}"),
            )
            .caused_by("they get no new ones; the same command waits on")
            .hint(format!("kvmctl describe {key}")));
        }
        reporter.phase(key, &format!("waiting for open connections: {open}"));
        crate::engine::interrupted()?;
        thread::sleep(LOOK_EVERY.min(timeout.saturating_sub(begin.elapsed())));
    }
}
