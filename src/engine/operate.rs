//! The operations over objects of all kinds: references checked first, then level by level, the
//! objects of a level in parallel.

use std::sync::Mutex;

use crate::api::{Image, InstanceType, Kind, Object, ObjectKey, ObjectMeta, Reporter, Secret};
use crate::error::{Error, Result};
use crate::manifest;
use crate::observe::{StoredImage, World};
use crate::plan::{self, Outcome, Step};
use crate::store::{Event, EventType, STORE_WAIT, SecretRecord, TypeRecord};

use super::batch::{Batch, run_all};
use super::instances::{self, Sides};
use super::options::{Applied, ApplyMode, ApplyOptions, DeleteOptions, DryRun, WIDTH};
use super::{images, owned, references};

/// Hears what came of each object, as soon as it is known.
pub type Tell<'t> = &'t (dyn Fn(&Applied) -> Result<()> + Sync);

/// Makes objects be as they are wanted.
///
/// # Errors
/// Usage, before anything is changed, when something that is referred to does not exist. What goes
/// wrong with single objects is in the batch.
pub fn apply(
    world: &World,
    objects: Vec<Object>,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
    tell: Tell<'_>,
) -> Result<Batch> {
    references::check(world, &objects)?;
    let mut sum = Batch::default();
    let failed_keys: Mutex<Vec<ObjectKey>> = Mutex::default();
    for level in plan::levels(objects) {
        let before = owned::lock(&failed_keys).clone();
        let batch = run_all(&level, WIDTH, |object| {
            let applied = references::unharmed(object, &before)
                .and_then(|()| apply_one(world, object, options, reporter));
            if let Some(key) = object.key() {
                reporter.finished(&key);
                if applied.is_err() {
                    owned::lock(&failed_keys).push(key);
                }
            }
            tell(&applied?)
        });
        let failed = !batch.errors.is_empty();
        sum.merge(batch);
        if failed && super::signal::interrupted().is_err() {
            break;
        }
    }
    Ok(sum)
}

fn apply_one(
    world: &World,
    object: &Object,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    match object {
        Object::Instance(instance) => instances::apply(world, instance, options, reporter),
        Object::Secret(secret) => apply_secret(world, secret, options),
        Object::InstanceType(wanted) => apply_type(world, wanted, options),
        Object::Image(image) => apply_image(world, image, options, reporter),
    }
}

/// What a small object is compared by and how it is written.
fn settle(
    world: &World,
    key: ObjectKey,
    exists: bool,
    same: bool,
    step: Step,
    options: &ApplyOptions,
    write: impl FnOnce() -> Result<()>,
) -> Result<Applied> {
    if exists && options.mode == ApplyMode::Create {
        return Err(Error::conflict(format!(
            "{} {:?} already exists (AlreadyExists)",
            key.kind,
            key.name.as_str()
        ))
        .hint(format!("kvmctl get {key} -o yaml")));
    }
    let outcome = match (exists, same) {
        (false, _) => Outcome::Created,
        (true, false) => Outcome::Configured,
        (true, true) => Outcome::Unchanged,
    };
    if outcome != Outcome::Unchanged && options.dry_run == DryRun::None {
        write()?;
        event(world, &key, outcome);
    }
    Ok(Applied {
        explanation: super::explain(&step, &key.name),
        key,
        outcome,
        notes: Vec::new(),
    })
}

fn event(world: &World, key: &ObjectKey, outcome: Outcome) {
    let reason = match outcome {
        Outcome::Created => "Created",
        Outcome::Deleted => "Deleted",
        _ => "Configured",
    };
    let event = Event::new(
        EventType::Normal,
        key.kind,
        key.name.as_str(),
        None,
        reason,
        outcome.to_string(),
    );
    // The journal is for people; the work is done.
    let _ = world.store().and_then(|s| Ok(s.record_event(&event)?));
}

fn key_of(kind: Kind, meta: &ObjectMeta) -> Result<ObjectKey> {
    let name = meta
        .name
        .clone()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    Ok(ObjectKey::new(kind, name))
}

fn apply_secret(world: &World, wanted: &Secret, options: &ApplyOptions) -> Result<Applied> {
    let key = key_of(Kind::Secret, &wanted.metadata)?;
    if wanted.data.values().any(|v| v.expose() == "***") {
        return Err(Error::usage(format!(
            "{key}: the values are masked (***), as `get` prints them"
        ))
        .hint("give the values themselves"));
    }
    let old = world
        .store_for_reading()?
        .get::<SecretRecord>(&key.name)?
        .map(SecretRecord::into_object);
    let mut new = wanted.clone();
    new.metadata = kept_meta(&wanted.metadata, old.as_ref().map(|o| &o.metadata));
    let same = old.as_ref().is_some_and(|o| *o == new);
    let step = Step::Secret(plan::secret::Step::Write(Box::new(new.clone())));
    let options = &owned::options(
        world,
        &new.metadata,
        old.as_ref().map(|o| &o.metadata),
        options,
    )?;
    settle(world, key, old.is_some(), same, step, options, || {
        let store = world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        Ok(store.put(&SecretRecord::new(new)?)?)
    })
}

