//! The registry of kinds: one row a kind, from which both grammars, `api-resources`, completion and
//! the manifest reader are made.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of object.
///
/// The order is the order in which objects of different kinds are made; deletion goes backwards.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Kind {
    /// Values referred to by instances.
    Secret,
    /// vCPU, memory and root disk under a name.
    InstanceType,
    /// A base image in a pool.
    Image,
    /// A libvirt network.
    Network,
    /// A disk of its own.
    Volume,
    /// A virtual machine.
    Instance,
    /// What disks held at one moment.
    Snapshot,
    /// A port of the host for a port of an instance.
    PortForward,
    /// A port of the host for a port of several instances.
    LoadBalancer,
}

/// One row of the registry.
#[derive(Debug)]
pub struct KindInfo {
    /// The kind.
    pub kind: Kind,
    /// As it stands in a manifest's `kind:`.
    pub name: &'static str,
    /// As messages and `-o name` print it.
    pub singular: &'static str,
    /// The noun of the grammar.
    pub plural: &'static str,
    /// Further words for it.
    pub aliases: &'static [&'static str],
    /// The short ones among the words, as `api-resources` shows them.
    pub short_names: &'static [&'static str],
    /// What it is, in a line of help.
    pub about: &'static str,
}

/// All kinds, in the order in which they are made.
pub const KINDS: &[KindInfo] = &[
    KindInfo {
        kind: Kind::Secret,
        name: "Secret",
        singular: "secret",
        plural: "secrets",
        aliases: &["secret"],
        short_names: &[],
        about: "Secret values for env, never printed",
    },
    KindInfo {
        kind: Kind::InstanceType,
        name: "InstanceType",
        singular: "type",
        plural: "types",
        aliases: &["type", "instancetype", "instancetypes"],
        short_names: &[],
        about: "Sizes of instances: vCPU, memory and root disk",
    },
    KindInfo {
        kind: Kind::Image,
        name: "Image",
        singular: "image",
        plural: "images",
        aliases: &["image", "img"],
        short_names: &["img"],
        about: "Base images that instances boot from",
    },
    KindInfo {
        kind: Kind::Network,
        name: "Network",
        singular: "network",
        plural: "net",
        aliases: &["nets", "network", "networks"],
        short_names: &[],
        about: "Networks that instances are plugged into",
    },
    KindInfo {
        kind: Kind::Volume,
        name: "Volume",
        singular: "volume",
        plural: "volumes",
        aliases: &["volume", "vol"],
        short_names: &["vol"],
        about: "Disks that outlive the instances they are attached to",
    },
    KindInfo {
        kind: Kind::Instance,
        name: "Instance",
        singular: "instance",
        plural: "instances",
        aliases: &["instance", "vm", "vms", "i"],
        short_names: &["vm", "i"],
        about: "Virtual machines",
    },
    KindInfo {
        kind: Kind::Snapshot,
        name: "Snapshot",
        singular: "snapshot",
        plural: "snapshots",
        aliases: &["snapshot", "snap", "snaps"],
        short_names: &["snap"],
        about: "What a volume, or all disks of an instance, held at one moment",
    },
    KindInfo {
        kind: Kind::PortForward,
        name: "PortForward",
        singular: "forward",
        plural: "forwards",
        aliases: &["forward", "pf", "portforward", "portforwards"],
        short_names: &["pf"],
        about: "Ports of the host for ports of instances",
    },
    KindInfo {
        kind: Kind::LoadBalancer,
        name: "LoadBalancer",
        singular: "loadbalancer",
        plural: "lb",
        aliases: &["lbs", "loadbalancer", "loadbalancers"],
        short_names: &[],
        about: "Ports of the host that several instances answer",
    },
];

impl Kind {
    /// Returns the kind's row of the registry.
    pub fn info(self) -> &'static KindInfo {
        // Every kind has a row: a unit test counts them.
        KINDS
            .iter()
            .find(|row| row.kind == self)
            .unwrap_or(&KINDS[0])
    }

    /// Finds a kind by any of its nouns ("vm", "instances"), in any case.
    pub fn from_noun(noun: &str) -> Option<Self> {
        let noun = noun.to_ascii_lowercase();
        KINDS
            .iter()
            .find(|row| row.plural == noun || row.singular == noun || row.aliases.contains(&&*noun))
            .map(|row| row.kind)
    }

    /// Finds a kind by its name in a manifest ("Instance").
    pub fn from_manifest(name: &str) -> Option<Self> {
        KINDS
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.info().singular)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_noun_names_one_kind() {
        let mut seen = BTreeSet::new();
        for row in KINDS {
            assert_eq!(row.kind.info().name, row.name, "each kind has its own row");
            assert_eq!(Kind::from_noun(row.singular), Some(row.kind));
            assert!(seen.insert(row.plural), "{} twice", row.plural);
            for alias in row.aliases {
                assert!(seen.insert(alias), "{alias} twice");
                assert_eq!(Kind::from_noun(alias), Some(row.kind));
            }
        }
    }
}
