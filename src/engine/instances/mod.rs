//! Instances: what their steps do to the world, and the operations that plan and run them.
//!
//! ```text
//! apply ─> prepare (image, type, networks, accelerator: all checked)
//!       ─> allocate (address and intent, in one breath under the store's lock)
//!       ─> plan ─> executor ─> worker
//! ```

mod accelerator;
mod addresses;
mod allocate;
mod apply;
mod attach;
mod attach_volume;
mod change;
mod create;
mod delete;
mod desired;
mod disks;
mod doubt;
mod explain;
mod lifecycle;
pub(super) mod masks;
mod metadata;
mod networks;
mod nics;
mod plug;
mod plug_disk;
mod prepare;
mod ready;
mod reboot;
mod refresh;
mod resume;
mod scrub;
mod sides;
mod verdict;
mod volumes;
mod worker;

pub(super) use apply::apply;
pub use attach::{attach_network, detach_network};
pub use attach_volume::{Mounted, attach_volume, detach_volume};
pub(super) use change::change_meta;
pub use change::change_spec;
pub(super) use delete::delete;
pub(super) use explain::creation_unseen;
pub(in crate::engine) use lifecycle::find;
pub use lifecycle::{Change, StopOptions, lifecycle};
pub(in crate::engine) use metadata::set_host_key;
pub(super) use metadata::{adopt, forget};
pub use ready::wait_ready;
pub use refresh::{recheck, refresh_ready};
pub use sides::Sides;
pub(super) use sides::{manifest_of, sides};

use crate::api::{API_VERSION, Instance, Name, ObjectMeta};
use crate::error::Result;
use crate::libvirt::Domain;
use crate::observe::World;
use crate::store::InstanceRecord;

/// Returns the record of an instance; made from its metadata where the store has none.
fn record_of(world: &World, domain: &Domain) -> Result<InstanceRecord> {
    let uid = domain.uid();
    if let Some(record) = world.store_for_reading()?.get::<InstanceRecord>(&uid)? {
        return Ok(record);
    }
    super::rebuild::record_of_domain(world, domain)
}

/// Returns what the seed of a ready instance is made of, as far as the sanitised one needs it.
fn seed_input_of(world: &World, record: &InstanceRecord) -> Result<crate::cloudinit::SeedInput> {
    let mut input = crate::cloudinit::SeedInput::new(record.uid, record.name.clone());
    input.ssh_keys.push(super::guest::own_key(world)?.public);
    input.ssh_keys.extend(record.spec.ssh_keys.iter().cloned());
    input.nics = record
        .nics
        .iter()
        .map(|n| crate::cloudinit::SeedNic {
            mac: n.mac.to_string(),
        })
        .collect();
    input.env = record
        .spec
        .env
        .iter()
        .map(|v| crate::cloudinit::EnvEntry {
            name: v.name.clone(),
            value: v.value.clone().unwrap_or_default(),
            secret: v.value.is_none(),
        })
        .collect();
    input.run.clone_from(&record.spec.run);
    input.command.clone_from(&record.spec.command);
    input.user_data = record.spec.user_data.clone().map(String::into_bytes);
    input.mask_key.clone_from(&record.mask_key);
    Ok(input)
}

/// Returns an instance as its record has it, by the name that its domain has now.
fn instance_of(record: &InstanceRecord, name: &Name) -> Instance {
    Instance {
        api_version: API_VERSION.to_owned(),
        kind: "Instance".to_owned(),
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: record.labels.clone(),
            annotations: record.annotations.clone(),
            ..ObjectMeta::default()
        },
        spec: record.spec.clone(),
        status: None,
    }
}