fn apply_type(world: &World, wanted: &InstanceType, options: &ApplyOptions) -> Result<Applied> {
    let key = key_of(Kind::InstanceType, &wanted.metadata)?;
    let old = world
        .store_for_reading()?
        .types()?
        .into_iter()
        .find(|t| t.metadata.name.as_ref() == Some(&key.name));
    let mut new = wanted.clone();
    new.metadata = kept_meta(&wanted.metadata, old.as_ref().map(|o| &o.metadata));
    let record = TypeRecord::new(new.clone())?;
    let same = old.as_ref().is_some_and(|o| *o == new);
    let step = Step::InstanceType(plan::instance_type::Step::Write(Box::new(new)));
    settle(world, key, old.is_some(), same, step, options, || {
        let store = world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        Ok(store.put(&record)?)
    })
}

/// Identity and birth stay; labels and annotations become what is wanted.
fn kept_meta(wanted: &ObjectMeta, old: Option<&ObjectMeta>) -> ObjectMeta {
    let mut meta = ObjectMeta {
        name: wanted.name.clone(),
        labels: wanted.labels.clone(),
        annotations: wanted.annotations.clone(),
        ..ObjectMeta::default()
    };
    meta.uid = old
        .and_then(|o| o.uid)
        .or_else(|| Some(crate::api::Uid::random()));
    meta.creation_timestamp = old
        .and_then(|o| o.creation_timestamp)
        .or_else(|| Some(crate::api::Timestamp::now()));
    meta
}

fn apply_image(
    world: &World,
    wanted: &Image,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let key = key_of(Kind::Image, &wanted.metadata)?;
    let known = images::present(world, key.name.as_str())?;
    let source = wanted
        .spec
        .url
        .clone()
        .unwrap_or_else(|| key.name.to_string());
    let labels_same = known.as_ref().is_some_and(|k| {
        k.labels == wanted.metadata.labels && k.annotations == wanted.metadata.annotations
    });
    let step = match known {
        Some(_) => Step::Image(plan::image::Step::Record),
        None => Step::Image(plan::image::Step::Pull {
            url: source.clone(),
        }),
    };
    settle(
        world,
        key.clone(),
        known.is_some(),
        labels_same,
        step,
        options,
        || {
            if known.is_none() {
                pull_wanted(world, wanted, &key, source, reporter)?;
            }
            let store = world.store()?;
            let _lock = store.lock(STORE_WAIT)?;
            if let Some(mut stored) = store.get::<StoredImage>(&key.name)? {
                stored.labels = wanted.metadata.labels.clone();
                stored.annotations = wanted.metadata.annotations.clone();
                store.put(&stored)?;
            }
            Ok(())
        },
    )
}

fn pull_wanted(
    world: &World,
    wanted: &Image,
    key: &ObjectKey,
    source: String,
    reporter: &dyn Reporter,
) -> Result<()> {
    // The catalogue's own URL means the catalogue's entry, with its checksum.
    let catalogue = world.catalogue()?;
    let ours = catalogue
        .entry(key.name.as_str())
        .ok()
        .is_some_and(|entry| {
            wanted.spec.sha256.is_none()
                && entry
                    .sources
                    .values()
                    .any(|s| Some(&s.url) == wanted.spec.url.as_ref())
        });
    let from_catalogue = wanted.spec.url.is_none() || ours;
    let request = images::PullRequest {
        source: if from_catalogue {
            key.name.to_string()
        } else {
            source
        },
        name: (!from_catalogue).then(|| key.name.clone()),
        checksum: wanted.spec.sha256.clone(),
        without_checksum: false,
        allow_http: false,
        default_user: wanted.spec.default_user.clone(),
    };
    images::pull(world, &request, reporter).map(drop)
}

