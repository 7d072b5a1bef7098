//! Where instances are, as far as forwards and balancers must know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::api::{Name, PortMapping, Timestamp, Uid};
use crate::error::Result;
use crate::observe::World;
use crate::store::{IndexRow, InstanceRecord, Labels, NicBrief};

/// Where an instance is.
#[derive(Debug)]
pub struct Place {
    pub(in crate::observe) name: Name,
    pub(in crate::observe) labels: Labels,
    pub(in crate::observe) nics: Vec<NicBrief>,
    pub(super) ports: Vec<PortMapping>,
    pub(super) created: Timestamp,
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

impl Place {
    /// Returns its interface in a network, or its first one.
    pub(super) fn nic(&self, network: Option<&str>) -> Option<&NicBrief> {
        let wanted = |nic: &&NicBrief| network.is_none_or(|name| nic.network == name);
        self.nics.iter().find(wanted)
    }
}

impl World {
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

    /// A domain that carries our mark may be a colleague's, whose store knows what we do not.
    pub(super) fn is_in_this_store(&self, uid: Uid, place: &Place) -> Result<bool> {
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
}
