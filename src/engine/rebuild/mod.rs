//! `store rebuild`: the store from libvirt, the pool and the seeds.

mod images;
mod instances;
mod networks;
mod volumes;

use crate::engine::{balancers, forwards, snapshots};
use crate::error::{Error, Result};
use crate::observe::World;

pub(super) use images::images_forgotten;
pub(super) use instances::{nics, record_of_domain, save};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Rebuilt {
    networks: Vec<String>,
    instances: Vec<String>,
    forwards: Vec<String>,
    balancers: Vec<String>,
    images: Vec<String>,
    volumes: Vec<String>,
    snapshots: Vec<String>,
    incomplete: Vec<String>,
    errors: Vec<Error>,
}

impl Rebuilt {
    /// Takes out what went wrong; all the rest was rebuilt nevertheless.
    pub fn take_errors(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.errors)
    }

    /// Returns what was found, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .networks
            .iter()
            .map(|n| format!("network/{n} rebuilt"))
            .collect();
        lines.extend(
            self.instances
                .iter()
                .map(|n| format!("instance/{n} rebuilt")),
        );
        lines.extend(self.forwards.iter().map(|n| format!("forward/{n} rebuilt")));
        let balancers = self.balancers.iter();
        lines.extend(balancers.map(|n| format!("loadbalancer/{n} rebuilt")));
        lines.extend(self.images.iter().map(|n| format!("image/{n} rebuilt")));
        lines.extend(self.volumes.iter().map(|n| format!("volume/{n} rebuilt")));
        lines.extend(
            self.snapshots
                .iter()
                .map(|n| format!("snapshot/{n} rebuilt")),
        );
        lines.extend(self.incomplete.iter().cloned());
        lines
    }
}

/// Rebuilds what the store has not. Records that are there stay as they are. What cannot be looked at
/// does not keep the rest from being rebuilt.
///
/// # Errors
/// When there is no daemon or no store; what goes wrong with a part is in the result.
pub fn run(world: &World) -> Result<Rebuilt> {
    world.host()?;
    world.store()?;
    let parts: [fn(&World, &mut Rebuilt) -> Result<()>; 6] = [
        images::rebuild,
        networks::rebuild,
        in_pools,
        instances::rebuild,
        |world, rebuilt| {
            let found = forwards::rebuild(world)?;
            rebuilt.forwards = found.names;
            rebuilt.incomplete.extend(found.incomplete);
            Ok(())
        },
        |world, rebuilt| {
            let found = balancers::rebuild(world)?;
            rebuilt.balancers = found.names;
            rebuilt.incomplete.extend(found.incomplete);
            Ok(())
        },
    ];
    let mut rebuilt = Rebuilt::default();
    for part in parts {
        if let Err(error) = part(world, &mut rebuilt) {
            rebuilt.errors.push(error);
        }
    }
    Ok(rebuilt)
}

/// Volumes and snapshots may lie in any pool.
fn in_pools(world: &World, rebuilt: &mut Rebuilt) -> Result<()> {
    for pool in world.host()?.pools()? {
        let mut found = || -> Result<()> {
            if !pool.is_active()? {
                return Ok(());
            }
            volumes::rebuild(world, &pool, rebuilt)?;
            rebuilt.snapshots.extend(snapshots::rebuild(world, &pool)?);
            Ok(())
        };
        let looked = found();
        if let Err(error) = looked {
            let name = &pool.name;
            let told = format!("cannot tell what lies in pool {name:?}");
            rebuilt
                .errors
                .push(error.context(told).hint("kvmctl store rebuild"));
        }
    }
    Ok(())
}

/// A raw volume may be padded.
pub(super) fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| *b == b'}').map_or(0, |at| at + 1);
    &text[..end]
}
