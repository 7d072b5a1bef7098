//! Instance types: the sizes of the guide, those of AWS, and the user's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meta::{API_VERSION, ObjectMeta};
use super::name::Name;
use super::quantity::Quantity;

/// A named size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceType {
    /// `kvmctl/v1`.
    pub api_version: String,
    /// `InstanceType`.
    pub kind: String,
    /// Name, labels and identity. A type may have dots in its name, as `t2.micro` has.
    pub metadata: ObjectMeta,
    /// The size.
    pub spec: InstanceTypeSpec,
}

/// What a type gives an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceTypeSpec {
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory: Quantity,
    /// Size of the root disk.
    pub disk: Quantity,
}

/// What an instance comes to: its own numbers, or else those of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory: Quantity,
    /// Size of the root disk.
    pub disk: Quantity,
}

/// The built-in sizes: name, vCPU, memory in MiB, disk in GiB.
///
/// `basic`, `standard` and `performance` are the guide's; `t2` are AWS's CPU and memory.
pub const BUILT_IN_TYPES: &[(&str, u32, u64, u64)] = &[
    ("t2.nano", 1, 512, 8),
    ("t2.micro", 1, 1024, 8),
    ("t2.small", 1, 2048, 20),
    ("t2.medium", 2, 4096, 40),
    ("t2.large", 2, 8192, 80),
    ("t2.xlarge", 4, 16384, 160),
    ("t2.2xlarge", 8, 32768, 320),
    ("basic-1", 1, 512, 8),
    ("basic-2", 1, 1024, 10),
    ("standard-1", 2, 2048, 20),
    ("standard-2", 2, 4096, 40),
    ("standard-4", 4, 8192, 80),
    ("performance-1", 4, 16384, 160),
    ("performance-2", 8, 32768, 320),
];

/// Returns the built-in types as objects, in the order of the table.
pub fn built_in_types() -> Vec<InstanceType> {
    BUILT_IN_TYPES
        .iter()
        .filter_map(|&(name, cpus, memory, disk)| {
            Some(InstanceType {
                api_version: API_VERSION.to_owned(),
                kind: "InstanceType".to_owned(),
                metadata: ObjectMeta::named(Name::new(name).ok()?),
                spec: InstanceTypeSpec {
                    cpus,
                    memory: Quantity::mib(memory),
                    disk: Quantity::gib(disk),
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_a_type() {
        assert_eq!(built_in_types().len(), BUILT_IN_TYPES.len());
    }
}
