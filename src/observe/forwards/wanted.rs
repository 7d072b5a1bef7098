//! The forwards that ought to be in force: stand-alone ones from the store, and those in the lists of
//! instances. Each names an instance, and is led to the address which that instance has now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::api::{Name, PortForwardSpec, PortMapping, Timestamp, Uid};
use crate::error::Result;
use crate::net::forward::Mapping;
use crate::observe::World;
use crate::store::ForwardRecord;

use super::place::Place;
use super::segment::Lookup;

/// Whose a forward is.
#[derive(Debug, Clone)]
pub enum Origin {
    /// It stands alone.
    Alone(Box<ForwardRecord>),
    /// It is in the list of an instance.
    Listed {
        /// The instance's identity.
        uid: Uid,
        /// When the instance was made.
        created: Timestamp,
    },
}

/// A forward as it ought to be.
#[derive(Debug, Clone)]
pub struct WantedForward {
    /// Its name.
    pub name: Name,
    /// Whose it is.
    pub origin: Origin,
    /// The instance that answers.
    pub instance: Name,
    /// Identity of that instance, if it is there.
    pub target: Option<Uid>,
    /// The ports, with that of the host which was taken.
    pub ports: PortMapping,
    /// Network in which the instance is reached.
    pub network: Option<String>,
    /// What the rules are to be, or why there can be none.
    pub aim: Result<Mapping, Astray>,
}

/// Why a forward leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Astray {
    /// In one word.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

impl Astray {
    /// The instance is one of another store on this host, which alone knows where it is.
    const ELSEWHERE: &'static str = "NotInThisStore";

    /// Returns whether rules that are there still may stay, because it is not known that they are
    /// wrong.
    pub fn spares_rules(&self) -> bool {
        self.reason == Self::ELSEWHERE
    }

    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, message }
    }
}

impl WantedForward {
    /// Returns whether its deletion has begun.
    pub fn is_going(&self) -> bool {
        match &self.origin {
            Origin::Alone(record) => record.deletion_timestamp.is_some(),
            Origin::Listed { .. } => false,
        }
    }

    /// Returns whether the host itself reaches it by 127.0.0.1, too.
    pub fn has_localhost(&self) -> bool {
        match &self.origin {
            Origin::Alone(record) => record.spec.localhost.unwrap_or(true),
            Origin::Listed { .. } => true,
        }
    }

    /// Returns the identity that its rules carry: its own, or that of the instance in whose list it is.
    pub fn owner(&self) -> Uid {
        match &self.origin {
            Origin::Alone(record) => record.uid,
            Origin::Listed { uid, .. } => *uid,
        }
    }
}

impl World {
    /// Lists the forwards that ought to be in force, and those whose deletion has begun.
    ///
    /// # Errors
    /// What the daemon or the store refuses.
    pub fn wanted_forwards(&self) -> Result<Vec<WantedForward>> {
        let records: Vec<ForwardRecord> = self.store_for_reading()?.all()?;
        let places = self.places()?;
        if records.is_empty() && places.values().all(|place| place.ports.is_empty()) {
            return Ok(Vec::new());
        }
        let gone: BTreeSet<Uid> = self.deleted_instances()?;
        let mut lookup = Lookup::default();
        let mut wanted = Vec::new();
        let mut names: BTreeSet<Name> = records.iter().map(|r| r.name.clone()).collect();
        for record in records {
            wanted.push(self.alone(record, &places, &gone, &mut lookup)?);
        }
        for (uid, place) in places.iter().filter(|(uid, _)| !gone.contains(uid)) {
            wanted.extend(self.listed(*uid, place, &mut names, &mut lookup)?);
        }
        Ok(wanted)
    }

    /// Returns whether there is any forward that rules could be wanted for.
    ///
    /// # Errors
    /// What the daemon or the store refuses.
    pub fn has_forwards(&self) -> Result<bool> {
        let store = self.store_for_reading()?;
        // Mostly the index tells, of which an old row costs a look at the rules for nothing.
        let known = || store.load_index().rows.into_values();
        Ok(!store.keys::<ForwardRecord>()?.is_empty()
            || known().any(|row| !row.ports.is_empty())
            || self.places()?.values().any(|place| !place.ports.is_empty()))
    }

