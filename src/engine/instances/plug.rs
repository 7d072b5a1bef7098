//! Interfaces that are plugged in and taken away, in the definition and in what runs.

use std::time::{Duration, Instant};

use super::super::signal::interrupted;
use crate::api::NicModel;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::xml::instance::{NicAttachment, NicParams, interface};
use crate::libvirt::xml::interface::InterfaceXml;
use crate::libvirt::{Domain, EventKind, EventWaiter, Host, LibvirtError, Place, Waited};
use crate::observe::USER_NETWORK;
use crate::plan::instance::Nic;

/// How long a guest may take to let go of an interface: one without KVM is slow, and one that boots
/// does not listen yet.
const LET_GO: Duration = Duration::from_secs(60);
/// A guest that was not listening yet has to be asked again; sooner than after five seconds the second
/// time would take the first one back.
const AGAIN: Duration = Duration::from_secs(8);
/// An event may get lost with a daemon that restarts; then looking helps.
const LOOK: Duration = Duration::from_secs(2);

/// What a network card is plugged into.
pub(super) fn attachment(network: &str) -> NicAttachment {
    match network {
        USER_NETWORK => NicAttachment::User,
        name => NicAttachment::Network(name.to_owned()),
    }
}

/// Makes an interface be there and as it is wanted.
///
/// # Errors
/// What libvirt refuses; as [`detach`], where one of its hardware address is other than wanted.
pub(super) fn attach(host: &Host, domain: &Domain, nic: &Nic) -> Result<()> {
    let wanted = card(nic);
    let (live, defined) = seen(domain)?;
    let is_as_wanted = |xml: &DomainXml| {
        let found = nic.mac.as_deref().and_then(|mac| xml.interface(mac));
        found.map(|found| fits(found, &wanted, nic.model))
    };
    let live = live.as_ref().map(&is_as_wanted);
    let defined = is_as_wanted(&defined);
    if live == Some(Some(false)) || defined == Some(false) {
        detach(host, domain, nic)?;
        return attach(host, domain, nic);
    }
    let place = match (live, defined) {
        (Some(None), None) => Place::Both,
        (Some(None), Some(_)) => Place::Live,
        (_, None) => Place::Definition,
        _ => return Ok(()),
    };
    domain
        .attach_interface(&wanted, place)
        .map_err(|e| no_port(e, domain))
}

/// Returns what runs, if it runs, and the definition.
pub(super) fn seen(domain: &Domain) -> Result<(Option<DomainXml>, DomainXml)> {
    let live = match domain.state()?.is_active() {
        true => Some(domain.live()?),
        false => None,
    };
    Ok((live, domain.definition()?))
}

fn card(nic: &Nic) -> InterfaceXml {
    interface(&NicParams {
        mac: nic.mac.clone().unwrap_or_default(),
        model: nic.model.unwrap_or(NicModel::Virtio),
        attachment: attachment(&nic.network),
    })
}

fn fits(found: &InterfaceXml, wanted: &InterfaceXml, model: Option<NicModel>) -> bool {
    let same_model = model.is_none() || found.model == wanted.model;
    found.kind == wanted.kind && found.network() == wanted.network() && same_model
}

pub(super) fn no_port(error: LibvirtError, domain: &Domain) -> Error {
    let full = error.message().contains("No more available PCI");
    let error = Error::from(error);
    match full {
        true => error
            .caused_by("all ports of the machine are in use, and it gets new ones only while off")
            .hint(format!("kvmctl instances stop {}", domain.name())),
        false => error,
    }
}

/// Takes an interface away, wherever it is, and waits until the guest has let go of it. One that is
/// not there is fine.
///
/// # Errors
/// A conflict when the guest refuses, `Timeout` when it does not answer; the definition is then as
/// before.
pub(super) fn detach(host: &Host, domain: &Domain, nic: &Nic) -> Result<()> {
    let mac = nic.mac.as_deref().unwrap_or_default();
    let (live, defined) = seen(domain)?;
    if let Some(found) = live.as_ref().and_then(|xml| xml.interface(mac)) {
        unplug(host, domain, found, mac)?;
    }
    match defined.interface(mac) {
        Some(found) => absent_is_fine(domain.detach_interface(found, Place::Definition)),
        None => Ok(()),
    }
}

fn unplug(host: &Host, domain: &Domain, found: &InterfaceXml, mac: &str) -> Result<()> {
    let device = Device {
        kind: "an interface",
        name: &format!("interface {mac}"),
        there: &|xml| xml.interface(mac).is_some(),
    };
    let_go(host, domain, &device, || {
        domain.detach_interface(found, Place::Live)
    })
}

/// A device that a guest is to let go of.
pub(super) struct Device<'d> {
    /// What it is: "an interface".
    pub(super) kind: &'d str,
    /// Which one.
    pub(super) name: &'d str,
    /// Whether a domain has it.
    pub(super) there: &'d dyn Fn(&DomainXml) -> bool,
}

/// Asks the guest to let go of a device, and waits until it has.
///
/// # Errors
/// A conflict when the guest refuses, `Timeout` when it does not answer.
pub(super) fn let_go(
    host: &Host,
    domain: &Domain,
    device: &Device<'_>,
    ask: impl Fn() -> std::result::Result<(), LibvirtError>,
) -> Result<()> {
    if domain.state()?.is_paused() {
        return Err(Error::conflict(format!(
            "instance/{} is paused: its guest cannot let go of {}",
            domain.name(),
            device.kind
        ))
        .hint(format!("kvmctl instances resume {}", domain.name())));
    }
    // Before the call, so that its effect is not missed.
    let events = EventWaiter::new(host, [domain.uid()])?;
    let ask = || match ask() {
        // It was asked already.
        Err(e) if e.message().contains("in the process of unplug") => Ok(()),
        other => absent_is_fine(other),
    };
    ask()?;
    let deadline = Instant::now() + LET_GO;
    let mut again = Instant::now() + AGAIN;
    loop {
        interrupted()?;
        if !domain.state()?.is_active() || !(device.there)(&domain.live()?) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let what = "has not let go of";
            return Err(kept(domain, device.name, ErrorKind::Timeout, what));
        }
        if Instant::now() >= again {
            ask()?;
            again = Instant::now() + AGAIN;
        }
        let soon = deadline.min(Instant::now() + LOOK);
        if let Waited::Event(event) = events.next(soon)
            && event.kind == EventKind::DeviceRemovalFailed
            && (device.there)(&domain.live()?)
        {
            let what = "refuses to let go of";
            return Err(kept(domain, device.name, ErrorKind::Conflict, what));
        }
    }
}

fn kept(domain: &Domain, device: &str, kind: ErrorKind, what: &str) -> Error {
    let name = domain.name();
    Error::new(
        kind,
        format!("the guest of instance/{name} {what} {device}"),
    )
    .caused_by("a guest that is still booting, or has no PCI hot-plug, does not")
    .hint(format!("kvmctl instances stop {name}"))
}

pub(super) fn absent_is_fine(result: std::result::Result<(), LibvirtError>) -> Result<()> {
    match result {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}
