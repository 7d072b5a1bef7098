//! All domains at once: one round trip, whatever their number.

use std::collections::BTreeMap;

use virt::sys;

use super::conn::{Host, call};
use super::domain_state::DomainState;
use super::error::LibvirtError;
use super::ffi::stats::{Record, Value, all_domain_stats};
use crate::api::Uid;

/// What a listing must know of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainBrief {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: Uid,
    /// The number of this run, if it runs.
    pub id: Option<u32>,
    /// What it is doing.
    pub state: DomainState,
}

/// What a domain has used since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DomainUsage {
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Number of virtual CPUs.
    pub cpus: u64,
    /// Memory that the guest uses, in bytes, where the balloon tells.
    pub memory: Option<u64>,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
}

/// Targets of disks, each with its path.
pub type Disks = Vec<(String, String)>;

impl Host {
    /// Returns name, identity and state of all domains.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn domain_briefs(&self) -> Result<Vec<DomainBrief>, LibvirtError> {
        let records = self.all_stats(sys::VIR_DOMAIN_STATS_STATE)?;
        Ok(records.into_iter().map(|record| brief(&record)).collect())
    }

    /// Returns what all running domains have used.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn domain_usage(&self) -> Result<Vec<(DomainBrief, DomainUsage)>, LibvirtError> {
        let groups = sys::VIR_DOMAIN_STATS_STATE
            | sys::VIR_DOMAIN_STATS_CPU_TOTAL
            | sys::VIR_DOMAIN_STATS_VCPU
            | sys::VIR_DOMAIN_STATS_BALLOON
            | sys::VIR_DOMAIN_STATS_INTERFACE
            | sys::VIR_DOMAIN_STATS_BLOCK;
        let records = self.all_stats(groups)?;
        Ok(records
            .into_iter()
            .map(|r| (brief(&r), usage(&r.params)))
            .collect())
    }

    /// Returns the disks of all domains as target and path: of what runs where it runs, else of the
    /// definition; nothing for a domain whose driver does not tell.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn domain_disks(&self) -> Result<Vec<(DomainBrief, Option<Disks>)>, LibvirtError> {
        let groups = sys::VIR_DOMAIN_STATS_STATE | sys::VIR_DOMAIN_STATS_BLOCK;
        let records = self.all_stats(groups)?;
        let told = records.iter().map(|r| (brief(r), disks(&r.params)));
        Ok(told.collect())
    }

    fn all_stats(&self, groups: u32) -> Result<Vec<Record>, LibvirtError> {
        let ask = |flags| {
            call("virConnectGetAllDomainStats", "list", "domains", || {
                all_domain_stats(&self.conn, groups, flags)
            })
        };
        // A domain whose monitor is stuck must not hold up the list.
        match ask(sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT) {
            Err(e) if !e.is_unreachable() => ask(0),
            other => other,
        }
    }
}

fn brief(record: &Record) -> DomainBrief {
    let number = |key: &str| match record.params.get(key) {
        Some(Value::Number(n)) => i64::try_from(*n).unwrap_or(0),
        _ => 0,
    };
    DomainBrief {
        name: record.name.clone(),
        uid: Uid::from_bytes(record.uuid),
        id: record.id,
        state: DomainState::from_raw(number("state.state"), number("state.reason")),
    }
}

fn disks(params: &BTreeMap<String, Value>) -> Option<Disks> {
    let Some(Value::Number(count)) = params.get("block.count") else {
        return None;
    };
    let text = |key: String| match params.get(&key) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let disk = |n| {
        let target = text(format!("block.{n}.name"))?;
        // A drive without a medium has no path.
        Some((target, text(format!("block.{n}.path"))?))
    };
    Some((0..*count).filter_map(disk).collect())
}

fn usage(params: &BTreeMap<String, Value>) -> DomainUsage {
    let number = |key: &str| match params.get(key) {
        Some(Value::Number(n)) => u64::try_from(*n).ok(),
        _ => None,
    };
    let sum = |group: &str, field: &str| -> u64 {
        let count = number(&format!("{group}.count")).unwrap_or(0);
        (0..count)
            .filter_map(|n| number(&format!("{group}.{n}.{field}")))
            .sum()
    };
    // The guest's own view where its balloon driver reports, QEMU's resident size elsewhere.
    let memory = match (number("balloon.available"), number("balloon.unused")) {
        (Some(available), Some(unused)) => Some(available.saturating_sub(unused)),
        _ => number("balloon.rss"),
    };
    DomainUsage {
        cpu_ns: number("cpu.time").unwrap_or(0),
        cpus: number("vcpu.current").unwrap_or(1),
        memory: memory.map(|kib| kib * 1024),
        received: sum("net", "rx.bytes"),
        sent: sum("net", "tx.bytes"),
        read: sum("block", "rd.bytes"),
        written: sum("block", "wr.bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::conn::tests::own_test_host;
    use super::*;

    #[test]
    fn all_domains_come_in_one_call() {
        let host = own_test_host();
        let briefs = host.domain_briefs().unwrap();
        assert_eq!(briefs.len(), 1);
        assert_eq!(
            (briefs[0].name.as_str(), briefs[0].state),
            ("test", DomainState::Running)
        );
        host.domain("test").unwrap().destroy().unwrap();
        assert_eq!(host.domain_briefs().unwrap()[0].state, DomainState::Off);
    }
}
