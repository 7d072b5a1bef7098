//! What there is of a network, and how a killed run's work is brought to its end.

use super::worker::NetworkWorker;
use super::{OBJECT_WAIT, delete};
use crate::api::{Kind, NetworkSpec, ObjectKey, Reporter, Uid};
use crate::engine::desired::Governed;
use crate::engine::executor::execute;
use crate::engine::options::DeleteOptions;
use crate::error::{Error, Result};
use crate::libvirt::{self, ObjectMetadata};
use crate::observe::{Plugged, Seen, World, not_found, spec_of};
use crate::plan::network as plan;
use crate::plan::network::{Activity, Settle};
use crate::store::{Annotations, Intent, IntentOp, Labels, STORE_WAIT};

/// A network of ours.
#[derive(Debug)]
pub(super) struct Found {
    /// Its definition as libvirt wrote it, with what we do not know.
    pub(super) text: String,
    /// Its definition.
    pub(super) seen: Seen,
    /// What is noted on it.
    pub(super) metadata: ObjectMetadata,
    /// What is wanted of it.
    pub(super) spec: NetworkSpec,
}

/// Name of the note that keeps what was applied last.
const LAST_APPLIED: &str = "last-applied";

/// What was last applied, for three-way merges.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct LastApplied {
    labels: Labels,
    annotations: Annotations,
    spec: NetworkSpec,
}

impl LastApplied {
    /// Returns what a manifest governs of it.
    pub(super) fn governed(&self) -> Governed<'_, NetworkSpec> {
        Governed {
            labels: &self.labels,
            annotations: &self.annotations,
            spec: &self.spec,
        }
    }
}

impl Found {
    fn of(handle: &libvirt::Network) -> Result<Option<Self>> {
        let seen = Seen::of(handle)?;
        let Some(metadata) = seen.metadata().cloned() else {
            return Ok(None);
        };
        let said = metadata.spec.as_deref();
        let spec = said
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_else(|| spec_of(&seen.configured));
        Ok(Some(Self {
            text: handle.definition_text()?,
            seen,
            metadata,
            spec,
        }))
    }

    /// Returns its identity.
    pub(super) const fn uid(&self) -> Uid {
        self.metadata.uid
    }

    /// Returns what a manifest governs of it.
    pub(super) fn governed(&self) -> Governed<'_, NetworkSpec> {
        Governed {
            labels: &self.metadata.labels,
            annotations: &self.metadata.annotations,
            spec: &self.spec,
        }
    }

    /// Returns what was applied last, where that is known.
    pub(super) fn last_applied(&self) -> Option<LastApplied> {
        let text = self.metadata.extra.get(LAST_APPLIED)?;
        serde_json::from_str(text).ok()
    }
}

/// Notes what is wanted on a network's metadata.
///
/// # Errors
/// If it cannot be written as JSON.
pub(super) fn describe(
    metadata: &mut ObjectMetadata,
    wanted: Governed<'_, NetworkSpec>,
    applied: Option<Governed<'_, NetworkSpec>>,
) -> Result<()> {
    let odd = |e: serde_json::Error| Error::failed("cannot write the spec").caused_by(e);
    metadata.labels = wanted.labels.clone();
    metadata.annotations = wanted.annotations.clone();
    metadata.spec = Some(serde_json::to_string(wanted.spec).map_err(odd)?);
    if let Some(applied) = applied {
        let last = LastApplied {
            labels: applied.labels.clone(),
            annotations: applied.annotations.clone(),
            spec: applied.spec.clone(),
        };
        let text = serde_json::to_string(&last).map_err(odd)?;
        metadata.extra.insert(LAST_APPLIED.to_owned(), text);
    }
    Ok(())
}

/// What there is of a network.
pub(super) enum Existing {
    /// Nothing.
    Nothing,
    /// It is whole.
    Whole(Box<Found>),
    /// Something was begun with it and has not ended.
    Begun(Box<Intent>),
}

/// Finds out what there is.
///
/// # Errors
/// A conflict for a network that is not ours.
pub(super) fn existing(world: &World, key: &ObjectKey) -> Result<Existing> {
    if let Some(intent) = intent_of(world, key)? {
        return Ok(Existing::Begun(Box::new(intent)));
    }
    match world.host()?.network(key.name.as_str()) {
        Ok(handle) => match Found::of(&handle)? {
            Some(found) => Ok(Existing::Whole(Box::new(found))),
            None => Err(not_ours(key)),
        },
        Err(e) if e.is_not_found() => Ok(Existing::Nothing),
        Err(e) => Err(e.into()),
    }
}

