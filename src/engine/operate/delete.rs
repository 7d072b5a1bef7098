//! Deletes objects of all kinds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Mutex;

use super::Tell;
use super::settle::event;
use crate::api::{Kind, Name, ObjectKey, Reporter, Timestamp};
use crate::engine::batch::{Batch, run_all};
use crate::engine::options::{Applied, DeleteOptions, DryRun, WIDTH};
use crate::engine::together::only;
use crate::engine::{balancers, forwards, images, instances, networks, owned, snapshots, volumes};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::{self, Outcome, Step};
use crate::store::{STORE_WAIT, SecretRecord, SnapshotRecord, TypeRecord};

/// Deletes objects, what refers to others first.
///
/// # Errors
/// What goes wrong with single objects is in the batch.
pub fn delete(
    world: &World,
    mut keys: Vec<ObjectKey>,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
    tell: Tell<'_>,
) -> Result<Batch> {
    // One that is named twice is deleted once: it would wait for its own lock.
    let mut seen = BTreeSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    let mut sum = Batch::default();
    let gone: Mutex<Vec<ObjectKey>> = Mutex::default();
    let mut kinds: Vec<Kind> = keys.iter().map(|k| k.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let touched = kinds.iter().any(|kind| super::touches_networks(*kind));
    for kind in kinds.into_iter().rev() {
        let level: Vec<ObjectKey> = keys.iter().filter(|k| k.kind == kind).cloned().collect();
        let options = &DeleteOptions {
            gone: match options.dry_run {
                DryRun::None => Vec::new(),
                _ => owned::lock(&gone).clone(),
            },
            ..options.clone()
        };
        let told = |key: &ObjectKey, applied: Result<Applied>| {
            reporter.finished(key);
            match applied {
                Ok(applied) => {
                    owned::lock(&gone).push(key.clone());
                    tell(&applied)
                }
                Err(e) if options.ignore_not_found && e.kind() == crate::error::Kind::NotFound => {
                    Ok(())
                }
                Err(e) => Err(e),
            }
        };
        let together = |deleted: Vec<Result<Applied>>| {
            let each = deleted.into_iter().zip(&level);
            each.map(|(applied, key)| told(key, applied)).collect()
        };
        sum.merge(match kind {
            // One writing of the firewall serves for all of them, or one of what nginx is told.
            Kind::PortForward => together(forwards::delete(world, &level, options, reporter)),
            Kind::LoadBalancer => together(balancers::delete(world, &level, options, reporter)),
            // What stands on others goes first, and no two that hang together go at once.
            Kind::Snapshot => run_all(&newest_first(world, &level)?, 1, |key| {
                told(key, delete_one(world, key, options, reporter))
            }),
            _ => run_all(&level, WIDTH, |key| {
                told(key, delete_one(world, key, options, reporter))
            }),
        });
    }
    if options.dry_run == DryRun::None && touched {
        crate::engine::tidy(world, reporter);
    }
    for owner in owned::lock(&gone).iter() {
        for key in owned::secrets_of(world, owner)? {
            let left = delete_one(world, &key, options, reporter);
            sum.merge(run_all(&[key], 1, |_| {
                tell(left.as_ref().map_err(Clone::clone)?)
            }));
        }
    }
    Ok(sum)
}

fn newest_first(world: &World, keys: &[ObjectKey]) -> Result<Vec<ObjectKey>> {
    let all: Vec<SnapshotRecord> = world.store_for_reading()?.all()?;
    let taken: BTreeMap<Name, Option<Timestamp>> =
        all.into_iter().map(|r| (r.name, r.taken)).collect();
    let mut keys = keys.to_vec();
    // What was never taken stands on what was.
    keys.sort_by_key(|key| {
        let taken = taken.get(&key.name).copied().flatten();
        (taken.is_some(), Reverse(taken))
    });
    Ok(keys)
}

fn delete_one(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    if key.kind == Kind::Instance {
        return instances::delete(world, key, options, reporter);
    }
    if key.kind == Kind::Volume {
        return volumes::delete(world, key, options, reporter);
    }
    if key.kind == Kind::Snapshot {
        return snapshots::delete(world, key, options, reporter);
    }
    if key.kind == Kind::PortForward {
        return only(forwards::delete(
            world,
            slice::from_ref(key),
            options,
            reporter,
        ));
    }
    if key.kind == Kind::LoadBalancer {
        return only(balancers::delete(
            world,
            slice::from_ref(key),
            options,
            reporter,
        ));
    }
    if key.kind == Kind::Network {
        return networks::delete(world, key, options, reporter);
    }
    if key.kind == Kind::InstanceType && crate::store::is_built_in(&key.name) {
        return Err(Error::conflict(format!(
            "{key} is built in and cannot be deleted"
        )));
    }
    if key.kind != Kind::Image {
        world.get(key)?;
    }
    let step = match key.kind {
        Kind::Secret => Step::Secret(plan::secret::Step::Remove),
        Kind::InstanceType => Step::InstanceType(plan::instance_type::Step::Remove),
        Kind::Image
        | Kind::Network
        | Kind::Volume
        | Kind::Instance
        | Kind::Snapshot
        | Kind::PortForward
        | Kind::LoadBalancer => Step::Image(plan::image::Step::Record),
    };
    if options.dry_run == DryRun::None {
        match key.kind {
            Kind::Image => images::delete(world, &key.name)?,
            kind => {
                refuse_used(world, key)?;
                let store = world.store()?;
                let _lock = store.lock(STORE_WAIT)?;
                match kind {
                    Kind::Secret => store.remove::<SecretRecord>(&key.name)?,
                    _ => store.remove::<TypeRecord>(&key.name)?,
                };
            }
        }
        event(world, key, Outcome::Deleted);
    }
    let explanation = crate::engine::explain(&step, &key.name);
    Ok(Applied {
        key: key.clone(),
        outcome: Outcome::Deleted,
        notes: Vec::new(),
        explanation,
    })
}

/// Returns the instances that refer to a secret or type.
pub(super) fn users(world: &World, key: &ObjectKey) -> Result<Vec<String>> {
    let records: Vec<crate::store::InstanceRecord> = world.store_for_reading()?.all()?;
    let refers = |r: &&crate::store::InstanceRecord| {
        let mut by_env = r.spec.env.iter().filter_map(|v| v.value_from.as_ref());
        match key.kind {
            Kind::Secret => by_env.any(|s| s.secret.name == key.name),
            _ => r.spec.instance_type.as_deref() == Some(key.name.as_str()),
        }
    };
    let users = records.iter().filter(refers);
    Ok(users.map(|r| format!("instance/{}", r.name)).collect())
}

/// A secret or type that instances refer to stays: they could not be made again without it.
fn refuse_used(world: &World, key: &ObjectKey) -> Result<()> {
    let users = users(world, key)?;
    if users.is_empty() {
        return Ok(());
    }
    let hint = format!("kvmctl delete {}", users.join(" "));
    Err(Error::conflict(format!("{key} is used by {}", users.join(", "))).hint(hint))
}
