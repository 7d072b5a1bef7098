//! `net start` and `net stop`, and the questions that are asked before guests lose a network.

use clap::Args;

use super::args::{SelectArgs, YesArgs};
use super::context::Ctx;
use super::prompt;
use super::targets::Targets;
use crate::api::{Kind, ObjectKey};
use crate::engine::networks::{self, User};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::observe::{Depth, Scope};
use crate::output;

/// What to start.
#[derive(Debug, Clone, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Fail with exit code 3 when nothing needed changing
    #[arg(long)]
    error_unchanged: bool,
}

/// What to take down.
#[derive(Debug, Clone, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    yes: YesArgs,
    /// Fail with exit code 3 when nothing needed changing
    #[arg(long)]
    error_unchanged: bool,
}

/// Starts networks.
pub(crate) fn start(ctx: &Ctx, noun: Option<Kind>, args: StartArgs) -> Result<()> {
    let keys = keys(ctx, noun, &args.select, "start")?;
    ctx.change(keys, args.error_unchanged, networks::start)
}

/// Takes networks down, having said who loses them.
pub(crate) fn stop(ctx: &Ctx, noun: Option<Kind>, args: StopArgs) -> Result<()> {
    let keys = keys(ctx, noun, &args.select, "stop")?;
    let mut losing = Vec::new();
    for key in &keys {
        let running = users(ctx, key)?.into_iter().filter(|u| u.running);
        losing.extend(running.map(|u| format!("{u} loses {key}")));
    }
    if !losing.is_empty() {
        for line in &losing {
            ctx.ui()
                .status(&format!("{line} until that is started again"));
        }
        if !args.yes.yes {
            prompt::confirm(ctx, "Stop it all the same?", "--yes")?;
        }
    }
    ctx.change(keys, args.error_unchanged, networks::stop)
}

/// Returns the instances that are deleted along with networks, having said so and asked.
///
/// # Errors
/// A conflict where somebody uses a network who is not ours; what the answer is.
pub(crate) fn cascade(ctx: &Ctx, keys: &[ObjectKey], yes: bool) -> Result<Vec<ObjectKey>> {
    let mut instances: Vec<ObjectKey> = Vec::new();
    for key in keys.iter().filter(|k| k.kind == Kind::Network) {
        for user in users(ctx, key)? {
            let instance = user.instance().ok_or_else(|| {
                Error::conflict(format!(
                    "{key} is used by {user}, which is not kvmctl's to delete"
                ))
            })?;
            if !keys.contains(&instance) && !instances.contains(&instance) {
                instances.push(instance);
            }
        }
    }
    if !instances.is_empty() {
        let list: Vec<String> = instances.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        ctx.ui()
            .status(&format!("This also deletes, with their disks: {list}"));
        if !yes {
            prompt::confirm(ctx, &format!("Delete {list} too?"), "--yes")?;
        }
    }
    Ok(instances)
}

/// Who uses a network; nobody one that does not exist, of which the operation itself tells.
fn users(ctx: &Ctx, key: &ObjectKey) -> Result<Vec<User>> {
    match networks::users(ctx.world()?, key) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn keys(ctx: &Ctx, noun: Option<Kind>, select: &SelectArgs, verb: &str) -> Result<Vec<ObjectKey>> {
    let targets = Targets::parse(noun, &select.targets, verb)?;
    match (&select.selector, targets) {
        (None, targets) => targets.named(),
        (Some(selector), Targets::Kinds(kinds)) => {
            let filter = output::Filter::parse(Some(selector), None, &kinds)?;
            let world = ctx.world()?;
            let objects = world.list(Kind::Network, Scope::Managed, Depth::Listing)?;
            let selected = objects.iter().filter(|o| filter.matches(o));
            Ok(selected.filter_map(crate::api::Object::key).collect())
        }
        (Some(_), Targets::Named(_)) => {
            Err(Error::usage("give either names or a selector, not both"))
        }
    }
}
