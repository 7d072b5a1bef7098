//! `reconcile`: finishes what a killed run began, and finds what is not as it should be.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::options::{ApplyMode, ApplyOptions, DeleteOptions, DryRun};
use super::{balancers, forwards, instances, networks, replug, reservations, snapshots, volumes};
use crate::api::{API_VERSION, Instance, Kind, Name, ObjectKey, ObjectMeta, Reporter, Uid};
use crate::error::{Error, Result};
use crate::libvirt::DomainBrief;
use crate::observe::World;
use crate::store::{InstanceRecord, Intent, IntentOp, STORE_WAIT, SlotTable};

/// Something that is not as it should be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The object, as `instance/web`.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// Whether it was mended.
    pub mended: bool,
    /// What was done, or why it could not be.
    pub action: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.object, self.problem, self.action)
    }
}

/// Finds what is to be done, and changes nothing.
///
/// # Errors
/// What the store or libvirt refuses.
pub fn check(world: &World) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = intents(world)?
        .into_iter()
        .map(|intent| Finding {
            object: key_of(&intent).to_string(),
            problem: problem(&intent).to_owned(),
            mended: false,
            action: "kvmctl reconcile finishes it".to_owned(),
        })
        .collect();
    let briefs = world.host()?.domain_briefs()?;
    findings.extend(orphans(world, &briefs)?.iter().map(orphan));
    findings.extend(replug::check(world)?);
    findings.extend(reservations::check(world, &briefs)?);
    findings.extend(forwards::check(world)?);
    findings.extend(balancers::check(world)?);
    Ok(findings)
}

/// Finishes what was begun.
///
/// # Errors
/// What the store or libvirt refuses; what goes wrong with one object is in its finding.
pub fn run(world: &World, reporter: &dyn Reporter) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    crate::host::sweep_seeds();
    volumes::sweep(world);
    for intent in intents(world)? {
        super::signal::interrupted()?;
        let key = key_of(&intent);
        let finished = finish(world, &intent, reporter);
        reporter.finished(&key);
        findings.push(Finding {
            object: key.to_string(),
            problem: problem(&intent).to_owned(),
            mended: finished.is_ok(),
            action: finished.unwrap_or_else(|error| error.to_string()),
        });
    }
    let briefs = world.host()?.domain_briefs()?;
    findings.extend(orphans(world, &briefs)?.iter().map(orphan));
    findings.extend(free_slots(world, &briefs)?);
    // What goes wrong with one part keeps no other from being put right.
    let parts: [(&str, Part<'_>); 4] = [
        ("interfaces", &|| replug::mend(world)),
        ("addresses", &|| reservations::mend(world, &briefs)),
        ("forwards", &|| forwards::mend(world, reporter)),
        ("load balancers", &|| balancers::mend(world, reporter)),
    ];
    for (name, mend) in parts {
        match mend() {
            Ok(found) => findings.extend(found),
            Err(error) if stops(&error) => return Err(error),
            Err(error) => findings.push(unseen(name, &error)),
        }
    }
    Ok(findings)
}

/// Puts one part of the world right.
type Part<'p> = &'p dyn Fn() -> Result<Vec<Finding>>;

/// Whether going on is in vain: the daemon is gone, or a signal has come.
fn stops(error: &Error) -> bool {
    use crate::error::Kind;
    super::signal::interrupted().is_err() || error.kind() == Kind::Unavailable
}

fn unseen(part: &str, error: &Error) -> Finding {
    Finding {
        object: part.to_owned(),
        problem: "cannot be looked at".to_owned(),
        mended: false,
        action: error.to_string(),
    }
}

