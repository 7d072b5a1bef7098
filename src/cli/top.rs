//! `top`: CPU and memory of running instances, from two samples of libvirt's bulk statistics.

use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::args::SelectArgs;
use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, Name};
use crate::error::{Error, Result};
use crate::observe::usage::{self, Usage};
use crate::output::{self, OutputFormat};

/// Whose use.
#[derive(Debug, Clone, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Print no header line
    #[arg(long)]
    no_headers: bool,
}

/// Between the two samples that CPU use is worked out from.
const INTERVAL: Duration = Duration::from_millis(500);

/// Prints what instances use.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: TopArgs) -> Result<()> {
    let format = ctx.format(&["json", "table", "wide", "yaml"])?;
    let words = if args.select.targets.is_empty() && noun.is_none() {
        vec!["instances".to_owned()]
    } else {
        args.select.targets.clone()
    };
    let names = names(Targets::parse(noun, &words, "top")?)?;
    let filter = output::Filter::parse(args.select.selector.as_deref(), None, &[Kind::Instance])?;
    let world = ctx.world()?;
    for name in &names {
        world.instance(name)?;
    }
    let before = usage::sample(world)?;
    sleep(INTERVAL);
    let rows = usage::between(world, &before, &usage::sample(world)?)?;
    let rows: Vec<Usage> = rows
        .into_iter()
        .filter(|row| names.is_empty() || names.contains(&row.name))
        .filter(|row| filter.matches_labels(&row.labels))
        .collect();
    if matches!(format, OutputFormat::Json | OutputFormat::Yaml) {
        return ctx.print_value(&format, &json!({"items": rows}));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| {
            let memory = row
                .memory
                .map_or_else(|| "<unknown>".to_owned(), output::bytes);
            vec![
                row.name.to_string(),
                format!("{}m", row.cpu_millis),
                format!("{}%", row.cpu_percent),
                memory,
                output::bytes(row.network_received),
                output::bytes(row.network_sent),
                output::bytes(row.disk_read),
                output::bytes(row.disk_written),
            ]
        })
        .collect();
    if rows.is_empty() {
        ctx.ui().status("No running instances found.");
        return Ok(());
    }
    let header = [
        "NAME",
        "CPU",
        "CPU%",
        "MEMORY",
        "NET-RX",
        "NET-TX",
        "DISK-READ",
        "DISK-WRITE",
    ];
    ctx.print_rows(&header, rows, args.no_headers)
}

fn names(targets: Targets) -> Result<Vec<Name>> {
    match targets {
        Targets::Kinds(kinds) if kinds == [Kind::Instance] => Ok(Vec::new()),
        Targets::Named(keys) if keys.iter().all(|k| k.kind == Kind::Instance) => {
            Ok(keys.into_iter().map(|k| k.name).collect())
        }
        _ => Err(Error::usage("only instances use CPU and memory").hint("kvmctl top instances")),
    }
}
