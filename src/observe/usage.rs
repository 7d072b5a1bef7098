//! What running instances use, from two samples of libvirt's bulk statistics.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::world::World;
use crate::api::{LabelKey, LabelValue, Name, Uid};
use crate::error::Result;
use crate::libvirt::{DomainBrief, DomainUsage};

/// One sample.
#[derive(Debug)]
pub struct Sample {
    at: Instant,
    usage: Vec<(DomainBrief, DomainUsage)>,
}

/// What one instance uses.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Its name.
    pub name: Name,
    /// Its labels.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Percent of its CPUs.
    pub cpu_percent: u64,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Bytes received since it started.
    pub network_received: u64,
    /// Bytes sent since it started.
    pub network_sent: u64,
    /// Bytes read from disks since it started.
    pub disk_read: u64,
    /// Bytes written to disks since it started.
    pub disk_written: u64,
}

/// Takes a sample.
///
/// # Errors
/// What the daemon refuses.
pub fn sample(world: &World) -> Result<Sample> {
    Ok(Sample {
        at: Instant::now(),
        usage: world.host()?.domain_usage()?,
    })
}

/// Works out what was used between two samples, for our instances that run, sorted by name.
///
/// # Errors
/// What the store refuses.
pub fn between(world: &World, before: &Sample, after: &Sample) -> Result<Vec<Usage>> {
    let briefs: Vec<DomainBrief> = after.usage.iter().map(|(brief, _)| brief.clone()).collect();
    let index = world.index_of(&briefs)?;
    let earlier: BTreeMap<Uid, u64> = before
        .usage
        .iter()
        .map(|(brief, usage)| (brief.uid, usage.cpu_ns))
        .collect();
    let elapsed = u64::try_from(after.at.duration_since(before.at).as_nanos())
        .unwrap_or(1)
        .max(1);
    let mut rows = Vec::new();
    for (brief, usage) in &after.usage {
        let (Some(row), true) = (index.rows.get(&brief.uid), brief.state.is_active()) else {
            continue;
        };
        let used = usage
            .cpu_ns
            .saturating_sub(earlier.get(&brief.uid).copied().unwrap_or(0));
        let millis = used.saturating_mul(1000) / elapsed;
        rows.push(Usage {
            name: row.name.clone(),
            labels: row.labels.clone(),
            cpu_millis: millis,
            cpu_percent: millis / 10 / usage.cpus.max(1),
            memory: usage.memory,
            network_received: usage.received,
            network_sent: usage.sent,
            disk_read: usage.read,
            disk_written: usage.written,
        });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}
