//! What an instance should become.

use crate::api::{Instance, InstanceSpec};
use crate::engine::desired::{self, Governed};
use crate::error::Result;
use crate::store::InstanceRecord;

/// What an instance should become.
pub(super) type Desired = desired::Desired<InstanceSpec>;

/// Wants what is given, and nothing else.
pub(super) fn whole(wanted: &Instance) -> Desired {
    Desired::whole(said(wanted))
}

/// Merges three ways: what was applied last, what is wanted now, what is there.
///
/// # Errors
/// If the merged spec is none.
pub(super) fn merged(record: &InstanceRecord, wanted: &Instance) -> Result<Desired> {
    let last = record.last_applied.as_ref().map(|last| Governed {
        labels: &last.labels,
        annotations: &last.annotations,
        spec: &last.spec,
    });
    let live = Governed {
        labels: &record.labels,
        annotations: &record.annotations,
        spec: &record.spec,
    };
    Desired::merged(last, said(wanted), live)
}

fn said(wanted: &Instance) -> Governed<'_, InstanceSpec> {
    Governed {
        labels: &wanted.metadata.labels,
        annotations: &wanted.metadata.annotations,
        spec: &wanted.spec,
    }
}
