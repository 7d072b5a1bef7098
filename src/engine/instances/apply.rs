//! Makes an instance be as it is wanted: what is there decides what is to be done.

use super::super::options::{Applied, ApplyMode, ApplyOptions, DeleteOptions, DryRun};
use super::change::update;
use super::create::create;
use super::lifecycle::domain_removed;
use super::metadata::not_ours;
use super::ready;
use super::resume::{self, HalfMade};
use crate::api::{Instance, Kind, ObjectKey, Reporter};
use crate::error::{Error, Result};
use crate::libvirt::Domain;
use crate::observe::World;
use crate::plan::{ObjectPlan, Outcome};
use crate::store::{InstanceRecord, Intent, IntentOp};

/// How long to wait for another run that works on the same instance.
pub(super) const OBJECT_WAIT: std::time::Duration = std::time::Duration::from_secs(120);
/// What there is of an instance.
pub(super) enum Existing {
    Nothing,
    /// It is whole.
    Whole(Box<InstanceRecord>, Domain),
    /// Its making was begun.
    HalfMade(Box<HalfMade>),
    /// It is whole, but a change of it was begun.
    HalfChanged(Box<InstanceRecord>, Domain),
    /// Its deletion was begun, or its record is gone.
    HalfGone,
}

/// Makes or changes an instance.
///
/// # Errors
/// Usage for what cannot be; a conflict for a domain that is not ours or a field that cannot be
/// changed; what libvirt refuses. A failed creation leaves nothing behind.
pub(crate) fn apply(
    world: &World,
    instance: &Instance,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let name = instance
        .metadata
        .name
        .clone()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    let key = ObjectKey::new(Kind::Instance, name);
    let dry = options.dry_run != DryRun::None;
    let object = match dry {
        true => None,
        false => Some(world.store()?.lock_object(
            Kind::Instance,
            key.name.as_str(),
            OBJECT_WAIT,
        )?),
    };
    let existing = existing(world, &key)?;
    existing.is_meant_by(instance, &key)?;
    let applied = match existing {
        Existing::Nothing => create(world, &key, instance, None, dry, reporter)?,
        Existing::HalfMade(begun) => resume(world, &key, instance, *begun, options, reporter)?,
        Existing::HalfGone => {
            if !dry {
                super::delete::delete_locked(world, &key, &DeleteOptions::default(), reporter)?;
            }
            create(world, &key, instance, None, dry, reporter)?
        }
        Existing::Whole(..) | Existing::HalfChanged(..) if options.mode == ApplyMode::Create => {
            return Err(Error::conflict(format!(
                "{} {:?} already exists (AlreadyExists)",
                key.kind,
                key.name.as_str()
            ))
            .hint(format!("kvmctl get {key} -o yaml")));
        }
        Existing::Whole(record, domain) => {
            update(world, &key, instance, &record, &domain, options, reporter)?
        }
        Existing::HalfChanged(record, domain) => {
            if !dry {
                resume::finish_change(world, &key, &record, reporter)?;
            }
            update(world, &key, instance, &record, &domain, options, reporter)?
        }
    };
    // A guest may boot for minutes, and whoever wants to delete it meanwhile may.
    drop(object);
    if let (Some(timeout), false) = (options.wait, dry) {
        ready::wait_ready(world, &key, timeout, reporter)?;
    }
    Ok(applied)
}

impl Existing {
    /// Refuses a manifest that gives another identity than the instance has.
    fn is_meant_by(&self, instance: &Instance, key: &ObjectKey) -> Result<()> {
        let (Self::Whole(record, _) | Self::HalfChanged(record, _)) = self else {
            return Ok(());
        };
        match instance.metadata.uid {
            Some(uid) if uid != record.uid => Err(Error::conflict(format!(
                "{key} is another one: its metadata.uid is {}, the manifest says {uid}",
                record.uid
            ))
            .hint("leave metadata.uid out")),
            _ => Ok(()),
        }
    }
}

/// Finds out what there is.
///
/// # Errors
/// A conflict for a domain that is not ours.
pub(super) fn existing(world: &World, key: &ObjectKey) -> Result<Existing> {
    let store = world.store_for_reading()?;
    let intents: Vec<Intent> = store.all()?;
    let domain = match world.host()?.domain(key.name.as_str()) {
        Ok(domain) => Some(domain),
        Err(e) if e.is_not_found() => None,
        Err(e) => return Err(e.into()),
    };
    if let Some(domain) = &domain {
        let uid = domain.uid();
        let ours = domain.metadata_config()?.is_some_and(|m| m.uid == uid);
        if !ours {
            return Err(not_ours(key));
        }
    }
    let begun = |i: &Intent| {
        i.kind == Kind::Instance
            && match &domain {
                // Whatever it was named when it was begun.
                Some(domain) => i.uid == domain.uid(),
                None => i.name == key.name,
            }
    };
    let mut intent = intents.into_iter().find(begun);
    if let (Some(uid), None) = (intent.as_ref().map(|i| i.uid), &domain)
        && world.domain_of(uid)?.is_some()
    {
        // It was renamed by hand since, and what has this name now is nothing.
        intent = None;
    }
    if let Some(intent) = intent {
        let record = store.get::<InstanceRecord>(&intent.uid)?;
        return Ok(match (intent.op, record, domain) {
            (IntentOp::Create, Some(record), domain) => Existing::HalfMade(Box::new(HalfMade {
                record,
                intent,
                domain,
            })),
            (IntentOp::Update | IntentOp::Adopt, record, Some(domain)) => {
                let record = record.map_or_else(|| super::record_of(world, &domain), Ok)?;
                Existing::HalfChanged(Box::new(record), domain)
            }
            _ => Existing::HalfGone,
        });
    }
    match domain {
        Some(domain) => {
            let record = super::record_of(world, &domain)?;
            Ok(Existing::Whole(Box::new(record), domain))
        }
        None if world.lost_record(&key.name)?.is_some() => Err(domain_removed(key)),
        None => Ok(Existing::Nothing),
    }
}

/// An earlier run was cut off. Before there was a domain: goes on with its identity and addresses if
/// the same is wanted, and begins anew otherwise. After that its end is made up for, and what else
/// is wanted now is a change.
fn resume(
    world: &World,
    key: &ObjectKey,
    instance: &Instance,
    begun: HalfMade,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let dry = options.dry_run != DryRun::None;
    if let Some(domain) = begun.standing(world)? {
        let record = match dry {
            true => begun.record.clone(),
            false => begun.finish(world, key, reporter)?,
        };
        let mut applied = update(world, key, instance, &record, domain, options, reporter)?;
        applied.outcome = Outcome::Created;
        return Ok(applied);
    }
    if begun.domain.is_none() && begun.record.spec == instance.spec {
        let begun = Some((begun.record, begun.intent));
        return create(world, key, instance, begun, dry, reporter);
    }
    if !dry {
        super::delete::delete_locked(world, key, &DeleteOptions::default(), reporter)?;
    }
    create(world, key, instance, None, dry, reporter)
}

/// What is said of a plan that was carried out, or would be.
pub(super) fn told(plan: &ObjectPlan, warning: Option<String>) -> Applied {
    let mut notes = plan.notes.clone();
    notes.extend(warning);
    Applied {
        key: plan.key.clone(),
        outcome: plan.outcome,
        notes,
        explanation: plan
            .steps()
            .flat_map(|step| super::super::explain(step, &plan.key.name))
            .collect(),
    }
}
