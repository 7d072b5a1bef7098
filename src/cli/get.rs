//! `get`, and `list` after a noun.

use std::time::{Duration, Instant};

use clap::Args;

use super::args::{FileArgs, ListArgs, SelectArgs};
use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Instance, Kind, Object, ObjectKey};
use crate::engine;
use crate::error::{Error, Result};
use crate::libvirt::{EventWaiter, Waited};
use crate::observe::{Depth, Scope, World};
use crate::output::{self, Group, Order, OutputFormat, PrintRequest};
use crate::store::{Store, is_built_in};

/// What to list and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    files: FileArgs,
    /// List unmanaged objects too: domains and networks that were not made by kvmctl
    #[arg(long)]
    all: bool,
    /// Print changes as they happen, until interrupted
    #[arg(long, short = 'w')]
    watch: bool,
    /// Do not fail when a named object does not exist
    #[arg(long)]
    ignore_not_found: bool,
}

/// How often a watch looks at what has no events.
const LOOK: Duration = Duration::from_secs(1);
/// How often a watch looks whether the store was written to.
const GLANCE: Duration = Duration::from_millis(100);

/// How long a listing lets booting guests say that they are ready.
const LIST_PATIENCE: Duration = Duration::from_millis(400);
/// The same for an object that was named.
const SINGLE_PATIENCE: Duration = Duration::from_millis(1500);

/// What a run came to: the groups, and what was not found.
struct Found {
    groups: Vec<Group>,
    missing: Vec<Error>,
    single: bool,
}

/// Lists objects.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: GetArgs) -> Result<()> {
    let targets = targets(ctx, noun, &args)?;
    let selects = args.select.selector.is_some() || args.list.field_selector.is_some();
    if selects && matches!(targets, Targets::Named(_)) {
        return Err(Error::usage(
            "name cannot be provided when a selector is specified",
        ));
    }
    let request = ctx.print_request(&args.list)?;
    let filter = output::Filter::parse(
        args.select.selector.as_deref(),
        args.list.field_selector.as_deref(),
        &kinds_of(&targets),
    )?;
    if args.watch {
        return watch(ctx, &targets, &args, &request, &filter);
    }
    let found = find(ctx, &targets, &args, &request, &filter)?;
    let request = PrintRequest {
        single: found.single,
        order: match request.order {
            // Names come back in the order that they were given in.
            Order::ByName if matches!(targets, Targets::Named(_)) => Order::AsGiven,
            order => order,
        },
        ..request
    };
    // What was found is printed even when something else was not.
    if !found.groups.is_empty() {
        output::print_objects(ctx.ui(), &request, &found.groups)?;
    }
    note_unmanaged(ctx, &found, &args, &request)?;
    match found.missing.len() {
        0 => Ok(()),
        _ => Err(first_of(found.missing, ctx)),
    }
}

fn targets(ctx: &Ctx, noun: Option<Kind>, args: &GetArgs) -> Result<Targets> {
    if args.files.files.is_empty() {
        return Targets::parse(noun, &args.select.targets, "get");
    }
    if !args.select.targets.is_empty() {
        return Err(Error::usage("give either names or -f, not both"));
    }
    let objects = ctx.manifests(&args.files, "get")?;
    Ok(Targets::Named(
        objects.iter().filter_map(Object::key).collect(),
    ))
}

fn kinds_of(targets: &Targets) -> Vec<Kind> {
    match targets {
        Targets::Kinds(kinds) => kinds.clone(),
        Targets::Named(keys) => keys.iter().map(|k| k.kind).collect(),
    }
}

fn find(
    ctx: &Ctx,
    targets: &Targets,
    args: &GetArgs,
    request: &PrintRequest,
    filter: &output::Filter,
) -> Result<Found> {
    let world = ctx.world()?;
    let scope = if args.all { Scope::All } else { Scope::Managed };
    let depth = if request.needs_whole_objects() {
        Depth::Whole
    } else {
        Depth::Listing
    };
    match targets {
        Targets::Kinds(kinds) => {
            let everything = args
                .select
                .targets
                .iter()
                .any(|w| w.split(',').any(|n| n == "all"));
            let mut groups = Vec::new();
            for &kind in kinds {
                let mut objects = world.list(kind, scope, depth)?;
                if request.format != OutputFormat::Name && refresh(world, &objects, LIST_PATIENCE) {
                    objects = world.list(kind, scope, depth)?;
                }
                objects.retain(|o| filter.matches(o) && (!everything || is_on_the_host(o)));
                groups.push(Group { kind, objects });
            }
            Ok(Found {
                groups,
                missing: Vec::new(),
                single: false,
            })
        }
        Targets::Named(keys) => {
            let (objects, missing) = by_name(ctx, keys, args.ignore_not_found)?;
            let objects = objects.into_iter().filter(|o| filter.matches(o)).collect();
            Ok(Found {
                groups: grouped(objects),
                missing,
                single: keys.len() == 1,
            })
        }
    }
}

