//! `patch`: fields of an object, by a merge patch (RFC 7386) or a JSON patch (RFC 6902).

use clap::{Args, ValueEnum};

use super::context::{Ctx, dry_run_suffix};
use super::create::instance::read_text;
use super::targets::Targets;
use crate::api::{Kind, Object, ObjectKey};
use crate::engine::{self, ApplyMode, ApplyOptions, DryRun};
use crate::error::{Error, Result};
use crate::manifest::{self, Strictness};
use crate::plan::Outcome;

/// The forms a patch may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PatchType {
    /// RFC 7386
    Merge,
    /// RFC 6902
    Json,
}

/// What to patch, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct PatchArgs {
    /// Objects: TYPE NAME or TYPE/NAME
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
    /// The patch, as JSON or YAML
    #[arg(
        long,
        short = 'p',
        value_name = "PATCH",
        required_unless_present = "patch_file"
    )]
    patch: Option<String>,
    /// File that holds the patch
    #[arg(long, value_name = "FILE", conflicts_with = "patch")]
    patch_file: Option<std::path::PathBuf>,
    /// What sort of patch it is
    #[arg(
        long = "type",
        value_enum,
        default_value = "merge",
        value_name = "TYPE"
    )]
    kind: PatchType,
    /// Change nothing: "client" only reads, "server" checks against libvirt
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    dry_run: Option<String>,
}

/// Patches objects.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: PatchArgs) -> Result<()> {
    let text = match (&args.patch, &args.patch_file) {
        (Some(patch), _) => patch.clone(),
        (None, Some(file)) => read_text(file)?,
        (None, None) => return Err(Error::usage("must specify -p")),
    };
    let patch: serde_json::Value = serde_yaml::from_str(&text)
        .map_err(|e| Error::usage("the patch is neither JSON nor YAML").caused_by(e))?;
    let dry_run = ctx.where_to_stop(args.dry_run.as_deref())?;
    let suffix = dry_run_suffix(dry_run);
    let keys = Targets::parse(noun, &args.targets, "patch")?.named()?;
    let results = ctx.results()?;
    let mut foreseen = Vec::new();
    for key in &keys {
        let live = engine::manifest_of(ctx.world()?, key)?;
        let patched = match args.kind {
            PatchType::Merge => manifest::merge_patch(live.clone(), &patch),
            PatchType::Json => manifest::json_patch(&live, &patch)?,
        };
        // What a killed run left half changed says already what it is to become, and is not yet.
        let may_be_half = matches!(
            key.kind,
            Kind::Instance | Kind::PortForward | Kind::LoadBalancer
        );
        if patched == live && !may_be_half {
            results.tell(key, &format!("patched (no change){suffix}"))?;
            continue;
        }
        let parsed = manifest::parse("patch", &patched.to_string(), Strictness::Strict)
            .map_err(|problems| manifest::into_error(&problems))?;
        let objects: Vec<Object> = parsed.objects.into_iter().map(|l| l.value).collect();
        if objects.iter().filter_map(Object::key).ne([key.clone()]) {
            return Err(Error::usage(format!(
                "the patch makes {key} another object: kind and name cannot be changed"
            )));
        }
        foreseen.extend(objects.first().cloned());
        let options = ApplyOptions {
            mode: ApplyMode::Replace,
            dry_run,
            wait: None,
            error_unchanged: false,
        };
        let outcome = match dry_run {
            DryRun::Client { .. } => vec![Outcome::Configured],
            _ => ctx.apply_quietly(objects, &options)?,
        };
        let changed = outcome.iter().any(|o| *o != Outcome::Unchanged);
        let word = if changed {
            "patched"
        } else {
            "patched (no change)"
        };
        results.tell(key, &format!("{word}{suffix}"))?;
    }
    let would_be = |key: &ObjectKey| {
        let mut changed = foreseen.iter();
        changed.find(|o| o.key().as_ref() == Some(key)).cloned()
    };
    results.show(&keys, |world, key| match dry_run {
        DryRun::None => world.get(key),
        _ => would_be(key).map_or_else(|| world.get(key), Ok),
    })
}
