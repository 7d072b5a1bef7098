//! `label` and `annotate`.

use clap::Args;

use super::context::Ctx;
use super::selection::select;
use super::targets::Targets;
use crate::api::{Kind, LabelKey, LabelValue, ObjectKey, ObjectMeta};
use crate::engine::{self, DryRun};
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::Outcome;

/// Which objects, and what to set or remove.
#[derive(Debug, Clone, Args)]
pub(crate) struct LabelArgs {
    /// Objects, then KEY=VALUE to set and KEY- to remove
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
    /// Change a value that is set already
    #[arg(long)]
    overwrite: bool,
    /// Select by labels, as app=web,tier!=db
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// All objects of the kind
    #[arg(long, conflicts_with = "selector")]
    all: bool,
    /// Change nothing: "client" only reads the command line, "server" looks at the objects
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    dry_run: Option<String>,
}

/// One change.
#[derive(Debug, Clone)]
enum Edit {
    Set(LabelKey, String),
    Remove(LabelKey),
}

/// Changes labels.
pub(crate) fn run_labels(ctx: &Ctx, noun: Option<Kind>, args: LabelArgs) -> Result<()> {
    run(
        ctx,
        noun,
        &args,
        "label",
        |meta, edit, overwrite| match edit {
            Edit::Set(key, value) => {
                let value =
                    LabelValue::new(value.as_str()).map_err(|e| Error::usage(e.to_string()))?;
                let old = meta.labels.get(key).map(ToString::to_string);
                check(key, old.as_deref(), value.as_str(), overwrite)?;
                meta.labels.insert(key.clone(), value);
                Ok(None)
            }
            Edit::Remove(key) => Ok(meta
                .labels
                .remove(key)
                .is_none()
                .then(|| missing("label", key))),
        },
    )
}

/// Changes annotations.
pub(crate) fn run_annotations(ctx: &Ctx, noun: Option<Kind>, args: LabelArgs) -> Result<()> {
    run(
        ctx,
        noun,
        &args,
        "annotate",
        |meta, edit, overwrite| match edit {
            Edit::Set(key, value) => {
                check(
                    key,
                    meta.annotations.get(key).map(String::as_str),
                    value,
                    overwrite,
                )?;
                meta.annotations.insert(key.clone(), value.clone());
                Ok(None)
            }
            Edit::Remove(key) => Ok(meta
                .annotations
                .remove(key)
                .is_none()
                .then(|| missing("annotation", key))),
        },
    )
}

fn missing(what: &str, key: &LabelKey) -> String {
    format!("{what} \"{key}\" not found.")
}

fn check(key: &LabelKey, old: Option<&str>, new: &str, overwrite: bool) -> Result<()> {
    match old {
        Some(old) if old != new && !overwrite => Err(Error::conflict(format!(
            "'{key}' already has a value ({old:?}), and --overwrite is not set"
        ))
        .hint("add --overwrite")),
        _ => Ok(()),
    }
}

/// Applies one edit; the text tells of an edit that had nothing to do.
type Apply = fn(&mut ObjectMeta, &Edit, bool) -> Result<Option<String>>;

fn run(ctx: &Ctx, noun: Option<Kind>, args: &LabelArgs, verb: &str, apply: Apply) -> Result<()> {
    let is_edit = |w: &String| w.contains('=') || w.ends_with('-');
    let (edits, words): (Vec<String>, Vec<String>) =
        args.targets.iter().cloned().partition(is_edit);
    let edits: Vec<Edit> = edits.iter().map(|e| edit(e)).collect::<Result<_>>()?;
    if edits.is_empty() {
        return Err(Error::usage("at least one KEY=VALUE or KEY- is needed")
            .hint(format!("kvmctl {verb} instance web tier=front")));
    }
    let keys = keys(ctx, noun, args, &words, verb)?;
    if keys.is_empty() {
        ctx.ui().status("No resources found.");
        return Ok(());
    }
    let dry_run = ctx.where_to_stop(args.dry_run.as_deref())?;
    let only_removals = edits.iter().all(|e| matches!(e, Edit::Remove(_)));
    let words = Words::of(verb, only_removals);
    let results = ctx.results()?;
    let batch = engine::run_all(&keys, engine::WIDTH, |key| {
        if matches!(dry_run, DryRun::Client { .. }) {
            return ctx.print_dry_outcome(key, &format!("{} (dry run)", words.done));
        }
        let mut told = Vec::new();
        let outcome = engine::change_meta(ctx.world()?, key, dry_run, |meta| {
            told.clear();
            for edit in &edits {
                told.extend(apply(meta, edit, args.overwrite)?);
            }
            Ok(())
        })?;
        for line in told {
            ctx.ui().status(&line);
        }
        let word = match outcome {
            Outcome::Unchanged => words.same,
            _ => words.done,
        };
        match dry_run {
            DryRun::None => results.tell(key, word),
            _ => ctx.print_dry_outcome(key, &format!("{word} (server dry run)")),
        }
    });
    results.show(&keys, World::get)?;
    batch.into_result(|e| ctx.ui().error(e))
}

/// Returns the objects that are named or selected.
fn keys(
    ctx: &Ctx,
    noun: Option<Kind>,
    args: &LabelArgs,
    words: &[String],
    verb: &str,
) -> Result<Vec<ObjectKey>> {
    let selects = args.all || args.selector.is_some();
    match Targets::parse(noun, words, verb)? {
        Targets::Named(_) if selects => Err(Error::usage(
            "name cannot be provided when a selector or --all is specified",
        )),
        Targets::Kinds(kinds) if selects => select(ctx, &kinds, args.selector.as_deref()),
        targets => targets.named(),
    }
}

struct Words {
    done: &'static str,
    same: &'static str,
}

impl Words {
    fn of(verb: &str, only_removals: bool) -> Self {
        match (verb, only_removals) {
            ("label", false) => Self {
                done: "labeled",
                same: "not labeled",
            },
            ("label", true) => Self {
                done: "unlabeled",
                same: "not labeled",
            },
            _ => Self {
                done: "annotated",
                same: "not annotated",
            },
        }
    }
}

fn edit(text: &str) -> Result<Edit> {
    let key = |k: &str| LabelKey::new(k).map_err(|e| Error::usage(e.to_string()));
    match text.split_once('=') {
        Some((k, value)) => Ok(Edit::Set(key(k)?, value.to_owned())),
        None => Ok(Edit::Remove(key(text.strip_suffix('-').unwrap_or(text))?)),
    }
}
