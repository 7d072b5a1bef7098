//! What is known of KVM on the host, from libvirt and from the last boot probe.

use crate::api::{Accelerator, InstanceSpec};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::accelerator::{Decision, decide};

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
