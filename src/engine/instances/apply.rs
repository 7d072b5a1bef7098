//! Makes an instance, or changes one that is there.

use serde_json::{Value, json};

use super::metadata::{self, not_ours, note, warn};
use super::prepare::{self, Prepared};
use super::resume::{self, HalfMade};
use super::spec::unmask;
use super::worker::{InstanceWorker, Making};
use super::{allocate, ready};
use crate::api::{Instance, InstanceSpec, Kind, Name, Object, ObjectKey, ObjectMeta, Uid};
use crate::cloudinit::HostKey;
use crate::error::{Error, Result};
use crate::libvirt::Domain;
use crate::manifest;
use crate::observe::World;
use crate::plan::instance_change::{Refused, Side, change};
use crate::plan::{ObjectPlan, Outcome, instance as plan_instance};
use crate::store::{InstanceRecord, Intent, IntentOp, LastApplied, SlotTable};

use super::super::executor::execute;
use super::super::options::{Applied, ApplyMode, ApplyOptions, DeleteOptions, DryRun};
use crate::api::Reporter;

/// How long to wait for another run that works on the same instance.
const OBJECT_WAIT: std::time::Duration = std::time::Duration::from_secs(120);
/// How long to wait for the store while addresses are chosen.
const ALLOCATE_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// What there is of an instance.
enum Existing {
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
    let applied = match existing(world, &key)? {
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

fn existing(world: &World, key: &ObjectKey) -> Result<Existing> {
    let store = world.store_for_reading()?;
    let intents: Vec<Intent> = store.all()?;
    let intent = intents
        .into_iter()
        .find(|i| i.kind == Kind::Instance && i.name == key.name);
    let domain = match world.host()?.domain(key.name.as_str()) {
        Ok(domain) => Some(domain),
        Err(e) if e.is_not_found() => None,
        Err(e) => return Err(e.into()),
    };
    if let Some(domain) = &domain {
        let uid = domain.uid();
        let ours = domain.metadata_config()?.is_some_and(|m| m.uid == uid);
        if !ours || intent.as_ref().is_some_and(|i| i.uid != uid) {
            return Err(not_ours(key));
        }
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
        None if store.instance_named(&key.name)?.is_some() => Err(Error::conflict(format!(
            "the domain of {key} was removed by hand, its disks may still be there"
        ))
        .hint(format!("kvmctl delete {key}"))
        .hint("kvmctl reconcile")),
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

fn create(
    world: &World,
    key: &ObjectKey,
    instance: &Instance,
    begun: Option<(InstanceRecord, Intent)>,
    dry: bool,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let uid = begun
        .as_ref()
        .map_or_else(Uid::random, |(record, _)| record.uid);
    let mut instance = instance.clone();
    unmask(&mut instance.spec, begun.as_ref().map(|(r, _)| &r.spec))?;
    reporter.phase(key, "looking everything up");
    crate::host::sweep_seeds();
    let prepared = Prepared::new(world, &instance, uid, reporter)?;
    let warning = prepared.warning.clone();
    if let (Some(warning), false) = (&warning, dry) {
        // Before the work, of which it says that it will be slow.
        reporter.warn(&format!("{key}: {warning}"));
    }
    check_room(world, &prepared)?;
    let host_key = HostKey::generate()?;
    let mut record = metadata::new_record(&instance, uid)?;
    record.image_sha256 = Some(prepared.image.image.sha256.to_string());
    record.files = prepared.files();
    record.ssh_host_key = Some(host_key.public.clone());
    record
        .ssh_user
        .clone_from(&prepared.image.image.default_user);
    if let Some((old, _)) = &begun {
        record.created = old.created;
    }
    let nics = match (&begun, dry) {
        (Some((_, intent)), _) => intent.nics.clone(),
        (None, true) => Vec::new(),
        (None, false) => allocate_and_begin(world, &prepared, &mut record)
            .inspect_err(|_| forget(world, key, uid))?,
    };
    record.nics.clone_from(&nics);
    if let (Some((_, intent)), false) = (begun, dry) {
        begin_creation(world, &record, intent)?;
    }
    let facts = prepared.facts(&nics);
    let plan = plan_instance::create(key.clone(), &facts, true);
    let mut applied = told(&plan, warning.filter(|_| dry));
    if dry {
        applied
            .explanation
            .push("# in network(s): ".to_owned() + &network_names(&prepared));
        return Ok(applied);
    }
    let metadata = metadata::of(&record)?;
    let making = Making {
        prepared,
        nics,
        host_key,
        metadata,
        record,
    };
    let worker = InstanceWorker::making(world, making);
    match execute(&plan, &worker, reporter) {
        Ok(()) => {
            note(
                world,
                key,
                Some(uid),
                "Created",
                "the instance was made and started",
            );
            Ok(applied)
        }
        Err(failed) => {
            let why = failed.error.to_string();
            match failed.undone {
                true => forget(world, key, uid),
                false => resume::stuck(world, uid, &why),
            }
            warn(world, key, Some(uid), "CreateFailed", &why);
            Err(failed.error.context(format!("cannot create {key}")))
        }
    }
}

fn network_names(prepared: &Prepared) -> String {
    prepared
        .networks
        .iter()
        .map(|(a, _)| a.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn told(plan: &ObjectPlan, warning: Option<String>) -> Applied {
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

/// After an undone creation nothing is pending any more.
fn forget(world: &World, key: &ObjectKey, uid: Uid) {
    let worker = InstanceWorker::new(world, key.name.clone(), uid);
    let step = crate::plan::Step::Instance(plan_instance::Step::Forget);
    if let Err(error) = super::super::executor::Worker::run(&worker, &step) {
        tracing::warn!(target: "store", "cannot remove the intent of {key}: {error}");
    }
}

/// Chooses addresses and writes down what is about to be made, in one breath.
fn allocate_and_begin(
    world: &World,
    prepared: &Prepared,
    record: &mut InstanceRecord,
) -> Result<Vec<crate::store::NicRecord>> {
    let store = world.store()?;
    let lock = store.lock(ALLOCATE_WAIT)?;
    let nics = allocate::nics(world, prepared.uid, &prepared.networks)?;
    let mut intent = Intent::new(
        IntentOp::Create,
        Kind::Instance,
        prepared.name.clone(),
        prepared.uid,
    );
    intent.nics.clone_from(&nics);
    intent.files = prepared.files();
    record.nics.clone_from(&nics);
    write_down(world, &lock, record, &intent)?;
    Ok(nics)
}

/// Writes down again what is about to be made, by this process now.
///
/// # Errors
/// What the store refuses.
pub(super) fn begin_creation(
    world: &World,
    record: &InstanceRecord,
    mut intent: Intent,
) -> Result<()> {
    intent.pid = std::process::id();
    intent.message = None;
    let lock = world.store()?.lock(ALLOCATE_WAIT)?;
    write_down(world, &lock, record, &intent)
}

/// The intent first: whatever follows is found through it.
fn write_down(
    world: &World,
    lock: &crate::store::StoreLock,
    record: &InstanceRecord,
    intent: &Intent,
) -> Result<()> {
    let store = world.store()?;
    store.put(intent)?;
    store.put(record)?;
    for nic in &record.nics {
        if let (Some(network), Some(ip)) = (nic.network_uid, nic.ip) {
            store.update_slots(lock, network, &nic.network, |table: &mut SlotTable| {
                table.give(ip, record.uid);
                Ok::<(), Error>(())
            })?;
        }
    }
    Ok(())
}

/// A pool that cannot even hold the first writes is refused before anything is made.
fn check_room(world: &World, prepared: &Prepared) -> Result<()> {
    const LEAST: u64 = 64 << 20;
    let pool = &world.settings().pool;
    let info = world.host()?.pool(pool)?.info()?;
    if info.available < LEAST {
        return Err(Error::failed(format!(
            "pool {pool:?} is full: {} MiB are free",
            info.available >> 20
        ))
        .hint("kvmctl images prune"));
    }
    let _ = prepared;
    Ok(())
}

fn update(
    world: &World,
    key: &ObjectKey,
    instance: &Instance,
    record: &InstanceRecord,
    domain: &Domain,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let mut wanted = instance.clone();
    unmask(&mut wanted.spec, Some(&record.spec))?;
    let merged = match options.mode {
        ApplyMode::Replace => Desired::whole(&wanted),
        _ => Desired::merged(record, &wanted)?,
    };
    let same = merged.spec == record.spec
        && merged.labels == record.labels
        && merged.annotations == record.annotations;
    if same {
        let mut applied = told(&ObjectPlan::unchanged(key.clone()), None);
        applied.notes.extend(merged.kept_note());
        return Ok(applied);
    }
    let plan = plan_update(world, key, record, &merged, domain)?;
    let mut applied = told(&plan, None);
    applied.notes.extend(merged.kept_note());
    if options.dry_run != DryRun::None {
        return Ok(applied);
    }
    let before = record;
    let mut record = record.clone();
    if merged.spec != record.spec {
        record.generation += 1;
    }
    record.spec = merged.spec;
    record.labels = merged.labels;
    record.annotations = merged.annotations;
    record.last_applied = Some(LastApplied {
        labels: wanted.metadata.labels,
        annotations: wanted.metadata.annotations,
        spec: wanted.spec,
    });
    let metadata = metadata::of(&record)?;
    let uid = record.uid;
    resume::begin_change(world, &record)?;
    let worker = InstanceWorker::changing(world, record.clone(), metadata);
    if let Err(failed) = execute(&plan, &worker, reporter) {
        return Err(resume::take_back_change(world, key, before, failed.error));
    }
    resume::end(world, &record)?;
    note(
        world,
        key,
        Some(uid),
        "Configured",
        "the instance was changed",
    );
    Ok(applied)
}

fn plan_update(
    world: &World,
    key: &ObjectKey,
    record: &InstanceRecord,
    desired: &Desired,
    domain: &Domain,
) -> Result<ObjectPlan> {
    let old = Side {
        spec: &record.spec,
        size: current_size(world, record, domain)?,
    };
    let new = Side {
        spec: &desired.spec,
        size: prepare::size(world, &desired.spec)?,
    };
    let root = prepare::volume(&world.settings().pool, &record.name, record.uid, "qcow2");
    let running = domain.state()?.is_active();
    change(key.clone(), old, new, root, running).map_err(|refused: Refused| {
        let hint = "delete the instance and apply again, to make it anew";
        Error::conflict(format!(
            "The Instance {:?} is invalid: {refused}",
            key.name.as_str()
        ))
        .hint(hint)
    })
}

/// Works out the size that an instance has by its own spec; an adopted one has what its domain says.
fn current_size(
    world: &World,
    record: &InstanceRecord,
    domain: &Domain,
) -> Result<crate::api::Size> {
    let mut size = prepare::size(world, &record.spec)?;
    if record.adopted {
        let xml = domain.definition()?;
        size.cpus = xml.cpus();
        size.memory = xml
            .memory_bytes()
            .and_then(crate::api::Quantity::from_bytes)
            .unwrap_or(size.memory);
    }
    Ok(size)
}

/// What an instance should become.
struct Desired {
    spec: InstanceSpec,
    labels: crate::store::Labels,
    annotations: crate::store::Annotations,
    kept: Vec<String>,
}

impl Desired {
    fn whole(wanted: &Instance) -> Self {
        Self {
            spec: wanted.spec.clone(),
            labels: wanted.metadata.labels.clone(),
            annotations: wanted.metadata.annotations.clone(),
            kept: Vec::new(),
        }
    }

    /// Merges three ways: what was applied last, what is wanted now, what is there.
    fn merged(record: &InstanceRecord, wanted: &Instance) -> Result<Self> {
        let last = match &record.last_applied {
            Some(last) => tree(&last.labels, &last.annotations, &last.spec)?,
            None => Value::Null,
        };
        let new = tree(
            &wanted.metadata.labels,
            &wanted.metadata.annotations,
            &wanted.spec,
        )?;
        let live = tree(&record.labels, &record.annotations, &record.spec)?;
        let merged = manifest::merge(&last, &new, &live);
        let part = |name: &str| merged.result.get(name).cloned().unwrap_or(json!({}));
        let odd = |e: serde_json::Error| Error::failed("the merged spec is invalid").caused_by(e);
        Ok(Self {
            spec: serde_json::from_value(part("spec")).map_err(odd)?,
            labels: serde_json::from_value(part("labels")).map_err(odd)?,
            annotations: serde_json::from_value(part("annotations")).map_err(odd)?,
            kept: merged
                .unmanaged_kept
                .iter()
                .map(ToString::to_string)
                .collect(),
        })
    }

    fn kept_note(&self) -> Option<String> {
        if self.kept.is_empty() {
            return None;
        }
        let fields = if self.kept.len() == 1 {
            "field"
        } else {
            "fields"
        };
        Some(format!(
            "{} unmanaged {fields} kept: {} (kvmctl edit sets them)",
            self.kept.len(),
            self.kept.join(", ")
        ))
    }
}

fn tree(
    labels: &crate::store::Labels,
    annotations: &crate::store::Annotations,
    spec: &InstanceSpec,
) -> Result<Value> {
    let value = |v: serde_json::Result<Value>| {
        v.map_err(|e| Error::failed("cannot write the spec").caused_by(e))
    };
    Ok(json!({
        "labels": value(serde_json::to_value(labels))?,
        "annotations": value(serde_json::to_value(annotations))?,
        "spec": value(serde_json::to_value(spec))?,
    }))
}

/// Changes labels and annotations.
///
/// # Errors
/// What the change itself refuses; as [`apply`].
pub(crate) fn change_meta(
    world: &World,
    name: &Name,
    change: &mut dyn FnMut(&mut ObjectMeta) -> Result<()>,
) -> Result<Outcome> {
    let key = ObjectKey::new(Kind::Instance, name.clone());
    edit(world, &key, &crate::api::Silent, |instance| {
        change(&mut instance.metadata)
    })
}

/// Changes the spec.
///
/// # Errors
/// As `apply`.
pub fn change_spec(
    world: &World,
    key: &ObjectKey,
    reporter: &dyn Reporter,
    change: impl Fn(&mut InstanceSpec),
) -> Result<Outcome> {
    edit(world, key, reporter, |instance| {
        change(&mut instance.spec);
        Ok(())
    })
}

fn edit(
    world: &World,
    key: &ObjectKey,
    reporter: &dyn Reporter,
    change: impl FnOnce(&mut Instance) -> Result<()>,
) -> Result<Outcome> {
    let _object = world
        .store()?
        .lock_object(Kind::Instance, key.name.as_str(), OBJECT_WAIT)?;
    let domain = super::lifecycle::find(world, key)?;
    metadata::owned(&domain, key)?;
    let record = super::record_of(world, &domain)?;
    let mut instance = super::instance_of(&record);
    change(&mut instance)?;
    let options = ApplyOptions {
        mode: ApplyMode::Replace,
        dry_run: DryRun::None,
        wait: None,
        error_unchanged: false,
    };
    Ok(update(world, key, &instance, &record, &domain, &options, reporter)?.outcome)
}

/// The two sides of a diff, as YAML, secrets masked.
#[derive(Debug, Clone)]
pub struct Sides {
    /// What is compared.
    pub name: String,
    /// As it is.
    pub live: String,
    /// As it would be.
    pub wanted: String,
}

/// Works out what applying an instance would change.
///
/// # Errors
/// What libvirt or the store refuses.
pub(crate) fn sides(world: &World, instance: &Instance) -> Result<Sides> {
    let name = instance
        .metadata
        .name
        .clone()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    let key = ObjectKey::new(Kind::Instance, name);
    let text = |instance: &Instance| {
        let mut shown = instance.clone();
        shown.spec = manifest::printable(shown.spec);
        manifest::to_manifest_yaml(&Object::from(shown))
    };
    match existing(world, &key)? {
        Existing::Whole(record, _) => {
            let mut wanted = instance.clone();
            unmask(&mut wanted.spec, Some(&record.spec))?;
            let merged = Desired::merged(&record, &wanted)?;
            let mut after = super::instance_of(&record);
            after.spec = merged.spec;
            after.metadata.labels = merged.labels;
            after.metadata.annotations = merged.annotations;
            Ok(Sides {
                name: key.to_string(),
                live: text(&super::instance_of(&record)),
                wanted: text(&after),
            })
        }
        _ => Ok(Sides {
            name: key.to_string(),
            live: String::new(),
            wanted: text(instance),
        }),
    }
}

/// Returns an instance as a manifest: what `patch` and `edit` begin with.
///
/// # Errors
/// `NotFound`, or a conflict where it is not ours.
pub(crate) fn manifest_of(world: &World, key: &ObjectKey) -> Result<Instance> {
    let domain = super::lifecycle::find(world, key)?;
    metadata::owned(&domain, key)?;
    Ok(super::instance_of(&super::record_of(world, &domain)?))
}
