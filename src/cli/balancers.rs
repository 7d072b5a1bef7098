//! `lb add-target`, `remove-target`, `drain`: the targets of a load balancer, one by one.

use clap::Args;

use super::args::DryRunArgs;
use super::context::Ctx;
use super::targets::Targets;
use crate::api::{BalancerTarget, Kind, Name, ObjectKey, PortNumber, Span};
use crate::engine::balancers::{self, DrainRequest};
use crate::engine::{Applied, DryRun, Interrupt};
use crate::error::{Error, Result};
use crate::plan::Outcome;

/// What to add.
#[derive(Debug, Clone, Args)]
pub(crate) struct AddArgs {
    /// Load balancer
    #[arg(value_name = "NAME", index = 1)]
    balancer: String,
    /// Targets, as web1:8080, web1:8080,weight=3 or web1:8080,backup
    #[arg(value_name = "INSTANCE:PORT", index = 2, required = true, num_args = 1..)]
    instances: Vec<BalancerTarget>,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// What to remove.
#[derive(Debug, Clone, Args)]
pub(crate) struct RemoveArgs {
    /// Load balancer
    #[arg(value_name = "NAME", index = 1)]
    balancer: String,
    /// Targets, as web1 or web1:8080
    #[arg(value_name = "INSTANCE[:PORT]", index = 2, required = true, num_args = 1..)]
    instances: Vec<String>,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// What to drain.
#[derive(Debug, Clone, Args)]
pub(crate) struct DrainArgs {
    /// Load balancer
    #[arg(value_name = "NAME", index = 1)]
    balancer: String,
    /// Targets, as web1 or web1:8080
    #[arg(value_name = "INSTANCE[:PORT]", index = 2, required = true, num_args = 1..)]
    instances: Vec<String>,
    /// How long open connections are waited for at the most
    #[arg(long, value_name = "TIME", default_value = "5m")]
    timeout: Span,
    /// Do not wait for open connections
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Adds targets.
pub(crate) fn add(ctx: &Ctx, noun: Option<Kind>, args: AddArgs) -> Result<()> {
    let key = balancer(noun, &args.balancer, "lb add-target")?;
    let dry_run = begin(ctx, &args.dry_run)?;
    let reporter = ctx.reporter();
    let applied = balancers::add_targets(
        ctx.world()?,
        &key,
        &args.instances,
        dry_run,
        reporter.as_ref(),
    );
    reporter.finished(&key);
    tell(ctx, &key, &applied?, dry_run, "configured")
}

/// Removes targets.
pub(crate) fn remove(ctx: &Ctx, noun: Option<Kind>, args: RemoveArgs) -> Result<()> {
    let key = balancer(noun, &args.balancer, "lb remove-target")?;
    let targets = named(&args.instances)?;
    let dry_run = begin(ctx, &args.dry_run)?;
    let reporter = ctx.reporter();
    let applied =
        balancers::remove_targets(ctx.world()?, &key, &targets, dry_run, reporter.as_ref());
    reporter.finished(&key);
    tell(ctx, &key, &applied?, dry_run, "configured")
}

/// Drains targets.
pub(crate) fn drain(ctx: &Ctx, noun: Option<Kind>, args: DrainArgs) -> Result<()> {
    let key = balancer(noun, &args.balancer, "lb drain")?;
    let dry_run = begin(ctx, &args.dry_run)?;
    let request = DrainRequest {
        targets: named(&args.instances)?,
        timeout: (!args.no_wait).then(|| args.timeout.duration()),
        dry_run,
    };
    let reporter = ctx.reporter();
    let applied = balancers::drain(ctx.world()?, &key, &request, reporter.as_ref());
    reporter.finished(&key);
    let mut applied = applied?;
    if applied.outcome == Outcome::Unchanged && dry_run == DryRun::None {
        // It was drained already; what this run did was to wait.
        applied.outcome = Outcome::Configured;
    }
    tell(ctx, &key, &applied, dry_run, "drained")
}

fn balancer(noun: Option<Kind>, word: &str, verb: &str) -> Result<ObjectKey> {
    let noun = noun.or(Some(Kind::LoadBalancer));
    let keys = Targets::parse(noun, &[word.to_owned()], verb)?.named()?;
    keys.into_iter()
        .next()
        .ok_or_else(|| Error::usage("name a load balancer"))
}

fn named(words: &[String]) -> Result<Vec<(Name, Option<PortNumber>)>> {
    let wrong = |word: &str, e: &dyn std::fmt::Display| {
        Error::usage(format!("{word:?} is neither INSTANCE nor INSTANCE:PORT")).caused_by(e)
    };
    let one = |word: &String| {
        let (instance, port) = match word.split_once(':') {
            None => (word.as_str(), None),
            Some((instance, port)) => (
                instance,
                Some(port.parse::<PortNumber>().map_err(|e| wrong(word, &e))?),
            ),
        };
        Ok((Name::new(instance).map_err(|e| wrong(word, &e))?, port))
    };
    words.iter().map(one).collect()
}

fn begin(ctx: &Ctx, args: &DryRunArgs) -> Result<DryRun> {
    Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))?;
    match ctx.dry_run(args)? {
        DryRun::Client { .. } => Err(Error::usage(
            "what becomes of a load balancer cannot be told without looking at it",
        )
        .hint("--dry-run=server")),
        dry_run => Ok(dry_run),
    }
}

fn tell(ctx: &Ctx, key: &ObjectKey, applied: &Applied, dry_run: DryRun, word: &str) -> Result<()> {
    for note in &applied.notes {
        ctx.ui().status(&format!("{key}: {note}"));
    }
    if let DryRun::Server { explain: true } = dry_run {
        for line in &applied.explanation {
            ctx.ui().out_line(line)?;
        }
        return Ok(());
    }
    let word = match applied.outcome {
        Outcome::Unchanged => "unchanged",
        _ => word,
    };
    match dry_run {
        DryRun::None => ctx.print_outcome(key, word),
        _ => ctx.print_dry_outcome(key, &format!("{word} (server dry run)")),
    }
}
