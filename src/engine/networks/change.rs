//! Changes a network that is there: three-way merge, plan, and the change itself.

use super::allocate::{check_host, place_of};
use super::apply::{governed, key_of, told};
use super::definition::{build, edit};
use super::existing::{Found, RESTART, activity, describe, find, finish, finish_locked, intent_of};
use super::worker::NetworkWorker;
use super::{OBJECT_WAIT, note};
use crate::api::{
    API_VERSION, Cidr, Kind, Name, Network, NetworkSpec, Object, ObjectKey, ObjectMeta, Reporter,
    Silent,
};
use crate::engine::desired::Desired;
use crate::engine::executor::execute;
use crate::engine::instances::Sides;
use crate::engine::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::xml::network::NetworkXml;
use crate::manifest;
use crate::observe::World;
use crate::plan::network::{Step, change};
use crate::plan::{ObjectPlan, Outcome, Step as AnyStep};
use crate::store::{Intent, IntentOp, STORE_WAIT};

/// Makes a network be what is wanted, where it is something else. The caller has locked it.
///
/// # Errors
/// A conflict for a field that cannot be changed; what libvirt refuses. A failed change is taken back.
pub(super) fn update(
    world: &World,
    key: &ObjectKey,
    wanted: &Network,
    found: &Found,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let merged = merged(found, wanted, options.mode)?;
    if merged.is(found.governed()) {
        let mut applied = told(&ObjectPlan::unchanged(key.clone()));
        applied.notes.extend(merged.kept_note());
        return Ok(applied);
    }
    let plan = plan_update(world, key, found, &merged.spec)?;
    let mut applied = told(&plan);
    applied.notes.extend(merged.kept_note());
    if options.dry_run != DryRun::None {
        return Ok(applied);
    }
    if merged.spec.device != found.spec.device {
        check_host(world, &merged.spec)?;
    }
    let text = changed(key, found, &merged, wanted)?;
    begin(world, key, found, &plan)?;
    let worker = NetworkWorker::changing(world, found.uid(), text);
    if let Err(failed) = execute(&plan, &worker, reporter) {
        return Err(taken_back(world, found, failed.error));
    }
    note(
        world,
        key,
        found.uid(),
        "Configured",
        "the network was changed",
    );
    Ok(applied)
}

fn merged(found: &Found, wanted: &Network, mode: ApplyMode) -> Result<Desired<NetworkSpec>> {
    let last = found.last_applied();
    Desired::by(
        mode,
        last.as_ref().map(|l| l.governed()),
        governed(wanted),
        found.governed(),
    )
}

fn plan_update(
    world: &World,
    key: &ObjectKey,
    found: &Found,
    new: &NetworkSpec,
) -> Result<ObjectPlan> {
    let activity = activity(world, found)?;
    change(key.clone(), &in_force(found), new, activity).map_err(|refused| {
        Error::conflict(format!(
            "The Network {:?} is invalid: {refused}",
            key.name.as_str()
        ))
        .hint("delete the network and apply again, to make it anew")
    })
}

/// The spec with what was chosen where nothing was said, so that to say it afterwards changes nothing.
fn in_force(found: &Found) -> NetworkSpec {
    let mut spec = found.spec.clone();
    if spec.mode().has_own_bridge() {
        let place = place_of(&found.seen.configured);
        spec.cidr = place.ipv4.map(|(cidr, _)| Cidr::new(cidr));
        spec.gateway = place.ipv4.map(|(_, gateway)| gateway);
        spec.bridge = place.bridge;
    }
    spec
}

/// The definition with the change in it; whatever no spec says stays as it is.
fn changed(
    key: &ObjectKey,
    found: &Found,
    merged: &Desired<NetworkSpec>,
    wanted: &Network,
) -> Result<String> {
    let mut metadata = found.metadata.clone();
    if merged.spec != found.spec {
        metadata.generation += 1;
    }
    let new = crate::engine::desired::Governed {
        labels: &merged.labels,
        annotations: &merged.annotations,
        spec: &merged.spec,
    };
    describe(&mut metadata, new, Some(governed(wanted)))?;
    let place = place_of(&found.seen.configured);
    let as_of = |spec: &NetworkSpec, metadata| -> Result<NetworkXml> {
        build(&key.name, found.uid(), spec, &place, metadata)
    };
    let before = as_of(&found.spec, found.metadata.clone())?;
    let after = as_of(&merged.spec, metadata)?;
    edit(&found.text, &before, &after)
}

