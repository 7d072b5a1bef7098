//! The address slots of a network, and who has them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Record, Store, StoreError, StoreLock};
use crate::api::{Timestamp, Uid};

/// Who has which address of a network; changed only under the store's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlotTable {
    /// UUID of the network.
    pub network: Uid,
    /// Name of the network, for people.
    pub name: String,
    /// Addresses that have ever been given out.
    #[serde(default)]
    pub addresses: BTreeMap<Ipv4Addr, SlotUse>,
}

/// The state of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlotUse {
    /// Instance that has it; nobody when it was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Since when.
    pub since: Timestamp,
}

impl Record for SlotTable {
    const DIR: &'static str = "slots";
    type Key = Uid;
    fn key(&self) -> Uid {
        self.network
    }
}

impl SlotTable {
    /// Makes the table of a network that has given out nothing.
    pub fn new(network: Uid, name: impl Into<String>) -> Self {
        Self {
            network,
            name: name.into(),
            addresses: BTreeMap::new(),
        }
    }

    /// Returns the addresses in use and by whom.
    pub fn used(&self) -> impl Iterator<Item = (Ipv4Addr, Uid)> + '_ {
        self.addresses
            .iter()
            .filter_map(|(ip, slot)| Some((*ip, slot.uid?)))
    }

    /// Returns when each address was last given out or back, for the longest unused to be found.
    pub fn last_used(&self) -> BTreeMap<Ipv4Addr, Timestamp> {
        self.addresses
            .iter()
            .map(|(ip, slot)| (*ip, slot.since))
            .collect()
    }

    /// Gives an address to an instance.
    pub fn give(&mut self, ip: Ipv4Addr, uid: Uid) {
        let since = Timestamp::now();
        let uid = Some(uid);
        self.addresses.insert(ip, SlotUse { uid, since });
    }

    /// Takes one address of an instance back; what another has by now stays.
    pub fn take_back_one(&mut self, ip: Ipv4Addr, uid: Uid) {
        let since = Timestamp::now();
        if let Some(slot) = self.addresses.get_mut(&ip)
            && slot.uid == Some(uid)
        {
            *slot = SlotUse { uid: None, since };
        }
    }

    /// Takes every address of an instance back; returns whether it had one.
    pub fn take_back(&mut self, uid: Uid) -> bool {
        let since = Timestamp::now();
        let mut had = false;
        for slot in self.addresses.values_mut() {
            if slot.uid == Some(uid) {
                *slot = SlotUse { uid: None, since };
                had = true;
            }
        }
        had
    }
}

impl Store {
    /// Changes the table of a network's slots; the lock proves that nobody else does.
    ///
    /// # Errors
    /// What `change` says, or when the store cannot be read or written; nothing is changed then.
    pub fn update_slots<R, E: From<StoreError>>(
        &self,
        _lock: &StoreLock,
        network: Uid,
        name: &str,
        change: impl FnOnce(&mut SlotTable) -> Result<R, E>,
    ) -> Result<R, E> {
        let before = self.get::<SlotTable>(&network)?;
        let mut table = before
            .clone()
            .unwrap_or_else(|| SlotTable::new(network, name));
        let done = change(&mut table)?;
        if before.as_ref() != Some(&table) {
            self.put(&table)?;
        }
        Ok(done)
    }
}
