//! What objects refer to must be there before anything is changed: in the same run, or on the host.

use crate::api::{Kind, Name, Object, ObjectKey};
use crate::error::{Error, Result, did_you_mean};
use crate::manifest::{Reference, references};
use crate::observe::{Depth, NetworkFacts, NetworkKind, Scope, World};
use crate::store::{SnapshotRecord, VolumeRecord};

/// Checks the references of all objects of a run.
///
/// # Errors
/// Usage, with everything that is missing and the candidates.
pub(super) fn check(world: &World, objects: &[Object]) -> Result<()> {
    let here: Vec<ObjectKey> = objects.iter().filter_map(Object::key).collect();
    let mut missing: Vec<Error> = Vec::new();
    for object in objects {
        for (path, reference) in references(object) {
            if reference.key().is_some_and(|key| here.contains(&key)) {
                continue;
            }
            if let Some(error) = find(world, &reference)? {
                let who = object.key().map(|k| k.to_string()).unwrap_or_default();
                missing.push(error.context(format!("{who}: {path}")));
            }
        }
    }
    for object in objects {
        missing.extend(addresses(world, object)?.map(|e| of_object(e, object)));
    }
    match missing.len() {
        0 => Ok(()),
        1 => Err(flat(missing.remove(0))),
        n => {
            let sum = Error::usage(format!("{n} references cannot be resolved"));
            let sum = missing
                .iter()
                .fold(sum, |sum, e| sum.caused_by(e.to_string()));
            let hints = missing.iter().flat_map(|e| e.hints().to_vec());
            Err(hints.fold(sum, Error::hint))
        }
    }
}

/// Returns what is wrong with the addresses that an instance asks for, whoever has them by now.
fn addresses(world: &World, object: &Object) -> Result<Option<Error>> {
    let Object::Instance(instance) = object else {
        return Ok(None);
    };
    let mut wrong = None;
    for (n, attachment) in instance.spec.networks.iter().enumerate() {
        let Some(ip) = attachment.ip else { continue };
        let network = match world.host()?.network(&attachment.name) {
            Ok(network) => NetworkFacts::read(&network.definition()?)?,
            // It has been told of, or it is not libvirt's.
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e.into()),
        };
        if let NetworkKind::Dhcp(subnet) = &network.kind
            && let Err(error) = subnet.check(ip)
        {
            let place = format!("spec.networks[{n}].ip");
            wrong = Some(flat(Error::from(error).context(place)));
        }
    }
    Ok(wrong)
}

/// Checks that nothing an object refers to has failed in the same run.
///
/// # Errors
/// A conflict, naming what it stands on.
pub(super) fn unharmed(object: &Object, failed: &[ObjectKey]) -> Result<()> {
    let broken = references(object)
        .into_iter()
        .filter_map(|(_, reference)| reference.key())
        .find(|key| failed.contains(key));
    match (broken, object.key()) {
        (Some(broken), Some(key)) => Err(Error::conflict(format!(
            "{key} was left as it is, because {broken} failed"
        ))),
        _ => Ok(()),
    }
}

/// Names the object in what went wrong with it, where the words do not: in a run over many nobody
/// could tell whose it is.
pub(super) fn of_object(error: Error, object: &Object) -> Error {
    match object.key() {
        Some(key) if !says(&error, &key) => flat(error.context(key.to_string())),
        _ => error,
    }
}

/// A name may be a part of any word; told are `instance/web` and `"web"`.
fn says(error: &Error, key: &ObjectKey) -> bool {
    let text = error.to_string();
    text.contains(&key.to_string()) || text.contains(&format!("{:?}", key.name.as_str()))
}

/// Puts place and fault into one line.
fn flat(error: Error) -> Error {
    let mut causes = error.causes().iter();
    let first = causes.next().map(|c| format!(": {c}")).unwrap_or_default();
    let flat = Error::new(error.kind(), format!("{}{first}", error.message()));
    let flat = causes.fold(flat, Error::caused_by);
    error.hints().iter().cloned().fold(flat, Error::hint)
}

fn find(world: &World, reference: &Reference) -> Result<Option<Error>> {
    match reference {
        Reference::Instance(name) => instance(world, name),
        Reference::Image(name) => image(world, name),
        Reference::InstanceType(name) => instance_type(world, name),
        Reference::Volume(name) => volume(world, name),
        Reference::Snapshot(name) => snapshot(world, name),
        Reference::Network(name) => network(world, name),
        Reference::SecretKey { name, key } => secret(world, name, key),
    }
}

