//! What is known of KVM on the host, from libvirt and from the last boot probe.

use crate::api::{Accelerator, InstanceSpec, Reporter};
use crate::engine::{interrupted, probe};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::accelerator::{Decision, decide, is_on_trust};

/// Decides how an instance is run: its own wish, else the context's.
///
/// # Errors
/// Where KVM is demanded and cannot be had.
pub(crate) fn choose(world: &World, spec: &InstanceSpec) -> Result<Decision> {
    let wanted = spec.accelerator.unwrap_or(world.settings().accelerator);
    if wanted == Accelerator::Tcg {
        return Ok(Decision {
            accelerator: wanted,
            warning: None,
            unproven: false,
        });
    }
    decide(wanted, &world.kvm_facts()?).map_err(|why| {
        Error::failed(why).hint("leave the accelerator out, or say --accelerator tcg")
    })
}

/// Decides for an instance that is about to be made: the first that would be run by KVM on a host is
/// preceded by a boot probe, whose verdict is remembered.
///
/// # Errors
/// As [`choose`]; a signal to stop. A probe that cannot be made is no error.
pub(crate) fn prove(
    world: &World,
    spec: &InstanceSpec,
    decision: Decision,
    reporter: &dyn Reporter,
) -> Result<Decision> {
    let wanted = spec.accelerator.unwrap_or(world.settings().accelerator);
    if !is_on_trust(wanted, &decision) {
        return Ok(decision);
    }
    if let Err(error) = probe::run_once(world, reporter) {
        interrupted()?;
        reporter.warn(&format!("cannot try whether KVM works here: {error}"));
    }
    choose(world, spec)
}
