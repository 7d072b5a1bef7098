//! What is meant where nothing is said.
//!
//! Defaults are not written into the spec: what a person did not say must stay unsaid, or it could
//! never be unset (kubernetes#82525).

use crate::api::{InstanceSpec, InstanceTypeSpec, Object, Size};

/// The type of an instance that says nothing of its size.
pub const DEFAULT_TYPE: &str = "basic-2";

/// Returns the size of an instance: its own numbers, else those of its type.
///
/// # Errors
///
/// The name of the type, when `lookup` does not know it.
pub fn size(
    spec: &InstanceSpec,
    lookup: impl FnOnce(&str) -> Option<InstanceTypeSpec>,
) -> Result<Size, String> {
    let name = spec.instance_type.as_deref().unwrap_or(DEFAULT_TYPE);
    let base = lookup(name).ok_or_else(|| name.to_owned())?;
    Ok(Size {
        cpus: spec.cpus.unwrap_or(base.cpus),
        memory: spec.memory.unwrap_or(base.memory),
        disk: spec.disk.unwrap_or(base.disk),
    })
}

/// Gives an object the one spelling that is compared and stored: hardware addresses and checksums in
/// lower case, SSH keys without surrounding blanks.
pub fn normalise(object: &mut Object) {
    match object {
        Object::Instance(instance) => {
            for network in &mut instance.spec.networks {
                network.mac = network.mac.take().map(|mac| mac.to_ascii_lowercase());
            }
            for key in &mut instance.spec.ssh_keys {
                *key = key.trim().to_owned();
            }
        }
        Object::Image(image) => {
            let sum = image.spec.sha256.take();
            image.spec.sha256 = sum.map(|s| s.to_ascii_lowercase());
        }
        Object::Network(network) => {
            let domain = network.spec.dns_domain.take();
            network.spec.dns_domain = domain.map(|d| d.to_ascii_lowercase());
        }
        Object::Volume(_)
        | Object::Snapshot(_)
        | Object::InstanceType(_)
        | Object::Secret(_)
        | Object::PortForward(_)
        | Object::LoadBalancer(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Quantity;
    use crate::api::built_in_types;

    fn lookup(name: &str) -> Option<InstanceTypeSpec> {
        built_in_types()
            .into_iter()
            .find(|t| t.metadata.name.as_ref().is_some_and(|n| n.as_str() == name))
            .map(|t| t.spec)
    }

    #[test]
    fn own_numbers_come_before_those_of_the_type() {
        let mut spec = InstanceSpec::default();
        let basic = size(&spec, lookup).unwrap();
        assert_eq!((basic.cpus, basic.memory), (1, Quantity::gib(1)));
        spec.instance_type = Some("standard-4".to_owned());
        spec.cpus = Some(3);
        let mixed = size(&spec, lookup).unwrap();
        assert_eq!((mixed.cpus, mixed.memory), (3, Quantity::gib(8)));
        spec.instance_type = Some("huge".to_owned());
        assert_eq!(size(&spec, lookup), Err("huge".to_owned()));
    }
}
