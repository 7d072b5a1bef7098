//! What a changed list of networks comes to: interfaces that stay, go and come.

use super::allocate::{self, Own};
use super::networks;
use super::prepare::reservation;
use crate::api::{InstanceSpec, Name, NetworkAttachment, NicModel};
use crate::error::{Error, Result};
use crate::observe::{NetworkFacts, World};
use crate::plan::instance::{Nic, Reservation};
use crate::plan::instance_change::NicSteps;
use crate::store::{InstanceRecord, Intent, NicRecord, SlotTable, StoreLock};

/// One interface of the wanted list.
enum Place {
    /// It is there already.
    Kept(NicRecord),
    /// It has to come.
    New(NetworkAttachment, Box<NetworkFacts>),
}

/// What a changed list of networks comes to.
pub(super) struct NicChange {
    places: Vec<Place>,
    models: Vec<Option<NicModel>>,
    /// Those that go.
    pub(super) going: Vec<NicRecord>,
}

impl NicChange {
    /// Compares what an instance has with what a new spec asks for.
    ///
    /// What a new entry does not say is no wish: the interface keeps it.
    ///
    /// # Errors
    /// A network that does not exist or is not active.
    pub(super) fn compare(
        world: &World,
        record: &InstanceRecord,
        new: &InstanceSpec,
    ) -> Result<Self> {
        let old = &record.spec;
        // An adopted instance that names no network has what its domain has.
        if old.networks == new.networks || (record.adopted && new.networks.is_empty()) {
            return Ok(Self::nothing(record));
        }
        let mut left = record.nics.clone();
        let mut change = Self {
            places: Vec::new(),
            models: Vec::new(),
            going: Vec::new(),
        };
        let mut to_come = Vec::new();
        for wanted in networks::wanted(world, new)? {
            change.models.push(wanted.model);
            let at = left.iter().position(|nic| serves(nic, old, &wanted));
            match at {
                Some(at) => change.places.push(Place::Kept(left.remove(at))),
                None => to_come.push((change.places.len() + to_come.len(), wanted)),
            }
        }
        let (at, wanted): (Vec<usize>, Vec<NetworkAttachment>) = to_come.into_iter().unzip();
        for (at, (wanted, facts)) in at.into_iter().zip(networks::look_up(world, wanted)?) {
            change
                .places
                .insert(at, Place::New(wanted, Box::new(facts)));
        }
        change.going = left;
        Ok(change)
    }

    fn nothing(record: &InstanceRecord) -> Self {
        Self {
            places: record.nics.iter().cloned().map(Place::Kept).collect(),
            models: vec![None; record.nics.len()],
            going: Vec::new(),
        }
    }

    /// Returns whether anything comes or goes.
    pub(super) fn is_any(&self) -> bool {
        !self.going.is_empty() || self.places.iter().any(Self::is_new)
    }

    fn is_new(place: &Place) -> bool {
        matches!(place, Place::New(..))
    }

    /// Chooses addresses for those that come, and returns all in the order of the list. Call it with
    /// the store locked, and write the intent before the lock is given back.
    ///
    /// # Errors
    /// A full network, or an address that is taken or outside.
    pub(super) fn allocate(
        &self,
        world: &World,
        record: &InstanceRecord,
    ) -> Result<Vec<NicRecord>> {
        let kept: Vec<NicRecord> = self
            .places
            .iter()
            .filter_map(|place| match place {
                Place::Kept(nic) => Some(nic.clone()),
                Place::New(..) => None,
            })
            .collect();
        let wanted: Vec<(NetworkAttachment, NetworkFacts)> = self
            .places
            .iter()
            .filter_map(|place| match place {
                Place::New(attachment, facts) => Some((attachment.clone(), facts.as_ref().clone())),
                Place::Kept(_) => None,
            })
            .collect();
        let own = Own {
            kept: &kept,
            going: &self.going,
        };
        let mut new = allocate::nics(world, record.uid, own, &wanted)?.into_iter();
        let all = self.places.iter().filter_map(|place| match place {
            Place::Kept(nic) => Some(nic.clone()),
            Place::New(..) => new.next(),
        });
        Ok(all.collect())
    }

    /// Returns the steps that a plan shows before addresses are chosen.
    pub(super) fn preview(&self, name: &Name) -> NicSteps {
        let attach = self
            .places
            .iter()
            .zip(&self.models)
            .filter_map(|(p, model)| match p {
                Place::New(wanted, _) => Some(Nic {
                    network: wanted.name.clone(),
                    mac: wanted.mac.clone(),
                    model: *model,
                }),
                Place::Kept(_) => None,
            });
        NicSteps {
            attach: attach.collect(),
            ..gone(&self.going, &[], name)
        }
    }