    /// Works out where stand-alone forwards would lead.
    ///
    /// # Errors
    /// What the daemon or the store refuses.
    pub fn lead(&self, records: Vec<ForwardRecord>) -> Result<Vec<WantedForward>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let (places, gone) = (self.places()?, self.deleted_instances()?);
        let mut lookup = Lookup::default();
        let led = records
            .into_iter()
            .map(|record| self.alone(record, &places, &gone, &mut lookup));
        led.collect()
    }

    fn alone(
        &self,
        record: ForwardRecord,
        places: &BTreeMap<Uid, Place>,
        gone: &BTreeSet<Uid>,
        lookup: &mut Lookup,
    ) -> Result<WantedForward> {
        let target = places
            .iter()
            .find(|(uid, place)| place.name == record.spec.instance && !gone.contains(uid));
        let ports = record.mapping();
        let (network, aim) = match target {
            None => {
                let instance = record.spec.instance.as_str();
                let message = format!("there is no instance {instance:?}");
                (None, Err(Astray::new("InstanceNotFound", message)))
            }
            Some((uid, place)) => {
                let localhost = record.spec.localhost.unwrap_or(true);
                let wanted = record.spec.network.as_deref();
                let (network, aim) =
                    self.aim(record.uid, (*uid, place), wanted, &ports, localhost, lookup)?;
                let named = aim.map(|mapping| mapping.named(record.name.clone()));
                (network, named)
            }
        };
        Ok(WantedForward {
            name: record.name.clone(),
            instance: record.spec.instance.clone(),
            target: target.map(|(uid, _)| *uid),
            ports,
            network,
            aim,
            origin: Origin::Alone(Box::new(record)),
        })
    }

    fn listed(
        &self,
        uid: Uid,
        place: &Place,
        names: &mut BTreeSet<Name>,
        lookup: &mut Lookup,
    ) -> Result<Vec<WantedForward>> {
        let mut wanted = Vec::new();
        if !self.is_in_this_store(uid, place)? {
            return Ok(wanted);
        }
        for ports in &place.ports {
            let Some(name) = listed_name(&place.name, ports, names) else {
                continue;
            };
            let (network, aim) = self.aim(uid, (uid, place), None, ports, true, lookup)?;
            wanted.push(WantedForward {
                name,
                origin: Origin::Listed {
                    uid,
                    created: place.created,
                },
                instance: place.name.clone(),
                target: Some(uid),
                ports: ports.clone(),
                network,
                aim,
            });
        }
        Ok(wanted)
    }

    fn aim(
        &self,
        owner: Uid,
        (uid, place): (Uid, &Place),
        network: Option<&str>,
        ports: &PortMapping,
        localhost: bool,
        lookup: &mut Lookup,
    ) -> Result<(Option<String>, Result<Mapping, Astray>)> {
        let nic = match place.nic(network) {
            Some(nic) => Some(nic.clone()),
            None => self.leased(uid, network)?,
        };
        let Some(nic) = nic else {
            if !self.is_in_this_store(uid, place)? {
                let name = place.name.as_str();
                let message = format!(
                    "nothing is known here of instance {name:?}, which carries kvmctl's mark \
                     (kvmctl store rebuild)"
                );
                return Ok((None, Err(Astray::new(Astray::ELSEWHERE, message))));
            }
            let within = network.map_or_else(String::new, |n| format!(" in network {n:?}"));
            let name = place.name.as_str();
            let message = format!("no address of instance {name:?}{within} is known");
            return Ok((None, Err(Astray::new("NoAddress", message))));
        };
        let segment = self.segment(&nic.network, lookup)?;
        let aim = segment.and_then(|segment| {
            Mapping::new(owner, ports, nic.ip.into(), segment, localhost)
                .map_err(|e| Astray::new("Impossible", e.to_string()))
        });
        Ok((Some(nic.network), aim))
    }
}

/// The name that a forward in an instance's list is seen by: `web-8080`, `web-53-udp`.
fn listed_name(instance: &Name, ports: &PortMapping, names: &mut BTreeSet<Name>) -> Option<Name> {
    let plain = suffix(ports);
    let numbered = (2..=200).map(|n| format!("{plain}-{n}"));
    let name = std::iter::once(plain.clone())
        .chain(numbered)
        .filter_map(|suffix| instance.with_suffix(&suffix).ok())
        .find(|name| !names.contains(name))?;
    names.insert(name.clone());
    Some(name)
}

/// What the name of a forward to an instance ends with where nobody chose one.
pub fn suffix(ports: &PortMapping) -> String {
    let port = match ports.host {
        0 => format!("to-{}", ports.guest),
        port => port.to_string(),
    };
    match ports.protocol {
        crate::api::Protocol::Tcp => port,
        crate::api::Protocol::Udp => format!("{port}-udp"),
    }
}

/// Returns the spec that a forward in an instance's list comes to.
pub(super) fn listed_spec(instance: &Name, ports: &PortMapping) -> PortForwardSpec {
    let mut spec = PortForwardSpec::of_mapping(instance.clone(), ports);
    spec.allow_privileged_ports = (ports.host < 1024).then_some(true);
    spec
}

/// Returns the address of the guest, where it is one that rules lead to.
pub(super) fn guest(mapping: &Mapping) -> Option<Ipv4Addr> {
    match mapping.guest() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_forwards_have_names_of_their_own() {
        let web = Name::new("web").unwrap();
        let mut names = BTreeSet::from([Name::new("web-8080").unwrap()]);
        let mut name = |text: &str| {
            let ports = text.parse().unwrap();
            listed_name(&web, &ports, &mut names).unwrap().to_string()
        };
        assert_eq!(name("8080:80"), "web-8080-2");
        assert_eq!(name("53:53/udp"), "web-53-udp");
        assert_eq!(name("127.0.0.1:9000:80"), "web-9000");
        assert_eq!(name("127.0.0.2:9000:80"), "web-9000-2");
        let long = Name::new("a".repeat(63)).unwrap();
        let mut none = BTreeSet::new();
        let ports = "8080:80".parse().unwrap();
        let name = listed_name(&long, &ports, &mut none).unwrap();
        assert_eq!(name.as_str().len(), 63);
    }
}
