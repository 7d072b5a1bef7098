//! How balancers are: what is wanted, joined with one look at nginx and one probe of each target.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::wanted::WantedBalancer;
use crate::api::{
    BalancerCounters, BalancerPhase, BalancerProtocol, Kind, LoadBalancer, LoadBalancerStatus,
    Name, Protocol, ResolvedTarget, Span, TargetHealth, TargetSource, TargetStatus, Uid,
};
use crate::error::{Error, Result};
use crate::host::nginx::{Nginx, NginxError, Seen};
use crate::host::probe::{Probe, Probed, probe_all};
use crate::observe::{World, not_found};
use crate::store::IntentOp;

/// One look at nginx.
#[derive(Debug)]
enum Reading {
    Of {
        nginx: Nginx,
        seen: Box<Seen>,
        counters: BTreeMap<Uid, BalancerCounters>,
    },
    /// The caller may not look, or there is no nginx here: why.
    Nothing(String),
}

impl World {
    /// Lists the balancers with how they and their targets are.
    ///
    /// # Errors
    /// What the daemon or the store refuses.
    pub fn balancers(&self) -> Result<Vec<LoadBalancer>> {
        let wanted = self.wanted_balancers()?;
        self.with_status(&wanted)
    }

    /// Looks a balancer up.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn balancer(&self, name: &Name) -> Result<LoadBalancer> {
        let wanted = self.wanted_balancers()?;
        let named: Vec<WantedBalancer> = wanted
            .iter()
            .filter(|w| w.record.name == *name)
            .cloned()
            .collect();
        let names = wanted.iter().map(|w| w.record.name.as_str());
        let mut found = self.with_status(&named)?;
        found
            .pop()
            .ok_or_else(|| not_found(Kind::LoadBalancer, name, names))
    }

    fn with_status(&self, wanted: &[WantedBalancer]) -> Result<Vec<LoadBalancer>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let reading = self.read_nginx()?;
        let mut answers = probe(wanted).into_iter();
        let is_watched = self.store_for_reading()?.is_watched();
        let object = |w: &WantedBalancer| {
            let answers: Vec<Option<Probed>> = w
                .resolved
                .targets
                .iter()
                .map(|t| asked(w, t).and_then(|_| answers.next()))
                .collect();
            let mut object = w.record.object();
            let checked = w.record.spec.health_check.is_some();
            object.status = Some(LoadBalancerStatus {
                watched: checked.then_some(is_watched),
                ..status(w, &answers, &reading)
            });
            object
        };
        Ok(wanted.iter().map(object).collect())
    }

    fn read_nginx(&self) -> Result<Reading> {
        let nginx = match self.nginx() {
            Ok(nginx) => nginx,
            Err(e) => return Ok(Reading::Nothing(e.message().to_owned())),
        };
        let look = || Ok::<_, NginxError>((nginx.seen()?, nginx.counters()?));
        match look() {
            Ok((seen, counters)) => Ok(Reading::Of {
                nginx,
                seen: Box::new(seen),
                counters,
            }),
            Err(e) => Ok(Reading::Nothing(Error::from(e).to_string())),
        }
    }
}

/// Returns where a target is asked, if it can be.
fn asked(wanted: &WantedBalancer, target: &ResolvedTarget) -> Option<SocketAddr> {
    let can = wanted.record.spec.protocol() != BalancerProtocol::Udp;
    target.address.as_ref().ok().copied().filter(|_| can)
}

/// Asks all targets at once, in their order.
fn probe(wanted: &[WantedBalancer]) -> Vec<Probed> {
    let mut probes = Vec::new();
    for w in wanted {
        let check = w.record.spec.health_check.clone().unwrap_or_default();
        for target in &w.resolved.targets {
            probes.extend(asked(w, target).map(|at| Probe {
                at,
                protocol: w.record.spec.protocol(),
                path: check.path.clone(),
                patience: check.timeout().duration().min(Span::seconds(5).duration()),
            }));
        }
    }
    probe_all(&probes)
}

fn status(
    wanted: &WantedBalancer,
    answers: &[Option<Probed>],
    reading: &Reading,
) -> LoadBalancerStatus {
    let seen = match reading {
        Reading::Of { seen, .. } => Some(&**seen),
        Reading::Nothing(_) => None,
    };
    let transport = wanted.record.spec.protocol().transport();
    let targets: Vec<TargetStatus> = wanted
        .resolved
        .targets
        .iter()
        .zip(&wanted.sources)
        .zip(answers)
        .map(|((target, source), answer)| {
            let open = |at| seen.map(|s| s.connections.to_target(transport, at));
            target_status(target, *source, answer.as_ref(), open)
        })
        .collect();
    let (phase, reason, message) = judged(wanted, &targets, reading);
    let healthy = targets.iter().filter(|t| t.health == TargetHealth::Healthy);
    LoadBalancerStatus {
        phase,
        reason: reason.map(str::to_owned),
        message,
        listen: listening(wanted, seen),
        // Nobody can tell from outside whether somebody takes packets.
        healthy: u32::try_from(healthy.count())
            .ok()
            .filter(|_| transport == Protocol::Tcp),
        targets,
        watched: None,
        counters: match reading {
            Reading::Of { seen, counters, .. } => {
                let counted = counters.get(&wanted.record.uid).cloned();
                counted.map(|counted| BalancerCounters {
                    connections: open_now(wanted, seen),
                    ..counted
                })
            }
            Reading::Nothing(_) => None,
        },
        observed_generation: Some(wanted.record.generation),
    }
}

