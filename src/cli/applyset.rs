//! `apply --applyset NAME --prune`: what belonged to the set and is in the manifests no more goes.
//!
//! Who belongs to a set says so by a label, so that membership lies where the object lies and a
//! listing shows it. Nothing without the label is ever pruned.

use clap::Args;

use super::args::YesArgs;
use super::context::Ctx;
use super::prompt;
use super::selection::select;
use crate::api::{KINDS, Kind, LabelKey, LabelValue, Object, ObjectKey};
use crate::engine::{DeleteOptions, DryRun};
use crate::error::{Error, Result};
use crate::observe::{Depth, Scope};

/// Label of the objects of a set; its value is the set's name.
const LABEL: &str = "kvmctl/applyset";

/// Which set, and whether to take away what is no more of it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApplySetArgs {
    /// Note that these objects belong to the set of this name
    #[arg(long, value_name = "NAME")]
    applyset: Option<String>,
    /// Delete the objects of the set that are not in the files
    #[arg(long)]
    prune: bool,
    /// Delete volumes and snapshots, too; without it they are kept, and named
    #[arg(long, requires = "prune")]
    prune_data: bool,
    #[command(flatten)]
    yes: YesArgs,
}

/// What is to go after the objects were applied.
#[derive(Debug, Default)]
pub(crate) struct Prune(Vec<ObjectKey>);

impl ApplySetArgs {
    /// Makes the objects members of the set, and finds out what is to go.
    ///
    /// # Errors
    /// Usage, for `--prune` without a set; a conflict, for an object of another set; what the daemon
    /// or the store refuses. All before anything is changed.
    pub(crate) fn join(&self, ctx: &Ctx, objects: &mut [Object], dry_run: DryRun) -> Result<Prune> {
        let Some(set) = &self.applyset else {
            return match self.prune {
                true => Err(Error::usage("--prune needs --applyset")
                    .hint("kvmctl apply -f stack/ --applyset stack --prune")),
                false => Ok(Prune::default()),
            };
        };
        let value =
            LabelValue::new(set.as_str()).map_err(|e| Error::usage(format!("--applyset: {e}")))?;
        if value.as_str().is_empty() {
            return Err(Error::usage("--applyset: the name is empty"));
        }
        let label = LabelKey::new(LABEL).map_err(|e| Error::failed(e.to_string()))?;
        for object in objects.iter_mut() {
            object
                .meta_mut()
                .labels
                .insert(label.clone(), value.clone());
        }
        if matches!(dry_run, DryRun::Client { .. }) {
            // Nobody is asked what there is.
            return Ok(Prune::default());
        }
        refuse_others(ctx, objects, &label, &value)?;
        if !self.prune {
            return Ok(Prune::default());
        }
        let kinds: Vec<Kind> = KINDS.iter().map(|row| row.kind).collect();
        let mut keys = select(ctx, &kinds, Some(&format!("{LABEL}={set}")))?;
        keys.retain(|key| !objects.iter().any(|o| o.key().as_ref() == Some(key)));
        let (data, mut keys): (Vec<ObjectKey>, _) =
            keys.into_iter().partition(|key| holds_data(key.kind));
        if self.prune_data {
            keys.extend(data);
        } else {
            for key in data {
                ctx.ui()
                    .status(&format!("{key} is kept: --prune-data deletes it"));
            }
        }
        if !keys.is_empty() && dry_run == DryRun::None && !self.yes.yes {
            let list: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let question = format!("Delete {} afterwards?", list.join(", "));
            ctx.ui()
                .status(&format!("no more in set {set}: {}", list.join(", ")));
            prompt::confirm(ctx, &question, "--yes")?;
        }
        Ok(Prune(keys))
    }
}

impl Prune {
    /// Deletes what is to go.
    ///
    /// # Errors
    /// As `delete`.
    pub(crate) fn run(self, ctx: &Ctx, dry_run: DryRun) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let options = DeleteOptions {
            dry_run,
            ..DeleteOptions::default()
        };
        ctx.delete(self.0, &options)
    }
}

/// Whether objects of a kind hold what cannot be made again.
const fn holds_data(kind: Kind) -> bool {
    matches!(kind, Kind::Volume | Kind::Snapshot)
}

/// An object is in one set at a time: two files that take it from each other are a mistake.
fn refuse_others(
    ctx: &Ctx,
    objects: &[Object],
    label: &LabelKey,
    value: &LabelValue,
) -> Result<()> {
    let mut kinds: Vec<Kind> = objects.iter().map(Object::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        for live in ctx.world()?.list(kind, Scope::Managed, Depth::Listing)? {
            let Some(key) = live.key() else { continue };
            let other = live.meta().labels.get(label).filter(|v| *v != value);
            if let Some(other) = other
                && objects.iter().any(|o| o.key().as_ref() == Some(&key))
            {
                return Err(Error::conflict(format!(
                    "{key} belongs to the set {:?}",
                    other.as_str()
                ))
                .hint(format!("kvmctl label {key} {LABEL}-")));
            }
        }
    }
    Ok(())
}
