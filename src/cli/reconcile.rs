//! `reconcile`: finishes what a killed run began.

use clap::Args;

use super::context::Ctx;
use crate::api::Kind;
use crate::engine::balancers::Watch;
use crate::engine::{Interrupt, reconcile};
use crate::error::{Error, Result};

/// Whether to change anything.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReconcileArgs {
    /// Change nothing; fail with exit code 1 when there is something to do
    #[arg(long)]
    check: bool,
    /// Go on until interrupted: take targets of load balancers that fail their health check out, and
    /// in again when they are well
    #[arg(long, conflicts_with = "check")]
    watch: bool,
}

/// Reconciles the context.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: ReconcileArgs) -> Result<()> {
    Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))?;
    let watch = args.watch.then(|| Watch::begin(ctx.world()?)).transpose()?;
    let findings = if args.check {
        reconcile::check(ctx.world()?)?
    } else {
        reconcile::run(ctx.world()?, ctx.reporter().as_ref())?
    };
    match ctx.format(&["table", "json", "yaml"])? {
        crate::output::OutputFormat::Table | crate::output::OutputFormat::Wide => {
            ctx.ui()
                .out_lines(findings.iter().map(ToString::to_string))?;
        }
        format => ctx.print_value(&format, &findings)?,
    }
    if let Some(watch) = watch {
        ctx.ui().flush()?;
        let tell = |line: &str| ctx.ui().status(line);
        return watch.run(ctx.reporter().as_ref(), &tell);
    }
    let left = findings.iter().filter(|f| !f.mended).count();
    match (findings.len(), left) {
        (0, _) => {
            ctx.ui().status("Everything is as it should be.");
            Ok(())
        }
        (_, 0) => Ok(()),
        (_, left) if args.check => {
            Err(Error::failed(format!("{left} to mend")).hint("kvmctl reconcile"))
        }
        (_, left) => Err(Error::failed(format!("{left} could not be mended"))),
    }
}
