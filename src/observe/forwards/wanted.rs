//! The forwards that ought to be in force: stand-alone ones from the store, and those in the lists of
//! instances. Each names an instance, and is led to the address which that instance has now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::api::{Name, PortForwardSpec, PortMapping, Timestamp, Uid};
use crate::error::Result;
use crate::libvirt::xml::network::NetworkXml;
use crate::net::forward::{Bridge, LibvirtRules, Mapping, Segment};
use crate::observe::World;
use crate::store::{ForwardRecord, IndexRow, InstanceRecord, Labels, NicBrief};

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

    fn new(reason: &'static str, message: impl Into<String>) -> Self {
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

    /// Returns the identity that its rules carry: its own, or that of the instance in whose list it is.
    pub fn owner(&self) -> Uid {
        match &self.origin {
            Origin::Alone(record) => record.uid,
            Origin::Listed { uid, .. } => *uid,
        }
    }
}

/// Where an instance is, as far as forwards and balancers must know.
#[derive(Debug)]
pub struct Place {
    pub(in crate::observe) name: Name,
    pub(in crate::observe) labels: Labels,
    pub(in crate::observe) nics: Vec<NicBrief>,
    ports: Vec<PortMapping>,
    created: Timestamp,
}

impl From<IndexRow> for Place {
    fn from(row: IndexRow) -> Self {
        Self {
            name: row.name,
            labels: row.labels,
            nics: row.nics,
            ports: row.ports,
            created: row.created,
        }
    }
}

impl From<InstanceRecord> for Place {
    fn from(record: InstanceRecord) -> Self {
        Self {
            nics: record.reserved(),
            name: record.name,
            labels: record.labels,
            ports: record.ports,
            created: record.created,
        }
    }
}

/// What is looked up once for all forwards of a run.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    segments: BTreeMap<String, Result<Segment, Astray>>,
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
        let alone = !self.store_for_reading()?.all::<ForwardRecord>()?.is_empty();
        Ok(alone || self.places()?.values().any(|place| !place.ports.is_empty()))
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

    /// Returns where every instance is, also of those that are being made.
    pub(in crate::observe) fn places(&self) -> Result<BTreeMap<Uid, Place>> {
        let briefs = self.host()?.domain_briefs()?;
        let rows = self.index_of(&briefs)?.rows.into_iter();
        let mut places: BTreeMap<Uid, Place> =
            rows.map(|(uid, row)| (uid, Place::from(row))).collect();
        for (uid, begun) in self.intents()? {
            // What is being changed is in its record first.
            if begun.intent.op != crate::store::IntentOp::Delete {
                let record: Option<InstanceRecord> = self.store_for_reading()?.get(&uid)?;
                places.extend(record.map(|r| (uid, Place::from(r))));
            }
        }
        Ok(places)
    }

    /// Identities of the instances whose deletion has begun.
    pub(in crate::observe) fn deleted_instances(&self) -> Result<BTreeSet<Uid>> {
        let intents = self.intents()?.into_iter();
        let deleted = intents.filter(|(_, b)| b.intent.op == crate::store::IntentOp::Delete);
        Ok(deleted.map(|(uid, _)| uid).collect())
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
        let nic = match nic_of(place, network) {
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

    /// A domain that carries our mark may be a colleague's, whose store knows what we do not.
    fn is_in_this_store(&self, uid: Uid, place: &Place) -> Result<bool> {
        let store = self.store_for_reading()?;
        Ok(!place.nics.is_empty() || store.get::<InstanceRecord>(&uid)?.is_some())
    }

    /// Finds the address that an instance without a reserved one has been given.
    pub(in crate::observe) fn leased(
        &self,
        uid: Uid,
        network: Option<&str>,
    ) -> Result<Option<NicBrief>> {
        let record: Option<InstanceRecord> = self.store_for_reading()?.get(&uid)?;
        let nics = record.into_iter().flat_map(|r| r.nics);
        for nic in nics.filter(|n| n.network_uid.is_some()) {
            if network.is_some_and(|wanted| wanted != nic.network) {
                continue;
            }
            let leases = match self.host()?.leases(&nic.network) {
                Ok(leases) => leases,
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(e.into()),
            };
            let mac = nic.mac.to_string();
            let lease = leases.iter().find(|l| l.mac.eq_ignore_ascii_case(&mac));
            if let Some(IpAddr::V4(ip)) = lease.map(|l| l.ip) {
                let network = nic.network;
                return Ok(Some(NicBrief { network, ip }));
            }
        }
        Ok(None)
    }

    /// Looks up what rules must know of a network.
    fn segment(&self, name: &str, lookup: &mut Lookup) -> Result<Result<Segment, Astray>> {
        if let Some(known) = lookup.segments.get(name) {
            return Ok(known.clone());
        }
        let found = match self.host()?.network(name) {
            // That of one which is not active is known as well, and its rules need not go.
            Ok(network) => segment_of(&network.definition()?),
            Err(e) if e.is_not_found() => Err(Astray::new(
                "NetworkNotFound",
                format!("there is no network {name:?}"),
            )),
            Err(e) => return Err(e.into()),
        };
        lookup.segments.insert(name.to_owned(), found.clone());
        Ok(found)
    }
}

fn nic_of<'p>(place: &'p Place, network: Option<&str>) -> Option<&'p NicBrief> {
    let wanted = |nic: &&NicBrief| network.is_none_or(|name| nic.network == name);
    place.nics.iter().find(wanted)
}

pub(in crate::observe) fn segment_of(xml: &NetworkXml) -> Result<Segment, Astray> {
    let astray = |why: &str| Astray::new("NoRules", format!("network {:?} {why}", xml.name));
    let bridge = xml.bridge.as_ref().and_then(|b| b.name.as_deref());
    let bridge: Bridge = bridge
        .ok_or_else(|| astray("has no bridge of its own"))?
        .parse()
        .map_err(|e: crate::api::InvalidName| astray(&format!("cannot be named in a rule: {e}")))?;
    let subnet = xml
        .subnet()
        .ok_or_else(|| astray("has no IPv4 range of libvirt's"))?;
    let mode = xml.forward.as_ref();
    let libvirt = match mode.map(|f| f.mode.as_deref().unwrap_or("nat")) {
        Some("nat") => LibvirtRules::Nat,
        Some("route") => LibvirtRules::Filter,
        None => LibvirtRules::Isolated,
        Some(_) => LibvirtRules::None,
    };
    Ok(Segment {
        bridge,
        subnet: subnet.trunc().into(),
        libvirt,
    })
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

    #[test]
    fn what_rules_must_know_is_read_from_the_network() {
        let network = |inside: &str| {
            let xml = format!("<network><name>n</name>{inside}</network>");
            segment_of(&NetworkXml::from_xml(&xml).unwrap())
        };
        let ip = "<ip address='10.0.0.1' netmask='255.255.255.0'/>";
        let bridge = "<bridge name='virbr7'/>";
        for (forward, rules) in [
            ("<forward mode='nat'/>", LibvirtRules::Nat),
            ("<forward/>", LibvirtRules::Nat),
            ("<forward mode='route'/>", LibvirtRules::Filter),
            ("", LibvirtRules::Isolated),
            ("<forward mode='open'/>", LibvirtRules::None),
        ] {
            let found = network(&format!("{forward}{bridge}{ip}")).unwrap();
            assert_eq!(found.libvirt, rules, "{forward}");
            assert_eq!(found.subnet.to_string(), "10.0.0.0/24");
        }
        assert_eq!(network(ip).unwrap_err().reason, "NoRules");
        assert_eq!(network(bridge).unwrap_err().reason, "NoRules");
    }
}
