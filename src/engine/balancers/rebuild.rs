//! Load balancers out of nginx's files, which carry them whole.

use crate::error::{Error, Result};
use crate::observe::World;
use crate::store::{AppliedBalancer, BalancerRecord, STORE_WAIT, TargetName};

/// What was found.
#[derive(Debug, Default)]
pub(in crate::engine) struct Rebuilt {
    /// Names of the balancers.
    pub(in crate::engine) names: Vec<String>,
    /// What could not be found out, a line each.
    pub(in crate::engine) incomplete: Vec<String>,
}

/// Writes the records that the store has not.
///
/// # Errors
/// What the store refuses.
pub(in crate::engine) fn rebuild(world: &World) -> Result<Rebuilt> {
    let mut rebuilt = Rebuilt::default();
    let Ok(nginx) = world.nginx() else {
        return Ok(rebuilt);
    };
    let recorded = match nginx.recorded() {
        Ok(recorded) => recorded,
        Err(e) => {
            let line = format!("load balancers: {}", Error::from(e));
            rebuilt.incomplete.push(line);
            return Ok(rebuilt);
        }
    };
    let store = world.store()?;
    for found in recorded {
        let meta = found.object.metadata;
        let (Some(uid), Some(name)) = (meta.uid, meta.name) else {
            continue;
        };
        let lock = store.lock(STORE_WAIT)?;
        let known = store.get::<BalancerRecord>(&uid)?.is_some();
        if known || store.balancer_named(&name)?.is_some() {
            continue;
        }
        let mut record = BalancerRecord::new(uid, name, found.object.spec);
        record.labels = meta.labels;
        record.annotations = meta.annotations;
        record.generation = meta.generation.unwrap_or(1);
        record.created = meta.creation_timestamp.unwrap_or(record.created);
        record.last_applied = Some(AppliedBalancer {
            labels: record.labels.clone(),
            annotations: record.annotations.clone(),
            spec: record.spec.clone(),
        });
        let out = found.out.into_iter();
        record.out = out
            .map(|(instance, port)| TargetName { instance, port })
            .collect();
        store.put(&record)?;
        drop(lock);
        rebuilt.names.push(record.name.to_string());
    }
    Ok(rebuilt)
}
