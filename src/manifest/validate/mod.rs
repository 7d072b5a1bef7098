//! The rules of typed values: what a manifest may say although every field of it can be read.
//!
//! All problems are returned, not only the first. What only the host knows (does the network exist,
//! is the port free) is checked by the planner.

mod balancer;
mod cross;
mod forward;
mod instance;
mod meta;
mod network;
mod others;
mod snapshot;
mod text;
mod volume;

use super::diagnostic::Diagnostic;
use super::origin::{Located, Problem};
use crate::api::Object;

pub use text::{is_masked, mask, printable};

/// How many problems of a run are told.
const MAX_TOLD: usize = 50;

/// What the objects are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `create`: a name may be generated.
    Create,
    /// `apply`, `diff`: the name must be known.
    Apply,
    /// `delete`, `get`: only kind and name count.
    Refer,
}

/// Checks one object by itself; paths are from the object down.
pub fn check(object: &Object, purpose: Purpose) -> Vec<Problem> {
    let mut problems = Vec::new();
    meta::check(object, purpose, &mut problems);
    if purpose == Purpose::Refer {
        return problems;
    }
    match object {
        Object::Instance(instance) => instance::check(instance, &mut problems),
        Object::Image(image) => others::image(&image.spec, &mut problems),
        Object::Network(network) => network::check(&network.spec, &mut problems),
        Object::Volume(volume) => volume::check(&volume.spec, &mut problems),
        Object::Snapshot(snapshot) => snapshot::check(&snapshot.spec, &mut problems),
        Object::InstanceType(t) => others::instance_type(&t.spec, &mut problems),
        Object::Secret(secret) => others::secret(secret, purpose, &mut problems),
        Object::PortForward(forward) => forward::check(&forward.spec, &mut problems),
        Object::LoadBalancer(balancer) => balancer::check(&balancer.spec, &mut problems),
    }
    problems
}

/// Checks all objects of a run, by themselves and against each other.
///
/// # Errors
///
/// Every problem with its place, as many as a person reads.
pub fn validate(objects: &[Located<Object>], purpose: Purpose) -> Result<(), Vec<Diagnostic>> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for object in objects {
        let problems = check(&object.value, purpose);
        let from = found.len();
        found.extend(problems.iter().map(|p| object.origin.diagnose(p)));
        found[from..].sort_by_key(|d| (d.line, d.column));
        if found.len() >= MAX_TOLD {
            break;
        }
    }
    if purpose != Purpose::Refer {
        cross::check(objects, &mut found);
    }
    found.truncate(MAX_TOLD);
    if found.is_empty() { Ok(()) } else { Err(found) }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod balancer_tests;