fn sockets(wanted: &WantedBalancer) -> impl Iterator<Item = &SocketAddr> {
    let resolved = &wanted.resolved;
    resolved.listen.iter().chain(&resolved.redirect)
}

/// Returns those of its sockets that nginx really listens on.
fn listening(wanted: &WantedBalancer, seen: Option<&Seen>) -> Vec<SocketAddr> {
    let transport = wanted.record.spec.protocol().transport();
    let listens = |at: &&SocketAddr| seen.is_some_and(|s| s.listens(transport, **at));
    sockets(wanted).filter(listens).copied().collect()
}

/// Counts the clients that are connected; packets come without a connection.
fn open_now(wanted: &WantedBalancer, seen: &Seen) -> Option<u64> {
    let transport = wanted.record.spec.protocol().transport();
    let count = |at: &SocketAddr| seen.connections.of_clients(transport, *at);
    (transport == Protocol::Tcp).then(|| sockets(wanted).map(count).sum())
}

fn target_status(
    target: &ResolvedTarget,
    source: TargetSource,
    answer: Option<&Probed>,
    open: impl FnOnce(SocketAddr) -> Option<u64>,
) -> TargetStatus {
    let address = target.address.as_ref().ok().copied();
    let health = match (&target.address, answer) {
        (Err(_), _) => TargetHealth::Unresolved,
        (Ok(_), _) if target.target.is_draining() => TargetHealth::Draining,
        (Ok(_), Some(answer)) => answer.health,
        (Ok(_), None) => TargetHealth::Unknown,
    };
    let unresolved = target.address.as_ref().err();
    let error = answer.and_then(|a| a.error.clone());
    TargetStatus {
        instance: target.target.instance.clone(),
        port: target.target.port,
        source,
        health,
        address,
        weight: target.target.weight(),
        backup: target.target.is_backup(),
        out: target.out,
        latency_micros: answer
            .and_then(|a| a.latency)
            .and_then(|l| u64::try_from(l.as_micros()).ok()),
        connections: address.and_then(open),
        reason: unresolved.map(|u| u.reason.clone()),
        last_error: unresolved.map(|u| u.message.clone()).or(error),
    }
}

type Judgement = (BalancerPhase, Option<&'static str>, Option<String>);

/// What was begun outranks what is seen, as for instances.
fn judged(wanted: &WantedBalancer, targets: &[TargetStatus], reading: &Reading) -> Judgement {
    if let Some(judgement) = begun(wanted) {
        return judgement;
    }
    let because = |phase, reason, message: String| (phase, Some(reason), Some(message));
    let (nginx, seen) = match reading {
        Reading::Of { nginx, seen, .. } => (nginx, seen),
        Reading::Nothing(why) => {
            return because(BalancerPhase::Unknown, "CannotLook", why.clone());
        }
    };
    let mends = "kvmctl reconcile puts it right";
    if seen.running.is_none() {
        let message = format!("nginx does not run: {mends}");
        return because(BalancerPhase::Down, "NotRunning", message);
    }
    let listens: BTreeSet<SocketAddr> = listening(wanted, Some(seen)).into_iter().collect();
    if let Some(missing) = sockets(wanted).find(|at| !listens.contains(at)) {
        let message = format!("nginx does not listen on {missing}: {mends}");
        return because(BalancerPhase::Down, "NotListening", message);
    }
    if !seen.in_force || !nginx.is_current(&wanted.resolved).unwrap_or(false) {
        let message = format!("nginx serves what it was once, and not what is wanted now: {mends}");
        return because(BalancerPhase::Stale, "Outdated", message);
    }
    by_targets(targets)
}

fn by_targets(targets: &[TargetStatus]) -> Judgement {
    let bad =
        |t: &&TargetStatus| matches!(t.health, TargetHealth::Unhealthy | TargetHealth::Unresolved);
    let (down, all) = (targets.iter().filter(bad).count(), targets.len());
    let (reason, message) = match (down, all) {
        (_, 0) => ("NoTargets", "it has no target".to_owned()),
        (0, _) => return (BalancerPhase::Active, None, None),
        (n, all) if n == all => ("NoTargetAnswers", "none of its targets answers".to_owned()),
        (n, all) => ("TargetsDown", format!("{n} of {all} targets do not answer")),
    };
    (BalancerPhase::Degraded, Some(reason), Some(message))
}

fn begun(wanted: &WantedBalancer) -> Option<Judgement> {
    let record = &wanted.record;
    let (phase, reason) = match record.begun? {
        IntentOp::Create => (BalancerPhase::Pending, "CreateInterrupted"),
        IntentOp::Delete => (BalancerPhase::Terminating, "DeleteInterrupted"),
        IntentOp::Update | IntentOp::Adopt => (BalancerPhase::Stale, "ChangeInterrupted"),
    };
    let (name, pid) = (&record.name, record.pid.unwrap_or_default());
    let message = format!(
        "process {pid} has not finished it; if it has ended: kvmctl reconcile, or: kvmctl delete \
         loadbalancer {name}"
    );
    Some((phase, Some(reason), Some(message)))
}
