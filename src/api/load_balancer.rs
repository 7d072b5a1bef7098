//! Load balancers: a port of the host for a port of several instances.
//!
//! What is written here ends up in a configuration file of nginx, so no field is free text: each is a
//! number, an enum, or a newtype that cannot hold a blank, a quote, a brace or a semicolon.

mod algorithm;
mod port_number;
mod resolved;
mod socket;
mod status;
mod web;

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use algorithm::{Algorithm, BalancerProtocol};
pub use port_number::{InvalidPortNumber, PortNumber, RedirectToHttps};
pub use resolved::{ResolvedBalancer, ResolvedTarget, Unresolved};
pub use socket::{BalancerSocket, SocketClash};
pub use status::{
    BalancerCounters, BalancerPhase, LoadBalancerStatus, StatusClasses, TargetHealth, TargetSource,
    TargetStatus,
};
pub use web::{HostFile, HostName, UrlPath};

use super::meta::ObjectMeta;
use super::name::{LabelKey, LabelValue, Name};
use super::quantity::Quantity;
use super::span::Span;

/// A port of the host for a port of several instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancer {
    /// `kvmctl/v1`.
    pub api_version: String,
    /// `LoadBalancer`.
    pub kind: String,
    /// Name, labels and identity.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: LoadBalancerSpec,
    /// What is observed. Ignored in a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<LoadBalancerStatus>,
}

/// What is wanted of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancerSpec {
    /// Port of the host that clients connect to.
    pub port: PortNumber,
    /// Address of the host that is listened on; all of them when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// `http`, `tcp` or `udp`; http when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<BalancerProtocol>,
    /// How a target is chosen; `round-robin` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// The instances that answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<BalancerTarget>,
    /// Takes every instance with these labels as a target, too; goes with `targetPort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<BalancerSelector>,
    /// Port of the instances that the selector finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<PortNumber>,
    /// How it is found out whether a target is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Certificate by which clients are spoken to in TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BalancerTls>,
    /// What only HTTP has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<BalancerHttp>,
    /// With protocol `tcp`, whether each target is told the client's address in a PROXY protocol
    /// header; no when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<bool>,
}

/// One instance that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BalancerTarget {
    /// The instance.
    pub instance: Name,
    /// Port of the instance.
    pub port: PortNumber,
    /// Its share beside the others' (1 to 1000); 1 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<u16>,
    /// Whether it answers only while no other one does; no when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
    /// Whether it gets no new connections, and keeps those that are open; no when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<bool>,
}

/// Which instances are targets by their labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BalancerSelector {
    /// Labels that an instance has all of.
    pub match_labels: BTreeMap<LabelKey, LabelValue>,
}

/// How it is found out whether a target is well: a request, or a connection where there is no path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// Path that is asked for; a status of 200 to 399 is well. A connection is enough when nothing is
    /// said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<UrlPath>,
    /// Time between two probes; 10s when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Time that a target has to answer; 2s when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Failures in a row that take a target out; 3 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_threshold: Option<u16>,
    /// Answers in a row that take a target in again; 2 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub healthy_threshold: Option<u16>,
}

/// A certificate with its key, as files of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BalancerTls {
    /// The certificate, with those of its issuers behind it (PEM).
    pub certificate_file: HostFile,
    /// Its key (PEM).
    pub key_file: HostFile,
}

/// What only HTTP has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BalancerHttp {
    /// Names by which several balancers share a port; every name when nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<HostName>,
    /// With `tls`, sends clients that come without it to the balancer's port: `true` listens for
    /// them on port 80, a number on that port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_to_https: Option<RedirectToHttps>,
    /// Whether a connection may become a websocket; yes when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<bool>,
    /// The longest body that a client may send; 64Mi when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_size: Option<Quantity>,
    /// How long a target is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<BalancerTimeouts>,
}

/// How long a target is waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BalancerTimeouts {
    /// Until it takes the connection; 5s when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Span>,
    /// Between two parts of its answer; 60s when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Span>,
    /// Between two parts of what it is sent; 60s when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Span>,
}

