//! `doctor`: every prerequisite, what it means, and the command that mends it.

use clap::Args;

use super::context::Ctx;
use crate::api::Kind;
use crate::engine;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::observe::doctor::{self, Level};
use crate::output::{Cell, OutputFormat, Role, Table};

/// What to check.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Boot a tiny guest to see whether KVM really works (up to 30 s)
    #[arg(long)]
    probe_kvm: bool,
}

/// Checks the host.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: DoctorArgs) -> Result<()> {
    if args.probe_kvm {
        probe(ctx)?;
    }
    let report = doctor::run(&ctx.settings()?, ctx.world());
    match ctx.format(&["table", "json", "yaml"])? {
        OutputFormat::Table | OutputFormat::Wide => table(ctx, &report)?,
        format => ctx.print_value(&format, &report)?,
    }
    let failed = report
        .checks
        .iter()
        .filter(|c| c.level == Level::Failed)
        .count();
    if failed == 0 {
        return Ok(());
    }
    let checks = if failed == 1 { "check" } else { "checks" };
    Err(Error::new(
        ErrorKind::Failed,
        format!("{failed} {checks} failed"),
    ))
}

fn probe(ctx: &Ctx) -> Result<()> {
    let reporter = ctx.reporter();
    match engine::probe::run(ctx.world()?, reporter.as_ref())? {
        Some(verdict) if verdict.works => ctx.ui().status("KVM works: a kernel booted."),
        Some(verdict) => ctx.ui().warn(&format!("KVM does not work here: {}", verdict.reason)),
        None => ctx.ui().warn("nothing is proven: KVM is not offered, or no image is cached that boots a Linux (kvmctl images pull debian-12)"),
    }
    Ok(())
}

fn table(ctx: &Ctx, report: &doctor::Report) -> Result<()> {
    let mut table = Table::new(["STATUS", "CHECK", "FINDING"]);
    for check in &report.checks {
        let (word, role) = match check.level {
            Level::Ok => ("ok", Role::Good),
            Level::Warning => ("warning", Role::Warning),
            Level::Failed => ("failed", Role::Bad),
        };
        table.push([
            Cell::new(word, role),
            check.name.into(),
            check.finding.as_str().into(),
        ]);
        if let Some(remedy) = &check.remedy {
            table.push([
                Cell::blank(),
                Cell::blank(),
                Cell::from(format!("mend: {remedy}")),
            ]);
        }
    }
    ctx.ui().out(&table.render(ctx.ui().paint_out()))
}
