//! Runs a plan: undo on failure, go on with the rest, aggregate, wait.
//!
//! The engine decides nothing that a plan has decided. What a step does to the world is in the file
//! of its kind ([`images`], `instances`); how steps are run, undone and interrupted is the same for
//! all and is in `executor`. [`apply`] and [`delete`] are the two doors for objects of all kinds.

pub mod balancers;
mod batch;
mod desired;
mod disk_files;
mod executor;
mod failpoint;
mod forwards;
mod goal;
mod governed;
pub mod guest;
mod holes;
pub mod images;
mod instances;
pub mod networks;
mod operate;
mod options;
mod owned;
mod ownership;
pub mod persist;
mod port_forward;
mod power;
pub mod probe;

pub mod rebuild;
pub mod reconcile;
mod references;
mod replug;
mod reservations;
pub mod setup;
mod signal;
pub mod snapshots;
mod together;
pub mod volumes;

pub use batch::{Batch, run_all};
pub use executor::{Worker, execute};
pub use goal::{Goal, wait_for};
pub use instances::{
    Change, Mounted, Sides, StopOptions, attach_network, attach_volume, change_spec,
    detach_network, detach_volume, lifecycle, recheck, refresh_ready, wait_ready,
};
pub use operate::{Tell, apply, change_meta, delete, editable, manifest_of, sides};
pub use options::{Applied, ApplyMode, ApplyOptions, DeleteOptions, DryRun, Place, WIDTH};
pub use ownership::{adopt, forget};
pub use port_forward::{ForwardEvent, ForwardRequest, PortPair, TellForward, port_forward};
use signal::shielded;
pub use signal::{Interrupt, interrupted};

use crate::api::Name;
use crate::plan::Step;

/// Explains the making of an object without asking anybody: the commands that would do the same, as a
/// shell script.
///
/// # Errors
/// Usage, for an unknown instance type; what the store refuses.
pub fn explain_unseen(
    place: &Place,
    store: &crate::store::Store,
    object: &crate::api::Object,
) -> crate::error::Result<Vec<String>> {
    match object {
        crate::api::Object::Instance(instance) => {
            instances::creation_unseen(place, store, instance)
        }
        crate::api::Object::Secret(_) | crate::api::Object::InstanceType(_) => {
            Ok(vec!["# only kvmctl's own store changes".to_owned()])
        }
        _ => Ok(vec![
            "# what is done depends on the host: --dry-run=server --explain-plan asks it"
                .to_owned(),
        ]),
    }
}

/// Puts forwards and balancers right at the end of a command that touched a network or a guest.
fn tidy(world: &crate::observe::World, reporter: &dyn crate::api::Reporter) {
    forwards::tidy(world, reporter);
    balancers::tidy(world, reporter);
}

/// Explains a step: what it does, and the commands that would do the same.
fn explain(step: &Step, name: &Name) -> Vec<String> {
    let mut lines = vec![format!("# {}", step.describe())];
    lines.extend(
        step.equivalent(name)
            .iter()
            .flat_map(|c| c.lines())
            .map(str::to_owned),
    );
    lines
}