impl LoadBalancerSpec {
    /// Returns the protocol that is meant.
    pub fn protocol(&self) -> BalancerProtocol {
        self.protocol.unwrap_or_default()
    }

    /// Returns the algorithm that is meant.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm.unwrap_or_default()
    }

    /// Returns the names by which it shares its port; none when it takes every name.
    pub fn hostnames(&self) -> &[HostName] {
        self.http.as_ref().map_or(&[], |http| &http.hostnames)
    }

    /// Returns the port that sends clients without TLS to the balancer's own.
    pub fn redirect_port(&self) -> Option<PortNumber> {
        self.http.as_ref()?.redirect_to_https?.port()
    }
}

impl BalancerHttp {
    /// Returns the longest body that a client may send.
    pub fn max_body_size(&self) -> Quantity {
        self.max_body_size.unwrap_or(Quantity::mib(64))
    }
}

impl BalancerTarget {
    /// Makes a target of which nothing else is said.
    pub const fn new(instance: Name, port: PortNumber) -> Self {
        Self {
            instance,
            port,
            weight: None,
            backup: None,
            drain: None,
        }
    }

    /// Returns its share beside the others'.
    pub fn weight(&self) -> u16 {
        self.weight.unwrap_or(1)
    }

    /// Returns whether it answers only while no other one does.
    pub fn is_backup(&self) -> bool {
        self.backup.unwrap_or(false)
    }

    /// Returns whether it gets no new connections.
    pub fn is_draining(&self) -> bool {
        self.drain.unwrap_or(false)
    }
}

impl std::fmt::Display for BalancerTarget {
    /// Prints `web1:8080`, as it is typed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}:{}", self.instance, self.port))
    }
}

/// Why a text is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a target: {rule}")]
pub struct InvalidTarget {
    value: String,
    rule: String,
}

impl std::str::FromStr for BalancerTarget {
    type Err = InvalidTarget;

    /// Reads `web1:8080`, `web1:8080,weight=3` or `web1:8080,backup`.
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        const FORM: &str =
            "write INSTANCE:PORT, as web1:8080, web1:8080,weight=3 or web1:8080,backup";
        let fail = |rule: String| InvalidTarget {
            value: text.to_owned(),
            rule,
        };
        let mut parts = text.split(',');
        let place = parts.next().unwrap_or_default();
        let (instance, port) = place.split_once(':').ok_or_else(|| fail(FORM.to_owned()))?;
        let instance = Name::new(instance).map_err(|e| fail(e.to_string()))?;
        let port = port
            .parse::<PortNumber>()
            .map_err(|e| fail(e.to_string()))?;
        let mut target = Self::new(instance, port);
        for part in parts {
            match part.split_once('=') {
                None if part == "backup" => target.backup = Some(true),
                Some(("weight", weight)) => {
                    let weight = weight.parse().map_err(|_| fail(FORM.to_owned()))?;
                    target.weight = Some(weight);
                }
                _ => return Err(fail(FORM.to_owned())),
            }
        }
        Ok(target)
    }
}

impl HealthCheck {
    /// Returns the time between two probes.
    pub fn interval(&self) -> Span {
        self.interval.unwrap_or(Span::seconds(10))
    }

    /// Returns the time that a target has to answer.
    pub fn timeout(&self) -> Span {
        self.timeout.unwrap_or(Span::seconds(2))
    }

    /// Returns how many failures in a row take a target out.
    pub fn unhealthy_threshold(&self) -> u16 {
        self.unhealthy_threshold.unwrap_or(3)
    }

    /// Returns how many answers in a row take a target in again.
    pub fn healthy_threshold(&self) -> u16 {
        self.healthy_threshold.unwrap_or(2)
    }
}

impl BalancerTimeouts {
    /// Returns the time until a target takes the connection.
    pub fn connect(&self) -> Span {
        self.connect.unwrap_or(Span::seconds(5))
    }

    /// Returns the time between two parts of a target's answer.
    pub fn read(&self) -> Span {
        self.read.unwrap_or(Span::seconds(60))
    }

    /// Returns the time between two parts of what a target is sent.
    pub fn send(&self) -> Span {
        self.send.unwrap_or(Span::seconds(60))
    }
}
