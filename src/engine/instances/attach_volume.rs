//! `volumes attach` and `volumes detach`: a changed list of volumes, as an edited manifest has it.

use super::super::options::Applied;
use super::attach::check;
use super::change::edit;
use crate::api::{Name, ObjectKey, Reporter, VolumeAttachment};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::store::VolumeRecord;

/// Attaches a volume to an instance, or does nothing where it has it as is wanted.
///
/// # Errors
/// A conflict where it has it otherwise, or another one has it; as a changed manifest.
pub fn attach_volume(
    world: &World,
    key: &ObjectKey,
    wish: &VolumeAttachment,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let volume = world.volume(&wish.name)?;
    let mut applied = edit(world, key, reporter, |instance, record| {
        let all = &mut instance.spec.volumes;
        match all.iter().find(|v| v.name == wish.name) {
            None => all.push(wish.clone()),
            Some(same) if same == wish => {}
            Some(_) => {
                let name = &wish.name;
                return Err(Error::conflict(format!(
                    "volume/{name} is attached to {key} already, in another way"
                ))
                .hint(format!("kvmctl volumes detach {name} {}", key.name))
                .hint(format!("kvmctl edit {key}")));
            }
        }
        check(instance, record)
    })?;
    let serial = volume.status.and_then(|s| s.serial).unwrap_or_default();
    applied
        .notes
        .extend(notes(world, key, &wish.name, &serial)?);
    Ok(applied)
}

/// What the guest finds it by, and whether it has found it.
fn notes(world: &World, key: &ObjectKey, name: &Name, serial: &str) -> Result<Vec<String>> {
    let mut notes = vec![format!(
        "the guest finds volume/{name} as /dev/disk/by-id/virtio-{serial}"
    )];
    let domain = world.host()?.domain(key.name.as_str())?;
    if !domain.state()?.is_active() {
        return Ok(notes);
    }
    let xml = domain.live()?;
    let disk = xml.disk_of(serial, "");
    // A driver that cannot tell is no reason for a warning.
    let read = disk.map(|d| domain.has_read(&d.target.dev));
    if let Some(Ok(false)) = read {
        notes.push(
            "the guest has not looked at it yet: one that is paused, still boots or has no PCI \
             hot-plug sees it later"
                .to_owned(),
        );
    }
    Ok(notes)
}

/// Detaches a volume from an instance, and waits until the guest has let go of it.
///
/// A volume that nobody has is detached, so that a command that was killed at its end can be given
/// again.
///
/// # Errors
/// `NotFound` where another domain has it; a conflict when the guest refuses, or has it mounted; as a
/// changed manifest.
pub fn detach_volume(
    world: &World,
    key: &ObjectKey,
    name: &Name,
    mounted: Mounted,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    if mounted == Mounted::Refuse {
        refuse_mounted(world, key, name)?;
    }
    edit(world, key, reporter, |instance, _| {
        let all = &mut instance.spec.volumes;
        let before = all.len();
        all.retain(|v| v.name != *name);
        if all.len() < before {
            return Ok(());
        }
        let status = world.volume(name)?.status.unwrap_or_default();
        if status.attached_to.is_empty() {
            return Ok(());
        }
        let error = Error::not_found(format!("volume/{name} is not attached to {key}"));
        let others = status
            .attached_to
            .iter()
            .filter(|u| u.domain != key.name.as_str());
        let error = others.fold(error, |error, other| {
            error.caused_by(format!("{} has it", other.domain))
        });
        Err(by_hand(world, key, name)?.map_or(error.clone(), |hint| error.hint(hint)))
    })
}

/// What to do where a guest's agent tells that a volume is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounted {
    /// Nothing is detached.
    Refuse,
    /// It is detached all the same: what the guest has not written yet is lost.
    Lose,
}

/// A guest lets go of a disk that it has mounted, and what it has not written yet is lost. Only an agent
/// can tell; without one there is nothing to go by.
fn refuse_mounted(world: &World, key: &ObjectKey, name: &Name) -> Result<()> {
    let serial = world.volume(name)?.status.and_then(|s| s.serial);
    let domain = world.host()?.domain(key.name.as_str());
    let (Some(serial), Ok(domain)) = (serial, domain) else {
        return Ok(());
    };
    let live = domain.state()?.is_active() && !domain.state()?.is_paused();
    if !live || domain.live()?.disk_of(&serial, "").is_none() || !domain.agent_answers() {
        return Ok(());
    }
    let Some(at) = domain.agent_mountpoint(&serial) else {
        return Ok(());
    };
    Err(Error::conflict(format!(
        "volume/{name} is mounted at {at} in {key}: what is not written yet would be lost"
    ))
    .hint(format!("kvmctl exec {key} -- umount {at}"))
    .hint(format!("kvmctl volumes detach {name} {} --force", key.name)))
}

/// A volume that was attached with virsh is virsh's to detach.
fn by_hand(world: &World, key: &ObjectKey, name: &Name) -> Result<Option<String>> {
    let Some(record) = world.store_for_reading()?.get::<VolumeRecord>(name)? else {
        return Ok(None);
    };
    let Ok(domain) = world.host()?.domain(key.name.as_str()) else {
        return Ok(None);
    };
    let path = format!(
        "{}/{}",
        world.host()?.pool(&record.file.pool)?.path()?,
        record.file.volume
    );
    let xml = domain.live()?;
    let found = xml.disk_of(&record.serial(), &path);
    Ok(found.map(|d| {
        format!(
            "virsh detach-disk {} {} --persistent",
            key.name, d.target.dev
        )
    }))
}
