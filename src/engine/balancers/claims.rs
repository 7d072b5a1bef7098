//! Who has the sockets that a balancer asks for: other balancers, with which some can be shared by
//! name, forwards, rules of others. Programs that listen are nginx's own business to look for.

use std::collections::BTreeSet;

use crate::api::Uid;
use crate::engine::forwards::Claims;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::store::BalancerRecord;

/// Checks that the sockets of a balancer are nobody else's. Ask with the store locked.
///
/// # Errors
/// A conflict that names the holder.
pub(super) fn check(world: &World, record: &BalancerRecord) -> Result<()> {
    let sockets = record.spec.sockets();
    let all: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
    let others = all.iter().filter(|r| r.uid != record.uid);
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
    let balancers: BTreeSet<Uid> = all.iter().map(|r| r.uid).chain([record.uid]).collect();
    let claims = Claims::collect(world, &balancers)?;
    sockets.iter().try_for_each(|s| claims.held(&s.ports))
}

fn pairs<'s, S>(mine: &'s [S], theirs: &'s [S]) -> impl Iterator<Item = (&'s S, &'s S)> {
    mine.iter()
        .flat_map(move |m| theirs.iter().map(move |t| (m, t)))
}
