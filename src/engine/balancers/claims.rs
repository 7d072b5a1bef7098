//! Who has the sockets that a balancer asks for: other balancers, with which some can be shared by
//! name, forwards, rules of others. Programs that listen are nginx's own business to look for.

use std::collections::BTreeSet;

use crate::api::Uid;
use crate::engine::forwards::Claims;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::store::BalancerRecord;

/// All who have sockets; collected once for all balancers of a run.
pub(super) struct Holders {
    balancers: Vec<BalancerRecord>,
    others: Claims,
}

impl Holders {
    /// Collects them. What is taken afterwards is sure only with the store locked.
    ///
    /// # Errors
    /// What the store or libvirt refuses.
    pub(super) fn collect(world: &World) -> Result<Self> {
        let balancers: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
        // They are compared socket by socket, since some can be shared.
        let theirs: BTreeSet<Uid> = balancers.iter().map(|r| r.uid).collect();
        let others = Claims::collect(world, &theirs)?;
        Ok(Self { balancers, others })
    }

    /// Checks that the sockets of a balancer are nobody else's.
    ///
    /// # Errors
    /// A conflict that names the holder.
    pub(super) fn check(&self, record: &BalancerRecord) -> Result<()> {
        let sockets = record.spec.sockets();
        let others = self.balancers.iter().filter(|r| r.uid != record.uid);
        for other in others {
            for (mine, theirs) in pairs(&sockets, &other.spec.sockets()) {
                if let Some(clash) = mine.clash(theirs) {
                    let name = &other.name;
                    let message = format!("port {mine} of the host: loadbalancer/{name} {clash}");
                    return Err(Error::conflict(message)
                        .hint("choose another port of the host, or another address")
                        .hint("kvmctl get lb"));
                }
            }
        }
        sockets.iter().try_for_each(|s| self.others.held(&s.ports))
    }

    /// Notes the sockets of a balancer, instead of those that it had.
    pub(super) fn keep(&mut self, record: &BalancerRecord) {
        self.balancers.retain(|r| r.uid != record.uid);
        self.balancers.push(record.clone());
    }
}

fn pairs<'s, S>(mine: &'s [S], theirs: &'s [S]) -> impl Iterator<Item = (&'s S, &'s S)> {
    mine.iter()
        .flat_map(move |m| theirs.iter().map(move |t| (m, t)))
}