/// Writes down what is about to be changed, before anything is.
fn begin(world: &World, key: &ObjectKey, found: &Found, plan: &ObjectPlan) -> Result<()> {
    let mut intent = Intent::new(
        IntentOp::Update,
        Kind::Network,
        key.name.clone(),
        found.uid(),
    );
    if plan.steps().any(|s| *s == AnyStep::Network(Step::Stop)) {
        intent.step = Some(RESTART.to_owned());
    }
    let store = world.store()?;
    let _lock = store.lock(STORE_WAIT)?;
    Ok(store.put(&intent)?)
}

/// A change that libvirt refused is no change: definition and activity are as before; otherwise the
/// intent stays.
fn taken_back(world: &World, found: &Found, error: Error) -> Error {
    let back = || -> Result<()> {
        let worker = NetworkWorker::changing(world, found.uid(), found.text.clone());
        let mut steps = vec![Step::Redefine];
        if found.seen.active {
            steps.push(Step::Start);
        }
        steps.extend([Step::Autostart(found.seen.autostart), Step::Finish]);
        for step in steps {
            crate::engine::executor::Worker::run(&worker, &AnyStep::Network(step))?;
        }
        Ok(())
    };
    match back() {
        Ok(()) => error,
        Err(left) => error.caused_by(format!("could not take the change back: {left}")),
    }
}

/// Changes labels and annotations.
///
/// # Errors
/// `NotFound`, a conflict for a network that is not ours, and what the change itself refuses.
pub(in crate::engine) fn change_meta(
    world: &World,
    name: &Name,
    change: &mut dyn FnMut(&mut ObjectMeta) -> Result<()>,
) -> Result<Outcome> {
    let key = ObjectKey::new(Kind::Network, name.clone());
    let _object = world
        .store()?
        .lock_object(Kind::Network, name.as_str(), OBJECT_WAIT)?;
    if let Some(begun) = intent_of(world, &key)? {
        finish(world, &begun, &Silent)?;
    }
    let found = find(world, &key)?;
    let mut network = object_of(&key, &found);
    change(&mut network.metadata)?;
    let options = ApplyOptions {
        mode: ApplyMode::Replace,
        dry_run: DryRun::None,
        wait: None,
        error_unchanged: false,
    };
    Ok(update(world, &key, &network, &found, &options, &Silent)?.outcome)
}

fn object_of(key: &ObjectKey, found: &Found) -> Network {
    Network {
        api_version: API_VERSION.to_owned(),
        kind: "Network".to_owned(),
        metadata: ObjectMeta {
            labels: found.metadata.labels.clone(),
            annotations: found.metadata.annotations.clone(),
            ..ObjectMeta::named(key.name.clone())
        },
        spec: found.spec.clone(),
        status: None,
    }
}

/// Returns a network as a manifest: what `patch` and `edit` begin with.
///
/// # Errors
/// `NotFound`, or a conflict where it is not ours.
pub(in crate::engine) fn manifest_of(world: &World, key: &ObjectKey) -> Result<Network> {
    // What a killed run began comes to its end first: otherwise the same change would seem to be made.
    if let Some(begun) = intent_of(world, key)? {
        finish_locked(world, &begun, &Silent)?;
    }
    Ok(object_of(key, &find(world, key)?))
}

/// Works out what applying a network would change.
///
/// # Errors
/// What libvirt or the store refuses.
pub(in crate::engine) fn sides(world: &World, wanted: &Network) -> Result<Sides> {
    let key = key_of(&wanted.metadata)?;
    let text = |network: &Network| manifest::to_manifest_yaml(&Object::from(network.clone()));
    let (live, wanted) = match find(world, &key) {
        Ok(found) => {
            let merged = merged(&found, wanted, ApplyMode::Apply)?;
            let mut after = object_of(&key, &found);
            after.spec = merged.spec;
            after.metadata.labels = merged.labels;
            after.metadata.annotations = merged.annotations;
            (text(&object_of(&key, &found)), text(&after))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => (String::new(), text(wanted)),
        Err(e) => return Err(e),
    };
    Ok(Sides {
        name: key.to_string(),
        live,
        wanted,
    })
}
