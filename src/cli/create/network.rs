//! `net create NAME`.

use std::net::Ipv4Addr;

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;

use crate::api::{
    API_VERSION, AddressRange, Cidr, Cidr6, DhcpSpec, Name, Network, NetworkMode, NetworkSpec,
    ObjectMeta,
};

/// Flags that describe a network.
#[derive(Debug, Clone, Args)]
pub(crate) struct NetworkArgs {
    /// Name of the network
    #[arg(value_name = "NAME")]
    name: Name,
    /// IPv4 range, as 10.10.0.0/24; a free one is taken when absent
    #[arg(long, value_name = "RANGE")]
    cidr: Option<Cidr>,
    /// How it reaches the outside; nat when absent
    #[arg(
        long,
        value_name = "MODE",
        value_parser = PossibleValuesParser::new(NetworkMode::ALL.map(NetworkMode::as_str))
            .try_map(|word| word.parse::<NetworkMode>())
    )]
    mode: Option<NetworkMode>,
    /// Address of the host in it; the first of the range when absent
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// Bridge of the host to use (mode bridge), or a name for the network's own
    #[arg(long, value_name = "BRIDGE")]
    bridge: Option<String>,
    /// Device of the host: what guests are plugged into (mode macvtap), or the only way out
    #[arg(long, visible_alias = "device", value_name = "DEVICE")]
    dev: Option<String>,
    /// Domain of the guests' names; NAME.internal when absent
    #[arg(long, value_name = "DOMAIN")]
    dns_domain: Option<String>,
    /// Addresses for guests that kvmctl knows nothing of, as 10.10.0.2-10.10.0.9
    #[arg(long, value_name = "FIRST-LAST", conflicts_with = "no_dhcp")]
    dhcp_range: Option<AddressRange>,
    /// Give out no addresses
    #[arg(long)]
    no_dhcp: bool,
    /// IPv6 range, as fd00:10::/64
    #[arg(long, value_name = "RANGE")]
    ipv6: Option<Cidr6>,
    /// Largest packet in bytes
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Do not start it with the host
    #[arg(long)]
    no_autostart: bool,
}

impl NetworkArgs {
    /// Builds the Network that the flags describe.
    pub(crate) fn object(&self) -> Network {
        let dhcp = DhcpSpec {
            enabled: self.no_dhcp.then_some(false),
            range: self.dhcp_range,
        };
        Network {
            api_version: API_VERSION.to_owned(),
            kind: "Network".to_owned(),
            metadata: ObjectMeta::named(self.name.clone()),
            spec: NetworkSpec {
                mode: self.mode,
                cidr: self.cidr,
                gateway: self.gateway,
                bridge: self.bridge.clone(),
                device: self.dev.clone(),
                dns_domain: self.dns_domain.clone(),
                dhcp: (dhcp != DhcpSpec::default()).then_some(dhcp),
                ipv6: self.ipv6,
                mtu: self.mtu,
                autostart: self.no_autostart.then_some(false),
            },
            status: None,
        }
    }
}