/// Deletes objects, what refers to others first.
///
/// # Errors
/// What goes wrong with single objects is in the batch.
pub fn delete(
    world: &World,
    keys: Vec<ObjectKey>,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
    tell: Tell<'_>,
) -> Result<Batch> {
    let mut sum = Batch::default();
    let gone: Mutex<Vec<ObjectKey>> = Mutex::default();
    let mut kinds: Vec<Kind> = keys.iter().map(|k| k.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds.into_iter().rev() {
        let level: Vec<ObjectKey> = keys.iter().filter(|k| k.kind == kind).cloned().collect();
        sum.merge(run_all(&level, WIDTH, |key| {
            let applied = delete_one(world, key, options, reporter);
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
        }));
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

fn delete_one(
    world: &World,
    key: &ObjectKey,
    options: &DeleteOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    if key.kind == Kind::Instance {
        return instances::delete(world, key, options, reporter);
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
        Kind::Image | Kind::Instance => Step::Image(plan::image::Step::Record),
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
    let explanation = super::explain(&step, &key.name);
    Ok(Applied {
        key: key.clone(),
        outcome: Outcome::Deleted,
        notes: Vec::new(),
        explanation,
    })
}

/// A secret or type that instances refer to stays: they could not be made again without it.
fn refuse_used(world: &World, key: &ObjectKey) -> Result<()> {
    let records: Vec<crate::store::InstanceRecord> = world.store_for_reading()?.all()?;
    let users: Vec<String> = records
        .iter()
        .filter(|r| {
            let by_env = r.spec.env.iter().filter_map(|v| v.value_from.as_ref());
            match key.kind {
                Kind::Secret => by_env.into_iter().any(|s| s.secret.name == key.name),
                _ => r.spec.instance_type.as_deref() == Some(key.name.as_str()),
            }
        })
        .map(|r| format!("instance/{}", r.name))
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "{key} is used by {}",
        users.join(", ")
    )))
}

/// Changes labels and annotations of an object of any kind.
///
/// # Errors
/// `NotFound`, and what the change itself refuses.
pub fn change_meta(
    world: &World,
    key: &ObjectKey,
    mut change: impl FnMut(&mut ObjectMeta) -> Result<()>,
) -> Result<Outcome> {
    if key.kind == Kind::Instance {
        return instances::change_meta(world, &key.name, &mut change);
    }
    let mut object = world.get(key)?;
    change(object.meta_mut())?;
    if key.kind == Kind::InstanceType && crate::store::is_built_in(&key.name) {
        return Err(Error::conflict(format!(
            "{key} is built in and cannot be changed"
        )));
    }
    let options = ApplyOptions {
        mode: ApplyMode::Replace,
        dry_run: DryRun::None,
        wait: None,
        error_unchanged: false,
    };
    if key.kind == Kind::Image
        && world
            .store_for_reading()?
            .get::<StoredImage>(&key.name)?
            .is_none()
    {
        return Err(Error::conflict(format!("{key} is not in the pool"))
            .hint(format!("kvmctl images pull {}", key.name)));
    }
    Ok(apply_one(world, &object, &options, &crate::api::Silent)?.outcome)
}

/// Returns an object as a manifest: what `patch` and `edit` begin with.
///
/// # Errors
/// `NotFound`.
pub fn manifest_of(world: &World, key: &ObjectKey) -> Result<serde_json::Value> {
    let object = editable(world, key)?;
    serde_json::to_value(&object).map_err(|e| Error::failed("cannot write the object").caused_by(e))
}

/// Returns an object as it was asked for, nothing masked: for a file of the caller's alone.
///
/// # Errors
/// `NotFound`, or a conflict where it is not ours.
pub fn editable(world: &World, key: &ObjectKey) -> Result<Object> {
    match key.kind {
        Kind::Instance => Ok(instances::manifest_of(world, key)?.into()),
        _ => world.get(key),
    }
}

/// The two sides of a diff.
///
/// # Errors
/// What libvirt or the store refuses.
pub fn sides(world: &World, object: &Object) -> Result<Sides> {
    if let Object::Instance(instance) = object {
        return instances::sides(world, instance);
    }
    let key = object
        .key()
        .ok_or_else(|| Error::usage("metadata.name is missing"))?;
    let text = |object: &Object| match object {
        Object::Secret(secret) => {
            let mut shown = secret.as_ref().clone();
            for value in shown.data.values_mut() {
                *value = crate::api::SecretValue::new(manifest::mask(value.expose()));
            }
            manifest::to_manifest_yaml(&bare(shown.into()))
        }
        other => manifest::to_manifest_yaml(&bare(other.clone())),
    };
    let live = match world.get(&key) {
        Ok(live) => text(&live),
        Err(e) if e.kind() == crate::error::Kind::NotFound => String::new(),
        Err(e) => return Err(e),
    };
    Ok(Sides {
        name: key.to_string(),
        live,
        wanted: text(object),
    })
}

/// Without what kvmctl sets itself.
fn bare(mut object: Object) -> Object {
    let meta = object.meta_mut();
    meta.uid = None;
    meta.creation_timestamp = None;
    meta.generation = None;
    if let Object::Image(image) = &mut object {
        image.status = None;
    }
    object
}