fn unknown(what: &str, name: &str, known: &[String], list: &str) -> Error {
    let error = Error::usage(format!("there is no {what} {name:?}"));
    let error = match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean {near:?}?")),
        None => error,
    };
    let candidates = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    error.caused_by(format!("known: {candidates}")).hint(list)
}

fn instance(world: &World, name: &Name) -> Result<Option<Error>> {
    let key = ObjectKey::new(Kind::Instance, name.clone());
    match world.get(&key) {
        Ok(Object::Instance(found)) if !found.status.as_ref().is_some_and(|s| s.managed) => {
            let message = format!("domain {:?} is not managed by kvmctl", name.as_str());
            Ok(Some(
                Error::usage(message).hint(format!("kvmctl adopt {key}")),
            ))
        }
        Ok(_) => Ok(None),
        Err(e) if e.kind() == crate::error::Kind::NotFound => {
            let instances = world.instances(Scope::Managed, Depth::Listing)?;
            let mut known: Vec<String> = instances
                .iter()
                .filter_map(|i| i.metadata.name.as_ref().map(Name::to_string))
                .collect();
            known.sort();
            let list = "kvmctl get instances";
            Ok(Some(unknown("instance", name.as_str(), &known, list)))
        }
        Err(e) => Err(e),
    }
}

fn image(world: &World, name: &str) -> Result<Option<Error>> {
    if world.stored_image(name)?.is_some() || world.catalogue()?.entry(name).is_ok() {
        return Ok(None);
    }
    let images = world.images()?;
    let known: Vec<String> = images
        .iter()
        .filter_map(|i| i.metadata.name.as_ref().map(Name::to_string))
        .collect();
    let error = unknown("image", name, &known, "kvmctl images list");
    Ok(Some(match super::rebuild::images_forgotten(world) {
        true => error.hint("the pool has images that the store has lost: kvmctl store rebuild"),
        false => error,
    }))
}

fn volume(world: &World, name: &Name) -> Result<Option<Error>> {
    let store = world.store_for_reading()?;
    if store.get::<VolumeRecord>(name)?.is_some() {
        return Ok(None);
    }
    let known = store.keys::<VolumeRecord>()?;
    let list = "kvmctl volumes list";
    Ok(Some(unknown("volume", name.as_str(), &known, list)))
}

fn snapshot(world: &World, name: &Name) -> Result<Option<Error>> {
    let store = world.store_for_reading()?;
    if store.get::<SnapshotRecord>(name)?.is_some() {
        return Ok(None);
    }
    let known = store.keys::<SnapshotRecord>()?;
    let list = "kvmctl snapshots list";
    Ok(Some(unknown("snapshot", name.as_str(), &known, list)))
}

fn instance_type(world: &World, name: &str) -> Result<Option<Error>> {
    if world.type_spec(name)?.is_some() {
        return Ok(None);
    }
    let types = world.types()?;
    let known: Vec<String> = types
        .iter()
        .filter_map(|t| t.metadata.name.as_ref().map(Name::to_string))
        .collect();
    Ok(Some(unknown(
        "instance type",
        name,
        &known,
        "kvmctl types list",
    )))
}

fn network(world: &World, name: &str) -> Result<Option<Error>> {
    let host = world.host()?;
    if name == crate::observe::USER_NETWORK {
        return Ok(None);
    }
    match host.network(name) {
        Ok(_) => Ok(None),
        Err(e) if e.is_not_found() => {
            let known: Vec<String> = host.networks()?.into_iter().map(|n| n.name).collect();
            let error = unknown("network", name, &known, "kvmctl net list --all");
            Ok(Some(match name.split_once(':') {
                Some(("bridge", bridge)) => error.hint(format!(
                    "kvmctl net create NAME --mode bridge --bridge {bridge}, then --network NAME"
                )),
                _ => error,
            }))
        }
        Err(e) => Err(e.into()),
    }
}

fn secret(world: &World, name: &Name, key: &str) -> Result<Option<Error>> {
    let hint = format!("kvmctl secrets create {name} --from-file {key}=FILE");
    match world.secret(name) {
        Ok(secret) if secret.data.keys().any(|k| k.as_str() == key) => Ok(None),
        Ok(_) => {
            let message = format!("{} {:?} has no key {key:?}", Kind::Secret, name.as_str());
            Ok(Some(Error::usage(message).hint(hint)))
        }
        Err(e) if e.kind() == crate::error::Kind::NotFound => {
            Ok(Some(Error::usage(e.message()).hint(hint)))
        }
        Err(e) => Err(e),
    }
}
