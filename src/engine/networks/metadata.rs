//! Whose a network is: adopting writes our mark into a definition, forgetting takes it out. Either is
//! one redefinition, so that nothing can be left half done.

use super::existing::{describe, find};
use super::worker::NetworkWorker;
use super::{OBJECT_WAIT, note};
use crate::api::{Kind, NetworkSpec, ObjectKey, Timestamp};
use crate::engine::desired::Governed;
use crate::engine::executor::Worker;
use crate::error::{Error, Result};
use crate::libvirt::ObjectMetadata;
use crate::libvirt::xml::object;
use crate::libvirt::xml::tree::Element;
use crate::observe::{Seen, World, mode_of, not_found, spec_of};
use crate::plan::network::Step;
use crate::plan::{Outcome, Step as AnyStep};

/// Makes a network that was made by hand ours, with the spec that its definition comes to.
///
/// # Errors
/// `NotFound`; a conflict for a mode that kvmctl does not know; what libvirt refuses.
pub(in crate::engine) fn adopt(world: &World, key: &ObjectKey) -> Result<Outcome> {
    let _object = world
        .store()?
        .lock_object(Kind::Network, key.name.as_str(), OBJECT_WAIT)?;
    let host = world.host()?;
    let handle = match host.network(key.name.as_str()) {
        Ok(handle) => handle,
        Err(e) if e.is_not_found() => {
            let all = host.networks()?;
            let names = all.iter().map(|n| n.name.as_str());
            return Err(not_found(Kind::Network, &key.name, names));
        }
        Err(e) => return Err(e.into()),
    };
    let seen = Seen::of(&handle)?;
    if seen.metadata().is_some() {
        return Ok(Outcome::Unchanged);
    }
    let Some(uid) = seen.configured.uuid else {
        return Err(Error::failed(format!("{key} has no UUID")));
    };
    if mode_of(&seen.configured).is_none() {
        let mode = seen.configured.mode().unwrap_or_default();
        return Err(Error::conflict(format!(
            "{key} has the mode {mode:?}, which kvmctl does not know"
        )));
    }
    let mut metadata = ObjectMetadata::new(uid);
    metadata.creation = Some(Timestamp::now());
    metadata
        .extra
        .insert("adopted".to_owned(), "true".to_owned());
    let mut spec = spec_of(&seen.configured);
    spec.autostart = Some(seen.autostart);
    let (labels, annotations) = Default::default();
    let governed: Governed<'_, NetworkSpec> = Governed {
        labels: &labels,
        annotations: &annotations,
        spec: &spec,
    };
    describe(&mut metadata, governed, None)?;
    let mut root = Element::parse(&handle.definition_text()?)?;
    metadata.put_into(&mut root, "uuid")?;
    redefine(world, uid, root)?;
    let told = "the network is managed by kvmctl from now on";
    note(world, key, uid, "Adopted", told);
    Ok(Outcome::Adopted)
}

/// Removes the mark; the network stays as it is.
///
/// # Errors
/// `NotFound`, or a conflict where it is not ours.
pub(in crate::engine) fn forget(world: &World, key: &ObjectKey) -> Result<Outcome> {
    let _object = world
        .store()?
        .lock_object(Kind::Network, key.name.as_str(), OBJECT_WAIT)?;
    let found = find(world, key)?;
    let mut root = Element::parse(&found.text)?;
    object::remove_from(&mut root);
    redefine(world, found.uid(), root)?;
    let told = "kvmctl leaves the network alone from now on";
    note(world, key, found.uid(), "Forgotten", told);
    Ok(Outcome::Forgotten)
}

/// Writes the definition and brings what completion offers up to date.
fn redefine(world: &World, uid: crate::api::Uid, root: Element) -> Result<()> {
    let worker = NetworkWorker::changing(world, uid, root.to_string());
    worker.run(&AnyStep::Network(Step::Redefine))?;
    world.networks(
        crate::observe::Scope::Managed,
        crate::observe::Depth::Listing,
    )?;
    Ok(())
}
