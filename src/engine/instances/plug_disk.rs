//! Volumes that are plugged in and taken away, in the definition and in what runs.

use std::time::{Duration, Instant};

use super::super::signal::interrupted;
use super::plug::{Device, absent_is_fine, let_go, no_port, seen};
use crate::error::Result;
use crate::libvirt::xml::disk::DiskXml;
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::{Domain, Host, Place, free_target};
use crate::plan::instance::Disk;

/// How long a guest may take to look at a new disk.
const NOTICE: Duration = Duration::from_secs(20);
/// One that listens has looked within a few milliseconds.
const SOON: Duration = Duration::from_millis(4);
const LATER: Duration = Duration::from_millis(64);

/// Makes a volume be there and as it is wanted.
///
/// # Errors
/// What libvirt refuses; as [`detach`], where it is there in another way.
pub(super) fn attach(host: &Host, domain: &Domain, disk: &Disk) -> Result<()> {
    let (live, defined) = seen(domain)?;
    let find = |xml: &DomainXml| xml.disk_of(&disk.serial, &disk.path).cloned();
    let (here, there) = (live.as_ref().map(find), find(&defined));
    let wrong = |found: &Option<DiskXml>| found.as_ref().is_some_and(|f| !fits(f, disk));
    if here.as_ref().is_some_and(wrong) || wrong(&there) {
        detach(host, domain, disk)?;
        return attach(host, domain, disk);
    }
    let place = match (&here, &there) {
        (Some(None), None) => Place::Both,
        (Some(None), Some(_)) => Place::Live,
        (_, None) => Place::Definition,
        _ => return Ok(()),
    };
    let known = here.flatten().or(there).map(|d| d.target.dev);
    let taken = live.iter().chain([&defined]).flat_map(DomainXml::targets);
    let target = known.unwrap_or_else(|| free_target(taken));
    let xml = disk.params().disk_xml(&target);
    give_thread(domain, &xml, place, live.as_ref(), &defined)?;
    let attached = domain.attach_disk(&xml, place);
    if attached.is_err() {
        // The first error is the one to tell.
        let _ = drop_threads(domain);
    }
    attached.map_err(|e| no_port(e, domain))?;
    match place {
        Place::Definition => Ok(()),
        Place::Live | Place::Both => noticed(domain, &target).map(drop),
    }
}

/// Makes the thread that a disk is to be served by, wherever the disk comes and it is not yet.
fn give_thread(
    domain: &Domain,
    disk: &DiskXml,
    place: Place,
    live: Option<&DomainXml>,
    defined: &DomainXml,
) -> Result<()> {
    let Some(id) = disk.driver.as_ref().and_then(|d| d.iothread) else {
        return Ok(());
    };
    let comes = |at: Place| place == at || place == Place::Both;
    if comes(Place::Live) && live.is_some_and(|xml| !xml.has_iothread(id)) {
        domain.add_iothread(id, Place::Live)?;
    }
    if comes(Place::Definition) && !defined.has_iothread(id) {
        domain.add_iothread(id, Place::Definition)?;
    }
    Ok(())
}

/// Removes the threads that serve no volume any more.
fn drop_threads(domain: &Domain) -> Result<()> {
    let (live, defined) = seen(domain)?;
    for id in live.iter().flat_map(DomainXml::idle_iothreads) {
        domain.remove_iothread(id, Place::Live)?;
    }
    for id in defined.idle_iothreads() {
        domain.remove_iothread(id, Place::Definition)?;
    }
    Ok(())
}

fn fits(found: &DiskXml, disk: &Disk) -> bool {
    let wanted = disk.params().disk_xml(&found.target.dev);
    let treatment = |d: &DiskXml| {
        let driver = d.driver.clone().unwrap_or_default();
        let modes = (driver.format, driver.cache, driver.io, driver.discard);
        let modes = (modes, driver.iothread);
        (modes, d.readonly.is_some(), d.shareable.is_some())
    };
    found.path() == wanted.path() && treatment(found) == treatment(&wanted)
}

/// Waits until the guest has looked at a new disk, which its kernel does when it finds one. One that
/// is paused or still boots will look later.
fn noticed(domain: &Domain, target: &str) -> Result<bool> {
    let deadline = Instant::now() + NOTICE;
    let mut pause = SOON;
    loop {
        interrupted()?;
        let state = domain.state()?;
        if !state.is_active() || state.is_paused() {
            break;
        }
        match domain.has_read(target) {
            Ok(true) => return Ok(true),
            Err(e) if e.is_no_support() => return Ok(false),
            Ok(false) => {}
            Err(e) => return Err(e.into()),
        }
        if Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LATER);
    }
    Ok(false)
}

/// Takes a volume away, wherever it is, and waits until the guest has let go of it. One that is not
/// there is fine.
///
/// # Errors
/// A conflict when the guest refuses, `Timeout` when it does not answer; the definition is then as
/// before.
pub(super) fn detach(host: &Host, domain: &Domain, disk: &Disk) -> Result<()> {
    let (live, defined) = seen(domain)?;
    let find = |xml: &DomainXml| xml.disk_of(&disk.serial, &disk.path).cloned();
    if let Some(found) = live.as_ref().and_then(find) {
        let device = Device {
            kind: "a volume",
            name: &format!("volume {} (disk {})", disk.wish.name, found.target.dev),
            there: &|xml| find(xml).is_some(),
        };
        let_go(host, domain, &device, || {
            domain.detach_disk(&found, Place::Live)
        })?;
    }
    if let Some(found) = find(&defined) {
        absent_is_fine(domain.detach_disk(&found, Place::Definition))?;
    }
    drop_threads(domain)
}