    /// Returns the steps, now that `all` are chosen.
    pub(super) fn steps(&self, all: &[NicRecord], name: &Name) -> NicSteps {
        let new = self.places.iter().map(Self::is_new);
        let new = all
            .iter()
            .zip(&self.models)
            .zip(new)
            .filter(|(_, new)| *new);
        let new: Vec<(&NicRecord, Option<NicModel>)> =
            new.map(|((nic, model), _)| (nic, *model)).collect();
        come(&new, gone(&self.going, all, name), name)
    }
}

/// Returns whether an interface is what an entry of the list asks for.
fn serves(nic: &NicRecord, old: &InstanceSpec, wanted: &NetworkAttachment) -> bool {
    let had = old.networks.iter().find(|a| a.name == nic.network);
    let model = had.and_then(|a| a.model).unwrap_or(NicModel::Virtio);
    nic.network == wanted.name
        && wanted.ip.is_none_or(|ip| nic.ip == Some(ip))
        && wanted
            .mac
            .as_deref()
            .is_none_or(|mac| nic.mac.to_string().eq_ignore_ascii_case(mac))
        && wanted.model.is_none_or(|wanted| wanted == model)
}

/// Returns the steps that bring the interfaces to what a record says, whatever was begun.
pub(super) fn settle(record: &InstanceRecord, going: &[NicRecord]) -> NicSteps {
    let wished = |nic: &NicRecord| {
        let mut asked = record.spec.networks.iter();
        asked.find(|a| a.name == nic.network).and_then(|a| a.model)
    };
    let all: Vec<(&NicRecord, Option<NicModel>)> =
        record.nics.iter().map(|nic| (nic, wished(nic))).collect();
    come(&all, gone(going, &record.nics, &record.name), &record.name)
}

/// One that comes back with the same hardware address is replaced by the step that attaches it.
fn gone(going: &[NicRecord], staying: &[NicRecord], name: &Name) -> NicSteps {
    let really = |nic: &&NicRecord| staying.iter().all(|s| s.mac != nic.mac);
    let place = |nic: &NicRecord| (nic.network.clone(), nic.ip);
    let left = |nic: &&NicRecord| staying.iter().all(|s| place(s) != place(nic));
    let forget = reservations(going.iter().filter(left), name);
    let going: Vec<&NicRecord> = going.iter().filter(really).collect();
    NicSteps {
        forget,
        detach: going.iter().map(|nic| step(nic, None)).collect(),
        leases: reservations(going.iter().copied(), name),
        free: reservations(going.iter().copied().filter(|n| !n.slot), name),
        ..NicSteps::default()
    }
}

fn come(new: &[(&NicRecord, Option<NicModel>)], gone: NicSteps, name: &Name) -> NicSteps {
    let unslotted = new.iter().map(|(nic, _)| *nic).filter(|n| !n.slot);
    NicSteps {
        reserve: reservations(unslotted, name),
        name: reservations(new.iter().map(|(nic, _)| *nic), name),
        attach: new.iter().map(|(nic, model)| step(nic, *model)).collect(),
        ..gone
    }
}

fn step(nic: &NicRecord, model: Option<NicModel>) -> Nic {
    Nic {
        network: nic.network.clone(),
        mac: Some(nic.mac.to_string()),
        model,
    }
}

fn reservations<'n>(nics: impl Iterator<Item = &'n NicRecord>, name: &Name) -> Vec<Reservation> {
    nics.filter_map(|nic| reservation(nic, name)).collect()
}

/// Brings the tables of slots to what an instance has when a change of it has ended.
///
/// # Errors
/// What the store refuses.
pub(super) fn settle_slots(
    world: &World,
    lock: &StoreLock,
    record: &InstanceRecord,
    intent: &Intent,
) -> Result<()> {
    let store = world.store()?;
    let places = |nics: &[NicRecord]| -> Vec<_> {
        let nics = nics.iter();
        nics.filter_map(|n| Some((n.network_uid?, n.network.clone(), n.ip?)))
            .collect()
    };
    let has = places(&record.nics);
    let had = places(&intent.nics)
        .into_iter()
        .filter(|place| !has.contains(place));
    for (network, name, ip) in had {
        store.update_slots(lock, network, &name, |table: &mut SlotTable| {
            table.take_back_one(ip, record.uid);
            Ok::<(), Error>(())
        })?;
    }
    for (network, name, ip) in &has {
        store.update_slots(lock, *network, name, |table: &mut SlotTable| {
            if !table.used().any(|held| held == (*ip, record.uid)) {
                table.give(*ip, record.uid);
            }
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}
