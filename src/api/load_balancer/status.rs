//! What is observed of a balancer.

use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PortNumber;
use crate::api::Name;

/// How a balancer is doing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum BalancerPhase {
    /// Its making has begun and not ended.
    Pending,
    /// It listens, and every target that should answer does.
    Active,
    /// It listens, and some or all of its targets do not answer.
    Degraded,
    /// It listens, but as something that is not wanted any more.
    Stale,
    /// It does not listen.
    Down,
    /// The caller has no right to see it.
    Unknown,
    /// Its deletion has begun and not ended.
    Terminating,
}

/// How a target is doing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TargetHealth {
    /// It answers.
    Healthy,
    /// It does not.
    Unhealthy,
    /// No address of it is known.
    Unresolved,
    /// It gets no new connections.
    Draining,
    /// It was not asked.
    Unknown,
}

/// Why an instance is a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetSource {
    /// It is in the list.
    Listed,
    /// It has the labels of the selector.
    Selected,
}

/// What is observed of a balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerStatus {
    /// How it is doing.
    pub phase: BalancerPhase,
    /// Why, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Sockets of the host that it listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<SocketAddr>,
    /// Its targets, with those that the selector finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetStatus>,
    /// How many of the targets answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<u32>,
    /// Whether somebody takes targets that fail the health check out, and in again; none without a
    /// health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<bool>,
    /// What passed through it since its logs began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<BalancerCounters>,
    /// Generation of the spec that this status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<u64>,
}

/// What is observed of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The instance.
    pub instance: Name,
    /// Port of the instance.
    pub port: PortNumber,
    /// Why it is a target.
    pub source: TargetSource,
    /// How it is doing.
    pub health: TargetHealth,
    /// Where it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Its share beside the others'.
    pub weight: u16,
    /// Whether it answers only while no other one does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
    /// Whether failing health checks took it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out: bool,
    /// How long its last answer took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_micros: Option<u64>,
    /// Connections from the balancer to it that are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Why it is not well, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it is not well, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What passed through a balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BalancerCounters {
    /// Requests, or connections where there are no requests.
    pub requests: u64,
    /// How the requests ended; none where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statuses: Option<StatusClasses>,
    /// Connections of clients that are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Connections that clients opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<u64>,
}

/// How requests ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusClasses {
    /// 100 to 199.
    #[serde(rename = "1xx")]
    pub informational: u64,
    /// 200 to 299.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// 300 to 399.
    #[serde(rename = "3xx")]
    pub redirection: u64,
    /// 400 to 499.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// 500 to 599.
    #[serde(rename = "5xx")]
    pub server_error: u64,
}

impl fmt::Display for BalancerPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Degraded => "Degraded",
            Self::Stale => "Stale",
            Self::Down => "Down",
            Self::Unknown => "Unknown",
            Self::Terminating => "Terminating",
        })
    }
}

impl fmt::Display for TargetHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "Healthy",
            Self::Unhealthy => "Unhealthy",
            Self::Unresolved => "Unresolved",
            Self::Draining => "Draining",
            Self::Unknown => "Unknown",
        })
    }
}