/// Gives back the addresses whose instance is nowhere any more. One that was made since the domains
/// were listed has a record or an intent.
fn free_slots(world: &World, briefs: &[DomainBrief]) -> Result<Vec<Finding>> {
    let store = world.store()?;
    let lock = store.lock(STORE_WAIT)?;
    let mut living: BTreeSet<Uid> = briefs.iter().map(|b| b.uid).collect();
    living.extend(store.all::<InstanceRecord>()?.into_iter().map(|r| r.uid));
    living.extend(store.all::<Intent>()?.into_iter().map(|i| i.uid));
    let mut findings = Vec::new();
    for table in store.all::<SlotTable>()? {
        let lost: Vec<_> = table.used().filter(|(_, u)| !living.contains(u)).collect();
        for (ip, uid) in lost {
            store.update_slots(&lock, table.network, &table.name, |table| {
                table.take_back(uid);
                Ok::<(), Error>(())
            })?;
            findings.push(Finding {
                object: format!("network/{}", table.name),
                problem: format!("had {ip} given out to an instance that is gone"),
                mended: true,
                action: "given back".to_owned(),
            });
        }
    }
    Ok(findings)
}

/// Collects what was begun and nobody is at any more.
fn intents(world: &World) -> Result<Vec<Intent>> {
    // What others stand on first.
    let mut begun: Vec<_> = world.begun(Kind::Network)?.into_values().collect();
    begun.extend(world.begun(Kind::Volume)?.into_values());
    begun.extend(world.begun(Kind::Snapshot)?.into_values());
    begun.extend(world.intents()?.into_values());
    let left = begun.into_iter().filter(|b| !b.working);
    Ok(left.map(|b| b.intent).collect())
}

fn key_of(intent: &Intent) -> ObjectKey {
    ObjectKey::new(intent.kind, intent.name.clone())
}

const fn problem(intent: &Intent) -> &'static str {
    match intent.op {
        IntentOp::Create => "was being created",
        IntentOp::Update => "was being changed",
        IntentOp::Delete => "was being deleted",
        IntentOp::Adopt => "was being adopted",
    }
}

fn finish(world: &World, intent: &Intent, reporter: &dyn Reporter) -> Result<String> {
    if intent.kind == Kind::Network {
        return networks::finish_locked(world, intent, reporter).map(str::to_owned);
    }
    if intent.kind == Kind::Volume {
        return volumes::finish(world, intent, reporter);
    }
    if intent.kind == Kind::Snapshot {
        return snapshots::finish(world, intent, reporter);
    }
    let key = key_of(intent);
    let record = world
        .store_for_reading()?
        .get::<InstanceRecord>(&intent.uid)?;
    if let (IntentOp::Create | IntentOp::Update | IntentOp::Adopt, Some(record)) =
        (intent.op, record)
    {
        // Somebody may have renamed it by hand since.
        let named = world.domain_of(intent.uid)?;
        let named = named.and_then(|domain| Name::new(domain.name()).ok());
        let instance = Instance {
            api_version: API_VERSION.to_owned(),
            kind: "Instance".to_owned(),
            metadata: ObjectMeta {
                labels: record.labels.clone(),
                annotations: record.annotations.clone(),
                ..ObjectMeta::named(named.unwrap_or_else(|| record.name.clone()))
            },
            spec: record.spec,
            status: None,
        };
        let options = ApplyOptions {
            mode: ApplyMode::Apply,
            dry_run: DryRun::None,
            wait: None,
            error_unchanged: false,
        };
        instances::apply(world, &instance, &options, reporter)?;
        let done = match intent.op {
            IntentOp::Create => "created",
            _ => "configured",
        };
        return Ok(done.to_owned());
    }
    let options = DeleteOptions {
        grace: 0,
        ..DeleteOptions::default()
    };
    instances::delete(world, &key, &options, reporter)?;
    Ok("deleted".to_owned())
}

/// Records whose domain was undefined by somebody else; their disks may hold data, so they are told
/// and not touched.
fn orphans(world: &World, briefs: &[DomainBrief]) -> Result<Vec<InstanceRecord>> {
    let pending: Vec<_> = world.intents()?.into_keys().collect();
    let records: Vec<InstanceRecord> = world.store_for_reading()?.all()?;
    let alive = |uid| briefs.iter().any(|b| b.uid == uid) || pending.contains(&uid);
    Ok(records.into_iter().filter(|r| !alive(r.uid)).collect())
}

fn orphan(record: &InstanceRecord) -> Finding {
    Finding {
        object: format!("instance/{}", record.name),
        problem: "has lost its domain".to_owned(),
        mended: false,
        action: format!("kvmctl delete instance {} removes its disks", record.name),
    }
}