/// `get all` is about the host: what could be pulled and what is built in have lists of their own.
pub(super) fn is_on_the_host(object: &Object) -> bool {
    match object {
        Object::Image(image) => image.status.as_ref().is_some_and(|s| s.cached),
        Object::InstanceType(it) => !it.metadata.name.as_ref().is_some_and(is_built_in),
        _ => true,
    }
}

fn by_name(ctx: &Ctx, keys: &[ObjectKey], lenient: bool) -> Result<(Vec<Object>, Vec<Error>)> {
    let (mut objects, mut missing) = (Vec::new(), Vec::new());
    for key in keys {
        match ctx.world()?.get(key) {
            Ok(object) => objects.push(looked_again(ctx.world()?, object)?),
            Err(e) if e.kind() == crate::error::Kind::NotFound => {
                if !lenient {
                    missing.push(e);
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok((objects, missing))
}

/// Lets guests that are booting say whether they are ready; true if any has news.
fn refresh(world: &World, objects: &[Object], budget: Duration) -> bool {
    let instances: Vec<&Instance> = objects
        .iter()
        .filter_map(|object| match object {
            Object::Instance(instance) => Some(instance.as_ref()),
            _ => None,
        })
        .collect();
    engine::refresh_ready(world, &instances, budget)
}

/// Looks at a named object again if its guest has news.
pub(super) fn looked_again(world: &World, object: Object) -> Result<Object> {
    match (&object, object.key()) {
        (Object::Instance(instance), Some(key))
            if engine::recheck(world, instance, SINGLE_PATIENCE) =>
        {
            world.get(&key)
        }
        _ => Ok(object),
    }
}

fn grouped(objects: Vec<Object>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for object in objects {
        match groups.iter_mut().find(|g| g.kind == object.kind()) {
            Some(group) => group.objects.push(object),
            None => groups.push(Group {
                kind: object.kind(),
                objects: vec![object],
            }),
        }
    }
    groups
}

/// An empty list of instances or networks says how many there are that are not ours.
fn note_unmanaged(ctx: &Ctx, found: &Found, args: &GetArgs, request: &PrintRequest) -> Result<()> {
    if args.all && request.is_table() {
        tell_odd_names(ctx, &found.groups);
    }
    if args.all || !request.is_table() {
        return Ok(());
    }
    for group in found.groups.iter().filter(|g| g.objects.is_empty()) {
        let (unmanaged, noun) = match group.kind {
            Kind::Instance => (ctx.world()?.unmanaged()?, "domain"),
            Kind::Network => (ctx.world()?.unmanaged_networks()?, "network"),
            _ => continue,
        };
        let (s, verb) = if unmanaged == 1 {
            ("", "is")
        } else {
            ("s", "are")
        };
        if unmanaged > 0 {
            ctx.ui().status(&format!(
                "{unmanaged} {noun}{s} {verb} not managed by kvmctl; see them with: kvmctl get {} --all",
                group.kind.info().plural
            ));
        }
    }
    Ok(())
}

/// A domain whose name kvmctl cannot say stands in the list as its UUID.
fn tell_odd_names(ctx: &Ctx, groups: &[Group]) {
    for object in groups.iter().flat_map(|g| &g.objects) {
        let Object::Instance(instance) = object else {
            continue;
        };
        let status = instance.status.as_ref().filter(|s| !s.managed);
        if let (Some(name), Some(told)) = (
            &instance.metadata.name,
            status.and_then(|s| s.message.as_ref()),
        ) {
            ctx.ui().status(&format!("{name}: {told}"));
        }
    }
}

/// One missing object is the error; several are printed and summed up.
fn first_of(mut missing: Vec<Error>, ctx: &Ctx) -> Error {
    let last = missing.pop();
    for error in &missing {
        ctx.ui().error(error);
    }
    last.unwrap_or_else(|| Error::not_found("not found"))
}

/// Prints the list again whenever something changed: in place on a terminal, a row a change in a
/// pipe.
fn watch(
    ctx: &Ctx,
    targets: &Targets,
    args: &GetArgs,
    request: &PrintRequest,
    filter: &output::Filter,
) -> Result<()> {
    let world = ctx.world()?;
    let changes = EventWaiter::all(world.host()?);
    let mut watcher = output::Watcher::new(request.clone());
    loop {
        let found = find(ctx, targets, args, request, filter)?;
        watcher.show(ctx.ui(), found.groups)?;
        wait_for_change(world, changes.as_ref().ok());
    }
}

/// Waits until something may have changed: lifecycle changes arrive as events, those of the store
/// show in the times of its directories, and what has neither is looked at every second.
fn wait_for_change(world: &World, events: Option<&EventWaiter>) {
    let begin = Instant::now();
    let store = |world: &World| world.store_for_reading().ok().map(Store::stamp);
    let before = store(world);
    while begin.elapsed() < LOOK {
        let soon = Instant::now() + GLANCE;
        let event = match events {
            Some(events) => events.next(soon),
            None => {
                std::thread::sleep(GLANCE);
                Waited::TimedOut
            }
        };
        match event {
            Waited::Event(_) => return,
            // Nothing comes any more, and it comes at once.
            Waited::Closed => return std::thread::sleep(LOOK),
            Waited::TimedOut if store(world) != before => return,
            Waited::TimedOut => {}
        }
    }
}
