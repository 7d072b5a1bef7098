//! Changes an instance that is there: three-way merge, plan, and the change itself.

use super::super::executor::execute;
use super::super::forwards;
use super::super::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use super::apply::{Existing, OBJECT_WAIT, existing, told};
use super::desired::{self, Desired};
use super::masks::{learn, unmask};
use super::metadata::{self, note};
use super::nics::NicChange;
use super::prepare;
use super::resume;
use super::volumes;
use super::worker::InstanceWorker;
use crate::api::{Instance, InstanceSpec, Kind, Name, ObjectKey, ObjectMeta, Reporter};
use crate::error::{Error, Result};
use crate::libvirt::Domain;
use crate::observe::World;
use crate::plan::instance_change::{DeviceSteps, Refused, Side, change, remake_command};
use crate::plan::{ObjectPlan, Outcome};
use crate::store::{InstanceRecord, LastApplied};

/// Changes labels and annotations.
///
/// # Errors
/// What the change itself refuses; as [`apply`].
pub(crate) fn change_meta(
    world: &World,
    name: &Name,
    dry_run: DryRun,
    change: &mut dyn FnMut(&mut ObjectMeta) -> Result<()>,
) -> Result<Outcome> {
    let key = ObjectKey::new(Kind::Instance, name.clone());
    let change = |instance: &mut Instance, _: &InstanceRecord| change(&mut instance.metadata);
    Ok(edit_as_far_as(world, &key, dry_run, &crate::api::Silent, change)?.outcome)
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
    let change = |instance: &mut Instance, _: &InstanceRecord| {
        change(&mut instance.spec);
        Ok(())
    };
    let outcome = edit(world, key, reporter, change)?.outcome;
    crate::engine::tidy(world, reporter);
    Ok(outcome)
}

/// Changes an instance as it is; what was applied last stays what was applied last.
///
/// # Errors
/// What the change itself refuses; as [`update`].
pub(super) fn edit(
    world: &World,
    key: &ObjectKey,
    reporter: &dyn Reporter,
    change: impl FnOnce(&mut Instance, &InstanceRecord) -> Result<()>,
) -> Result<Applied> {
    edit_as_far_as(world, key, DryRun::None, reporter, change)
}

fn edit_as_far_as(
    world: &World,
    key: &ObjectKey,
    dry_run: DryRun,
    reporter: &dyn Reporter,
    change: impl FnOnce(&mut Instance, &InstanceRecord) -> Result<()>,
) -> Result<Applied> {
    let dry = dry_run != DryRun::None;
    let _object = match dry {
        true => None,
        false => Some(world.store()?.lock_object(
            Kind::Instance,
            key.name.as_str(),
            OBJECT_WAIT,
        )?),
    };
    let (record, domain) = match existing(world, key)? {
        Existing::Whole(record, domain) => (record, domain),
        Existing::HalfChanged(record, domain) => {
            if !dry {
                resume::finish_change(world, key, &record, reporter)?;
            }
            (record, domain)
        }
        _ => {
            let domain = super::lifecycle::find(world, key)?;
            metadata::owned(&domain, key)?;
            (Box::new(super::record_of(world, &domain)?), domain)
        }
    };
    let mut instance = super::instance_of(&record, &key.name);
    change(&mut instance, &record)?;
    let options = ApplyOptions {
        mode: ApplyMode::Replace,
        dry_run,
        wait: None,
        error_unchanged: false,
    };
    update(world, key, &instance, &record, &domain, &options, reporter)
}

/// Makes an instance be what is wanted, where it is something else.
///
/// # Errors
/// A conflict for a field that cannot be changed; what libvirt refuses. A failed change is taken back.
pub(super) fn update(
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
    let learned = learn(record, &wanted.spec);
    let record = learned.as_ref().unwrap_or(record);
    let merged = match options.mode {
        ApplyMode::Replace => desired::whole(&wanted),
        _ => desired::merged(record, &wanted)?,
    };
    let same = merged.spec == record.spec
        && merged.labels == record.labels
        && merged.annotations == record.annotations;
    if same {
        if let (Some(learned), DryRun::None) = (&learned, options.dry_run) {
            let metadata = metadata::of(learned)?;
            metadata::write(domain, &metadata)?;
            metadata::save(world, learned, &metadata)?;
        }
        let mut applied = told(&ObjectPlan::unchanged(key.clone()), None);
        applied.notes.extend(merged.kept_note());
        return Ok(applied);
    }
    let nics = NicChange::compare(world, record, &merged.spec)?;
    let disks = volumes::compare(world, &record.spec, &merged.spec)?;
    volumes::refuse_foreign(world, record.uid, &disks.attach)?;
    let preview = DeviceSteps {
        nics: nics.preview(&record.name),
        disks: disks.clone(),
    };
    let plan = plan_update(world, key, record, &merged, domain, &preview)?;
    let listed = merged.spec.ports != record.spec.ports;
    // Rules lead to addresses, and an instance in other networks has others.
    let ports = &merged.spec.ports;
    let rerouted = nics.is_any() && forwards::wants_rules(world, &key.name, ports)?;
    let moved = listed || rerouted;
    if moved {
        forwards::require_rights(world)?;
    }
    let mut applied = told(&plan, None);
    applied.notes.extend(merged.kept_note());
    applied
        .notes
        .extend(volumes::not_mounted(&record.spec, &merged.spec));
    if options.dry_run != DryRun::None {
        if moved {
            forwards::check_ports(world, Some(record), record.uid, &key.name, &merged.spec)?;
        }
        return Ok(applied);
    }
    let before = record;
    let mut record = record.clone();
    if merged.spec != record.spec {
        record.generation += 1;
    }
    record.spec.clone_from(&merged.spec);
    record.labels.clone_from(&merged.labels);
    record.annotations.clone_from(&merged.annotations);
    if options.mode != ApplyMode::Replace {
        // What no manifest says is not for a later one to take away.
        record.last_applied = Some(LastApplied {
            labels: wanted.metadata.labels,
            annotations: wanted.metadata.annotations,
            spec: wanted.spec,
        });
    }
    let uid = record.uid;
    resume::begin_change(world, &mut record, before, &nics, moved)?;
    let steps = DeviceSteps {
        nics: nics.steps(&record.nics, &record.name),
        disks,
    };
    let mut plan = plan_update(world, key, before, &merged, domain, &steps)?;
    if rerouted && !listed {
        let forward = crate::plan::instance::Step::Forward(record.ports.clone());
        let last = plan.stages.len().saturating_sub(1);
        let stage = vec![crate::plan::Step::Instance(forward)];
        plan.stages.insert(last, stage);
    }
    let metadata = metadata::of(&record)?;
    let worker =
        InstanceWorker::changing(world, record.clone(), metadata).whose_ports_are_asked(listed);
    if let Err(failed) = execute(&plan, &worker, reporter) {
        return Err(resume::take_back_change(
            world,
            key,
            before,
            &record,
            failed.error,
        ));
    }
    resume::end(world, &record)?;
    if moved {
        applied.notes.extend(forwards::stale(world, &key.name));
    }
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
    devices: &DeviceSteps,
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
    change(key.clone(), old, new, root, running, devices).map_err(|refused: Refused| {
        Error::conflict(format!(
            "The Instance {:?} is invalid: {refused}",
            key.name.as_str()
        ))
        .hint(format!(
            "to make it anew, with a new disk: {}",
            remake_command(key)
        ))
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
