//! `forwards create NAME` and `net forward INSTANCE`: flags to PortForwards.

use std::collections::BTreeMap;

use clap::Args;

use super::instance::pair;
use crate::api::{
    API_VERSION, LabelKey, LabelValue, Name, ObjectMeta, PortForward, PortForwardSpec, PortMapping,
};
use crate::error::{Error, Result};

/// What forwards have beside their ports.
#[derive(Debug, Clone, Args)]
pub(crate) struct MoreArgs {
    /// Network in which the instance is reached, where it is in several
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Do not answer at localhost
    #[arg(long)]
    no_localhost: bool,
    /// Take a port of the host below 1024, such as that of SSH
    #[arg(long)]
    force: bool,
    /// Label (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    label: Vec<String>,
}

/// Flags that describe a forward.
#[derive(Debug, Clone, Args)]
pub(crate) struct ForwardArgs {
    /// Name of the forward
    #[arg(value_name = "NAME")]
    name: Name,
    /// Instance that answers
    #[arg(long, value_name = "INSTANCE")]
    instance: Name,
    /// Ports, as 8080:80, 8080:80/udp, 127.0.0.1:8080:80 or 0:80 for a free one
    #[arg(long = "port", short = 'p', value_name = "HOST:GUEST")]
    ports: PortMapping,
    #[command(flatten)]
    more: MoreArgs,
}

impl ForwardArgs {
    /// Builds the PortForward that the flags describe.
    ///
    /// # Errors
    /// Usage errors that name the flag.
    pub(crate) fn object(&self) -> Result<PortForward> {
        self.more
            .forward(self.name.clone(), &self.instance, &self.ports)
    }
}

impl MoreArgs {
    /// Builds a PortForward.
    ///
    /// # Errors
    /// Usage errors that name the flag.
    pub(crate) fn forward(
        &self,
        name: Name,
        instance: &Name,
        ports: &PortMapping,
    ) -> Result<PortForward> {
        let mut spec = PortForwardSpec::of_mapping(instance.clone(), ports);
        spec.network.clone_from(&self.network);
        spec.localhost = self.no_localhost.then_some(false);
        spec.allow_privileged_ports = self.force.then_some(true);
        Ok(PortForward {
            api_version: API_VERSION.to_owned(),
            kind: "PortForward".to_owned(),
            metadata: ObjectMeta {
                labels: labels(&self.label, "--label")?,
                ..ObjectMeta::named(name)
            },
            spec,
            status: None,
        })
    }
}

/// Reads labels that a flag was given.
///
/// # Errors
/// Usage errors that name the flag.
pub(super) fn labels(given: &[String], flag: &str) -> Result<BTreeMap<LabelKey, LabelValue>> {
    let wrong = |e: crate::api::InvalidName| Error::usage(format!("{flag}: {e}"));
    given
        .iter()
        .map(|label| {
            let (key, value) = pair(label, flag)?;
            let key = LabelKey::new(key).map_err(wrong)?;
            Ok((key, LabelValue::new(value).map_err(wrong)?))
        })
        .collect()
}
