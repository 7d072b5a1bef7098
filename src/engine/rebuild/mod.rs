//! `store rebuild`: the store from libvirt, the pool and the seeds.

mod images;
mod instances;
mod networks;
mod volumes;

use crate::error::Result;
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
}

impl Rebuilt {
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
        if lines.is_empty() {
            lines.push("nothing is missing from the store".to_owned());
        }
        lines
    }
}

/// Rebuilds what the store has not. Records that are there stay as they are.
///
/// # Errors
/// What libvirt or the store refuses.
pub fn run(world: &World) -> Result<Rebuilt> {
    let mut rebuilt = Rebuilt::default();
    images::rebuild(world, &mut rebuilt)?;
    networks::rebuild(world, &mut rebuilt)?;
    volumes::rebuild(world, &mut rebuilt)?;
    rebuilt.snapshots = super::snapshots::rebuild(world)?;
    instances::rebuild(world, &mut rebuilt)?;
    let forwards = super::forwards::rebuild(world)?;
    rebuilt.forwards = forwards.names;
    rebuilt.incomplete.extend(forwards.incomplete);
    let balancers = super::balancers::rebuild(world)?;
    rebuilt.balancers = balancers.names;
    rebuilt.incomplete.extend(balancers.incomplete);
    Ok(rebuilt)
}

/// A raw volume may be padded.
pub(super) fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| *b == b'}').map_or(0, |at| at + 1);
    &text[..end]
}
