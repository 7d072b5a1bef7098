//! Deletes a network, from any half-made state, unless somebody uses it.

use std::collections::BTreeSet;

use super::existing::{Existing, by_uid, existing, intent_of};
use super::worker::NetworkWorker;
use super::{OBJECT_WAIT, note};
use crate::api::{Kind, Name, ObjectKey, Reporter, Timestamp, Uid};
use crate::engine::executor::execute;
use crate::engine::networks::apply::told;
use crate::engine::options::{Applied, DeleteOptions, DryRun};
use crate::error::{Error, Result};
use crate::libvirt::xml::network::NetworkXml;
use crate::observe::{World, not_found};
use crate::plan::network as plan;
use crate::store::{InstanceRecord, Intent, IntentOp, NicRecord, STORE_WAIT};

/// Who uses a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    /// Name of the domain, which for an instance is the instance's.
    pub name: String,
    /// Whether it is an instance of kvmctl's.
    pub managed: bool,
    /// Whether it runs.
    pub running: bool,
}

impl User {
    /// Returns the instance, where it is one.
    pub fn instance(&self) -> Option<ObjectKey> {
        let name = Name::new(self.name.as_str()).ok()?;
        self.managed.then(|| ObjectKey::new(Kind::Instance, name))
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.managed, self.running) {
            (true, true) => write!(f, "instance/{}", self.name),
            (true, false) => write!(f, "instance/{} (stopped)", self.name),
            (false, true) => write!(f, "domain {:?} (unmanaged)", self.name),
            (false, false) => write!(f, "domain {:?} (unmanaged, stopped)", self.name),
        }
    }
}

/// Lists who uses a network: domains that are plugged into it, running or not, whoever made them, and
/// instances that are being made in it.
///
/// # Errors
/// `NotFound`; what the daemon refuses.
pub fn users(world: &World, key: &ObjectKey) -> Result<Vec<User>> {
    match world.host()?.network(key.name.as_str()) {
        Ok(network) => users_of(world, &network.definition()?),
        Err(e) if e.is_not_found() => match intent_of(world, key)? {
            // Half made: nobody can have got into it.
            Some(_) => Ok(Vec::new()),
            None => Err(gone(world, key)?),
        },
        Err(e) => Err(e.into()),
    }
}

fn users_of(world: &World, network: &NetworkXml) -> Result<Vec<User>> {
    let mut users: BTreeSet<User> = BTreeSet::new();
    let mut seen: BTreeSet<Uid> = BTreeSet::new();
    for plugged in world.plugged()? {
        if plugged.is_in(network) {
            seen.insert(plugged.uid);
            users.insert(User {
                name: plugged.domain,
                managed: plugged.managed,
                running: plugged.running,
            });
        }
    }
    for intent in world.store_for_reading()?.all::<Intent>()? {
        let inside = intent.nics.iter().any(|n| n.network == network.name);
        if inside && intent.op != IntentOp::Delete && !seen.contains(&intent.uid) {
            users.insert(User {
                name: intent.name.to_string(),
                managed: true,
                running: false,
            });
        }
    }
    Ok(users.into_iter().collect())
}

/// Deletes a network.
///
/// # Errors
/// `NotFound`; a conflict where somebody uses it, naming them, or where it is not ours; what libvirt
/// refuses. What is interrupted shows as Terminating, and the same command goes on.
pub(in crate::engine) fn delete(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    // What is only looked at makes no store either.
    let _object = match options.dry_run == DryRun::None {
        true => Some(
            world
                .store()?
                .lock_object(Kind::Network, key.name.as_str(), OBJECT_WAIT)?,
        ),
        false => None,
    };
    let intent = match existing(world, key)? {
        Existing::Nothing => return Err(gone(world, key)?),
        Existing::Whole(found) => Intent::new(
            IntentOp::Delete,
            Kind::Network,
            key.name.clone(),
            found.uid(),
        ),
        Existing::Begun(intent) => *intent,
    };
    delete_begun(world, key, &intent, options, reporter)
}

/// Deletes the network of an intent, for a caller that has locked the object already.
///
/// # Errors
/// As [`delete`].
pub(super) fn delete_begun(
    world: &World,
    key: &ObjectKey,
    intent: &Intent,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let found = by_uid(world, intent.uid)?;
    if let Some(found) = &found {
        refuse_used(world, key, &found.seen.live, options)?;
    }
    let active = found.as_ref().is_some_and(|f| f.seen.active);
    let plan = plan::delete(key.clone(), found.is_some(), active);
    let applied = told(&plan);
    if options.dry_run != DryRun::None {
        return Ok(applied);
    }
    begin(world, key, intent, options)?;
    execute(&plan, &NetworkWorker::new(world, intent.uid), reporter)?;
    note(world, key, intent.uid, "Deleted", "the network is gone");
    Ok(applied)
}

fn refuse_used(
    world: &World,
    key: &ObjectKey,
    network: &NetworkXml,
    options: &DeleteOptions,
) -> Result<()> {
    let mut users = users_of(world, network)?;
    users.retain(|user| !(user.managed && options.has_deleted(&user.name)));
    refuse(key, &users)
}

fn refuse(key: &ObjectKey, users: &[User]) -> Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = users.iter().map(ToString::to_string).collect();
    let refused = Error::conflict(format!("{key} is used by {}", names.join(", ")));
    Err(if users.iter().all(|u| u.managed) {
        refused.hint(format!("kvmctl delete {key} --cascade"))
    } else {
        refused.hint("virsh edit NAME takes a domain that is not kvmctl's out of the network")
    })
}

/// Writes down that the network is to go, before anything of it goes; nobody chooses an address in it
/// from then on.
fn begin(world: &World, key: &ObjectKey, intent: &Intent, options: &DeleteOptions) -> Result<()> {
    let mut intent = intent.clone();
    intent.op = IntentOp::Delete;
    intent.pid = std::process::id();
    intent.message = None;
    intent.deletion_timestamp.get_or_insert_with(Timestamp::now);
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    let mut users = newcomers(world, intent.uid)?;
    users.retain(|user| !options.has_deleted(&user.name));
    refuse(key, &users)?;
    Ok(store.put(&intent)?)
}

/// Lists the instances that have an address in a network by now, as the store knows them.
fn newcomers(world: &World, network: Uid) -> Result<Vec<User>> {
    let store = world.store()?;
    let inside = |nics: &[NicRecord]| nics.iter().any(|nic| nic.network_uid == Some(network));
    let mut users = BTreeSet::new();
    let mut note = |name: &Name| {
        users.insert(User {
            name: name.to_string(),
            managed: true,
            running: true,
        })
    };
    let making = |intent: &Intent| intent.op == IntentOp::Create && inside(&intent.nics);
    for intent in store.all::<Intent>()?.iter().filter(|i| making(i)) {
        note(&intent.name);
    }
    for record in store.all::<InstanceRecord>()? {
        // Of one whose domain somebody undefined only the record is there.
        if inside(&record.nics) && !is_gone(world, record.uid)? {
            note(&record.name);
        }
    }
    Ok(users.into_iter().collect())
}

fn is_gone(world: &World, instance: Uid) -> Result<bool> {
    match world.host()?.domain_by_uid(instance) {
        Err(e) if e.is_not_found() => Ok(true),
        found => Ok(found.map(|_| false)?),
    }
}

fn gone(world: &World, key: &ObjectKey) -> Result<Error> {
    let all = world.host()?.networks()?;
    let names = all.iter().map(|n| n.name.as_str());
    Ok(not_found(Kind::Network, &key.name, names))
}