/// Returns what was begun with a network.
///
/// # Errors
/// What the store refuses.
pub(super) fn intent_of(world: &World, key: &ObjectKey) -> Result<Option<Intent>> {
    let intents: Vec<Intent> = world.store_for_reading()?.all()?;
    let mut ours = intents.into_iter();
    Ok(ours.find(|i| i.kind == Kind::Network && i.name == key.name))
}

/// Finds a whole network of ours.
///
/// # Errors
/// `NotFound` with a suggestion, or a conflict where it is not ours.
pub(super) fn find(world: &World, key: &ObjectKey) -> Result<Found> {
    let host = world.host()?;
    match host.network(key.name.as_str()) {
        Ok(handle) => Found::of(&handle)?.ok_or_else(|| not_ours(key)),
        Err(e) if e.is_not_found() => {
            let all = host.networks()?;
            let names = all.iter().map(|n| n.name.as_str());
            Err(not_found(Kind::Network, &key.name, names))
        }
        Err(e) => Err(e.into()),
    }
}

/// Finds a network of ours by its identity; nothing where it is gone.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn by_uid(world: &World, uid: Uid) -> Result<Option<Found>> {
    match world.host()?.network_by_uid(uid) {
        Ok(handle) => Found::of(&handle),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Brings to its end what a killed run began, as [`finish`] does, and locks the network for it.
///
/// # Errors
/// As [`finish`]; [`crate::error::Kind::Busy`] where another run is at it.
pub(in crate::engine) fn finish_locked(
    world: &World,
    intent: &Intent,
    reporter: &dyn Reporter,
) -> Result<&'static str> {
    let name = intent.name.as_str();
    let _object = world
        .store()?
        .lock_object(Kind::Network, name, OBJECT_WAIT)?;
    finish(world, intent, reporter)
}

/// Brings to its end what a killed run began, and returns what became of it. The caller has locked the
/// network.
///
/// A network is defined with all that is wanted of it, in one call: where there is a definition, what
/// is missing is a start, of one that is up already after a stop where the change asked for it; where there is none, nothing was done.
///
/// # Errors
/// What libvirt refuses; the intent stays.
pub(super) fn finish(
    world: &World,
    intent: &Intent,
    reporter: &dyn Reporter,
) -> Result<&'static str> {
    let key = ObjectKey::new(Kind::Network, intent.name.clone());
    let found = by_uid(world, intent.uid)?;
    let worker = NetworkWorker::new(world, intent.uid);
    match (intent.op, found) {
        (IntentOp::Delete, _) => {
            delete::delete_begun(world, &key, intent, &DeleteOptions::default(), reporter)?;
            Ok("deleted")
        }
        (IntentOp::Create, None) => {
            worker.forget()?;
            Ok("taken back")
        }
        (op, Some(found)) => {
            let restart = intent.step.as_deref() == Some(RESTART);
            let settle = match (op, restart) {
                (IntentOp::Create, _) => Settle::Up,
                // It may be up as it was before. Who has come into it since is not cut off.
                (_, true) if activity(world, &found)? == Activity::Idle => Settle::Anew,
                (_, true) => Settle::Up,
                (_, false) => Settle::AsItIs,
            };
            let plan = plan::settle(key, &found.spec, settle);
            execute(&plan, &worker, reporter)?;
            Ok(match op {
                IntentOp::Create => "created",
                _ => "configured",
            })
        }
        // Somebody else undefined it meanwhile.
        (_, None) => {
            worker.forget()?;
            Ok("deleted")
        }
    }
}

/// Returns what a network is doing.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn activity(world: &World, found: &Found) -> Result<Activity> {
    if !found.seen.active {
        return Ok(Activity::Down);
    }
    let plugged = world.plugged()?;
    let uses = |p: &Plugged| p.running && p.is_in(&found.seen.live);
    Ok(match plugged.iter().any(uses) {
        true => Activity::Used,
        false => Activity::Idle,
    })
}

/// The step of a change that takes the network down and up again.
pub(super) const RESTART: &str = "restart";

/// Keeps why something begun stands still, for the next who looks.
pub(super) fn stuck(world: &World, uid: Uid, why: &str) {
    let kept = world.store().and_then(|store| {
        let _lock = store.lock(STORE_WAIT)?;
        if let Some(mut intent) = store.get::<Intent>(&uid)? {
            intent.message = Some(why.to_owned());
            store.put(&intent)?;
        }
        Ok(())
    });
    if let Err(error) = kept {
        tracing::warn!(target: "store", "cannot write why the work stands still: {error}");
    }
}

/// Words that a network is not ours.
pub(super) fn not_ours(key: &ObjectKey) -> Error {
    Error::conflict(format!(
        "network {:?} exists but is not managed by kvmctl",
        key.name.as_str()
    ))
    .hint(format!("kvmctl adopt {key}"))
}
