//! The operations over objects of all kinds: references checked first, then level by level, the
//! objects of a level in parallel. What a kind does of its own is in its file.

mod delete;
mod edit;
mod image;
mod instance_type;
mod secret;
mod settle;

pub use delete::delete;
pub use edit::{change_meta, editable, manifest_of, sides};

use std::sync::Mutex;

use super::batch::{Batch, run_all};
use super::options::{Applied, ApplyOptions, DryRun, WIDTH};
use super::together::only;
use super::{balancers, forwards, instances, networks, owned, references, snapshots, volumes};
use crate::api::{Kind, LoadBalancer, Object, ObjectKey, PortForward, Reporter};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan;

/// Hears what came of each object, as soon as it is known.
pub type Tell<'t> = &'t (dyn Fn(&Applied) -> Result<()> + Sync);

/// Makes objects be as they are wanted.
///
/// # Errors
/// Usage, before anything is changed, when something that is referred to does not exist. What goes
/// wrong with single objects is in the batch.
pub fn apply(
    world: &World,
    objects: Vec<Object>,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
    tell: Tell<'_>,
) -> Result<Batch> {
    references::check(world, &objects)?;
    let touched = objects.iter().any(|o| touches_networks(o.kind()));
    let mut sum = Batch::default();
    let failed_keys: Mutex<Vec<ObjectKey>> = Mutex::default();
    for level in plan::levels(objects) {
        let before = owned::lock(&failed_keys).clone();
        let told = |object: &Object, applied: Result<Applied>| {
            if let Some(key) = object.key() {
                reporter.finished(&key);
                if applied.is_err() {
                    owned::lock(&failed_keys).push(key);
                }
            }
            tell(&applied.map_err(|e| references::of_object(e, object))?)
        };
        let unharmed = |object: &Object| references::unharmed(object, &before);
        let batch = match level[0].kind() {
            Kind::PortForward | Kind::LoadBalancer => {
                apply_together(world, &level, options, reporter, &unharmed)
                    .zip(&level)
                    .map(|(applied, object)| told(object, applied))
                    .collect()
            }
            _ => run_all(&level, WIDTH, |object| {
                let applied =
                    unharmed(object).and_then(|()| apply_one(world, object, options, reporter));
                told(object, applied)
            }),
        };
        let failed = !batch.errors.is_empty();
        sum.merge(batch);
        if failed && super::signal::interrupted().is_err() {
            break;
        }
    }
    if options.dry_run == DryRun::None && touched {
        super::tidy(world, reporter);
    }
    Ok(sum)
}

/// Whether work on a kind can leave the rules of forwards other than they were.
const fn touches_networks(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Secret
            | Kind::InstanceType
            | Kind::Image
            | Kind::Volume
            | Kind::Snapshot
            | Kind::LoadBalancer
    )
}

/// Applies all forwards or balancers of a run together: one look at what there is, one writing of the
/// firewall or of what nginx is told.
fn apply_together(
    world: &World,
    level: &[Object],
    options: &ApplyOptions,
    reporter: &dyn Reporter,
    unharmed: &dyn Fn(&Object) -> Result<()>,
) -> impl Iterator<Item = Result<Applied>> {
    let harm: Vec<Result<()>> = level.iter().map(unharmed).collect();
    let whole = || level.iter().zip(&harm).filter(|(_, harm)| harm.is_ok());
    let forwards: Vec<&PortForward> = whole()
        .filter_map(|(object, _)| match object {
            Object::PortForward(forward) => Some(&**forward),
            _ => None,
        })
        .collect();
    let balancers: Vec<&LoadBalancer> = whole()
        .filter_map(|(object, _)| match object {
            Object::LoadBalancer(balancer) => Some(&**balancer),
            _ => None,
        })
        .collect();
    let mut applied = forwards::apply(world, &forwards, options, reporter);
    applied.extend(balancers::apply(world, &balancers, options, reporter));
    let mut applied = applied.into_iter();
    let one = move |harm: Result<()>| {
        harm.and_then(|()| {
            let none = || Err(Error::failed("nothing came of it"));
            applied.next().unwrap_or_else(none)
        })
    };
    harm.into_iter().map(one)
}

fn apply_one(
    world: &World,
    object: &Object,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    match object {
        Object::Instance(instance) => instances::apply(world, instance, options, reporter),
        Object::Secret(wanted) => secret::apply_secret(world, wanted, options),
        Object::Volume(wanted) => volumes::apply(world, wanted, options, reporter),
        Object::Snapshot(wanted) => snapshots::apply(world, wanted, options, reporter),
        Object::InstanceType(wanted) => instance_type::apply_type(world, wanted, options),
        Object::Image(wanted) => image::apply_image(world, wanted, options, reporter),
        Object::PortForward(wanted) => only(forwards::apply(world, &[wanted], options, reporter)),
        Object::LoadBalancer(wanted) => only(balancers::apply(world, &[wanted], options, reporter)),
        Object::Network(wanted) => networks::apply(world, wanted, options, reporter),
    }
}
