//! `lb create NAME`: flags to a LoadBalancer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;

use super::forward::labels;
use crate::api::{
    API_VERSION, Algorithm, BalancerHttp, BalancerProtocol, BalancerSelector, BalancerTarget,
    BalancerTimeouts, BalancerTls, HealthCheck, HostFile, HostName, LoadBalancer, LoadBalancerSpec,
    Name, ObjectMeta, PortNumber, Quantity, RedirectToHttps, Span, UrlPath,
};
use crate::error::{Error, Result};

/// Flags that describe a load balancer.
#[derive(Debug, Clone, Args)]
pub(crate) struct BalancerArgs {
    /// Name of the load balancer
    #[arg(value_name = "NAME")]
    name: Name,
    /// Port of the host that clients connect to
    #[arg(long, short = 'p', value_name = "PORT")]
    port: PortNumber,
    /// Address of the host that is listened on; all of them when nothing is said
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// http, tcp or udp
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<BalancerProtocol>,
    /// round-robin, least-conn, ip-hash, random-two or consistent-hash
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Option<Algorithm>,
    /// Target, as web1:8080, web1:8080,weight=3 or web1:8080,backup (can be repeated)
    #[arg(long, value_name = "INSTANCE:PORT")]
    target: Vec<BalancerTarget>,
    /// Take every instance with these labels as a target, too; goes with --target-port
    #[arg(
        long,
        value_name = "KEY=VALUE",
        value_delimiter = ',',
        requires = "target_port"
    )]
    selector: Vec<String>,
    /// Port of the instances that the selector finds
    #[arg(long, value_name = "PORT")]
    target_port: Option<PortNumber>,
    /// Label (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    label: Vec<String>,
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    web: WebArgs,
    /// Tell targets of protocol tcp the client's address in a PROXY protocol header
    #[arg(long)]
    proxy_protocol: bool,
}

/// How it is found out whether targets are well.
#[derive(Debug, Clone, Args)]
struct HealthArgs {
    /// Path that must answer with 200 to 399
    #[arg(long, value_name = "PATH")]
    health_path: Option<UrlPath>,
    /// Time between two probes, as 10s
    #[arg(long, value_name = "TIME")]
    health_interval: Option<Span>,
    /// Time that a target has to answer, as 2s
    #[arg(long, value_name = "TIME")]
    health_timeout: Option<Span>,
    /// Failures in a row that take a target out
    #[arg(long, value_name = "N")]
    unhealthy_threshold: Option<u16>,
    /// Answers in a row that take a target in again
    #[arg(long, value_name = "N")]
    healthy_threshold: Option<u16>,
}

/// What only HTTP and TLS have.
#[derive(Debug, Clone, Args)]
struct WebArgs {
    /// Name that clients call it by, so that several share a port (can be repeated)
    #[arg(long = "hostname", value_name = "NAME", value_delimiter = ',')]
    hostnames: Vec<HostName>,
    /// Certificate (PEM), with those of its issuers behind it
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<HostFile>,
    /// Key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<HostFile>,
    /// Send clients without TLS to the port that has it; listens for them on port 80 or the given one
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "80")]
    redirect_to_https: Option<PortNumber>,
    /// Do not let connections become websockets
    #[arg(long)]
    no_websocket: bool,
    /// The longest body that a client may send, as 64Mi
    #[arg(long, value_name = "SIZE")]
    max_body_size: Option<Quantity>,
    /// Time until a target takes a connection, as 5s
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<Span>,
    /// Time between two parts of a target's answer, as 60s
    #[arg(long, value_name = "TIME")]
    read_timeout: Option<Span>,
    /// Time between two parts of what a target is sent, as 60s
    #[arg(long, value_name = "TIME")]
    send_timeout: Option<Span>,
}

impl BalancerArgs {
    /// Builds the LoadBalancer that the flags describe.
    ///
    /// # Errors
    /// Usage errors that name the flag.
    pub(crate) fn object(&self) -> Result<LoadBalancer> {
        let selected = labels(&self.selector, "--selector")?;
        let selector = (!selected.is_empty()).then_some(BalancerSelector {
            match_labels: selected,
        });
        let label: BTreeMap<_, _> = labels(&self.label, "--label")?;
        Ok(LoadBalancer {
            api_version: API_VERSION.to_owned(),
            kind: "LoadBalancer".to_owned(),
            metadata: ObjectMeta {
                labels: label,
                ..ObjectMeta::named(self.name.clone())
            },
            spec: LoadBalancerSpec {
                port: self.port,
                address: self.address,
                protocol: self.protocol,
                algorithm: self.algorithm,
                targets: self.target.clone(),
                selector,
                target_port: self.target_port,
                health_check: self.health.check(),
                tls: self.web.tls(),
                http: self.web.http()?,
                proxy_protocol: self.proxy_protocol.then_some(true),
            },
            status: None,
        })
    }
}

impl HealthArgs {
    fn check(&self) -> Option<HealthCheck> {
        let check = HealthCheck {
            path: self.health_path.clone(),
            interval: self.health_interval,
            timeout: self.health_timeout,
            unhealthy_threshold: self.unhealthy_threshold,
            healthy_threshold: self.healthy_threshold,
        };
        (check != HealthCheck::default()).then_some(check)
    }
}

impl WebArgs {
    fn tls(&self) -> Option<BalancerTls> {
        Some(BalancerTls {
            certificate_file: self.tls_cert.clone()?,
            key_file: self.tls_key.clone()?,
        })
    }

    fn http(&self) -> Result<Option<BalancerHttp>> {
        if self.redirect_to_https.is_some() && self.tls_cert.is_none() {
            return Err(Error::usage(
                "--redirect-to-https goes with --tls-cert and --tls-key",
            ));
        }
        let timeouts = BalancerTimeouts {
            connect: self.connect_timeout,
            read: self.read_timeout,
            send: self.send_timeout,
        };
        let http = BalancerHttp {
            hostnames: self.hostnames.clone(),
            redirect_to_https: self.redirect_to_https.map(|port| match port {
                PortNumber::HTTP => RedirectToHttps::Usual(true),
                port => RedirectToHttps::At(port),
            }),
            websocket: self.no_websocket.then_some(false),
            max_body_size: self.max_body_size,
            timeouts: (timeouts != BalancerTimeouts::default()).then_some(timeouts),
        };
        Ok((http != BalancerHttp::default()).then_some(http))
    }
}
