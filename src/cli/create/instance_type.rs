//! `types create NAME`.

use clap::Args;

use crate::api::{API_VERSION, InstanceType, InstanceTypeSpec, Name, ObjectMeta, Quantity};

/// Flags that describe a type.
#[derive(Debug, Clone, Args)]
pub(crate) struct InstanceTypeArgs {
    /// Name of the type
    #[arg(value_name = "NAME")]
    name: Name,
    /// Number of virtual CPUs
    #[arg(long, value_name = "N")]
    cpus: u32,
    /// Memory
    #[arg(long, value_name = "SIZE")]
    memory: Quantity,
    /// Size of the root disk
    #[arg(long, value_name = "SIZE")]
    disk: Quantity,
}

impl InstanceTypeArgs {
    /// Builds the InstanceType that the flags describe.
    pub(crate) fn object(&self) -> InstanceType {
        InstanceType {
            api_version: API_VERSION.to_owned(),
            kind: "InstanceType".to_owned(),
            metadata: ObjectMeta::named(self.name.clone()),
            spec: InstanceTypeSpec {
                cpus: self.cpus,
                memory: self.memory,
                disk: self.disk,
            },
        }
    }
}
